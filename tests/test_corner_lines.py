"""The line of closed lips beyond the tracked corners goes where an edit opens or narrows them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from talkedit.mouth.corner_lines import without_lines

EYE = 200.0
SKIN = (200, 150, 130)
CENTRE = np.float32([200, 160])


def lips(width: float = 100.0, gap: float = 1.0, roll: float = 0.0) -> np.ndarray:
    """(20, 2) inner lips in the loop's order."""
    x = np.linspace(-1, 1, 11, dtype=np.float32)
    arch = gap / 2 * (1 - x**2)
    loop = np.r_[np.c_[x * width / 2, -arch], np.c_[x * width / 2, arch][9:0:-1]]
    turn = np.float32([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    return (loop @ turn.T + CENTRE).astype(np.float32)


def shut(roll: float = 0.0, rises: float = 0.0) -> np.ndarray:
    """(320, 400, 3) skin with the dark line of a mouth that ends 0.08 eye distances beyond its tracked corners.

    Beyond them it may rise by a share of the way.
    """
    picture = np.full((320, 400, 3), SKIN, np.uint8)
    end = np.float32([np.cos(roll), np.sin(roll)]) * (50 + 0.08 * EYE)
    first, last = (tuple(round(v * 16) for v in CENTRE + side * end) for side in (-1, 1))
    cv2.line(picture, first, last, (90, 50, 45), 4, cv2.LINE_AA, 4)
    if rises:
        picture[:] = SKIN
        out = 0.08 * EYE
        path = np.float32([[-50 - out, -rises * out], [-50, 0], [50, 0], [50 + out, -rises * out]]) + CENTRE
        cv2.polylines(picture, [np.round(path * 16).astype(int)], False, (90, 50, 45), 4, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(picture, (0, 0), 1.0)


def darkness(picture: np.ndarray, beyond: float, roll: float = 0.0) -> list[float]:
    """How much darker than skin the line is so far, pixels, beyond either corner."""
    along = np.float32([np.cos(roll), np.sin(roll)]) * (50 + beyond)
    at = [np.round(CENTRE + side * along).astype(int) for side in (-1, 1)]
    return [float(SKIN[0] - picture[y - 1 : y + 2, x, 0].min()) for x, y in at]


@pytest.mark.parametrize("roll", [0.0, 0.4, -1.2])
def test_the_line_beyond_the_corners_goes_as_far_as_lips_part(roll):
    picture = shut(roll)
    before = darkness(picture, 9, roll)
    assert min(before) > 60
    half, whole = (without_lines(picture, lips(roll=roll), lips(gap=gap, roll=roll), EYE) for gap in (9.5, 24))
    assert all(0.3 * b < d < 0.8 * b for b, d in zip(before, darkness(half, 9, roll), strict=True))
    assert max(darkness(whole, 9, roll)) < 0.2 * max(before)  # grain finer than what is closed stays
    # Between the corners nothing goes, and far away nothing changes at all.
    assert min(darkness(whole, -12, roll)) == min(darkness(picture, -12, roll)) > 60
    changed = np.abs(whole.astype(int) - picture).max(2) > 0
    y, x = np.nonzero(changed)
    assert np.abs(np.c_[x, y] - CENTRE).max() < 50 + 0.2 * EYE
    # The line goes, and nothing comes instead: filling makes nothing lighter than skin.
    assert whole.max(axis=(0, 1)).tolist() <= [c + 6 for c in SKIN]  # a turned patch is resampled


def test_lips_that_neither_part_nor_narrow_keep_their_line():
    picture = shut()
    for target in (lips(), lips(width=112), lips(gap=0.5), lips(width=99)):
        assert without_lines(picture, lips(), target, EYE) is picture


def test_from_narrowed_lips_that_stay_shut_only_the_outer_part_goes_and_not_wholly():
    picture = shut()
    out = without_lines(picture, lips(), lips(width=86), EYE)
    near, far = (np.mean(darkness(out, beyond)) / np.mean(darkness(picture, beyond)) for beyond in (1, 12))
    assert near > 0.95 and 0.3 < far < 0.5


def test_the_source_is_not_written_to_and_mouths_at_the_border_are_filled_as_far_as_they_show():
    picture = shut()
    kept = picture.copy()
    cut = np.ascontiguousarray(picture[:, 140:])  # the left corner lies outside
    shift = np.float32([140, 0])
    out = without_lines(cut, lips() - shift, lips(gap=24) - shift, EYE)
    np.testing.assert_array_equal(picture, kept)
    whole = without_lines(picture, lips(), lips(gap=24), EYE)
    np.testing.assert_array_equal(out[:, 100:], whole[:, 240:])


def test_a_beard_keeps_its_grain():
    """Closing fills something everywhere in it; only what is more than that is a line."""
    grain = np.random.default_rng(0).normal(0, 18, (320, 400, 1))
    beard = np.clip(np.float32([110, 90, 80]) + grain, 0, 255).astype(np.uint8)
    out = without_lines(beard, lips(), lips(gap=24), EYE)
    near = np.s_[140:181, 255:275]
    assert out[near].std() > 0.85 * beard[near].std()
    assert abs(float(out[near].mean()) - float(beard[near].mean())) < 4


def test_of_an_open_mouth_that_narrows_all_of_the_line_goes_up_to_the_corner():
    """Contempt draws in the corners of a smile; the pointed end that lips have where they are shut is none of an open
    mouth's."""
    picture = shut()
    before = np.mean(darkness(picture, 5))
    shut_ones = without_lines(picture, lips(), lips(width=86), EYE)
    open_ones = without_lines(picture, lips(gap=20), lips(width=86, gap=20), EYE)
    assert np.mean(darkness(open_ones, 5)) < 0.15 * before < np.mean(darkness(shut_ones, 5))


def test_a_line_that_rises_beyond_the_corners_is_followed():
    rising = shut(rises=0.55)
    at = [np.round(CENTRE + np.float32([side * 64, -0.55 * 14])).astype(int) for side in (-1, 1)]
    left = without_lines(rising, lips(), lips(gap=24), EYE)
    for x, y in at:
        assert rising[y - 1 : y + 2, x, 0].min() < SKIN[0] - 60
        assert left[y - 1 : y + 2, x, 0].min() > SKIN[0] - 15


def test_a_fold_that_crosses_the_line_at_the_corner_goes_with_it():
    """The pit of a smile's corner is a hook across the line, which closing along columns would leave."""
    picture = shut()
    for side in (-1, 1):
        x = round(float(CENTRE[0]) + side * 56)
        cv2.line(picture, (x, 150), (x, 166), (110, 70, 60), 4, cv2.LINE_AA)
    picture = cv2.GaussianBlur(picture, (0, 0), 1.0)
    out = without_lines(picture, lips(), lips(gap=24), EYE)
    for x in (144, 256):
        before, after = (SKIN[0] - float(v[152:156, x - 1 : x + 2, 0].min()) for v in (picture, out))
        assert before > 40 and after < 0.25 * before


def test_what_is_filled_where_hair_begins_has_no_stripes():
    """Above the corner a moustache, below it skin: its hairs must not be drawn out to bars across the line."""
    hairs = np.random.default_rng(1).random((320, 400)) < 0.25
    hairs[158:] = False
    picture = shut()
    picture[cv2.dilate(hairs.astype(np.uint8), np.ones((3, 2), np.uint8)) > 0] = (110, 90, 80)
    picture = cv2.GaussianBlur(picture, (0, 0), 0.8)
    out = without_lines(picture, lips(), lips(gap=24), EYE)
    change = (out.astype(float) - picture).mean(2)[150:164, 256:272]
    shown = out.astype(float).mean(2)[150:164, 256:272]
    assert change.mean() > 8  # something was filled
    assert shown.mean(0).std() < 0.5 * picture.astype(float).mean(2)[138:152, 256:272].std()
