"""Shares of the channels in a change of the skin's luminance: what a shot shows of them, held to what is usual."""

from __future__ import annotations

import numpy as np
import pytest

from talkedit.facemodel.load import load_face_model
from talkedit.texture.tone import LEAST, MOST, USUAL, channel_shares, skin_colours, tone_of
from talkedit.texture.uv_map import LUMINANCE
from talkedit.track.topology import INNER_LIPS, LEFT_BROW, RIGHT_BROW

LEVELS = np.exp(np.random.default_rng(1).uniform(np.log(40), np.log(230), 4000))


def skin(shares: np.ndarray, red: float = 190.0) -> np.ndarray:
    """(N, 3) colours of skin that follows the law exactly: d log C = share_c d log Y."""
    base = np.array([red, 140, 115])
    return base * 140 / (base @ LUMINANCE) * (LEVELS[:, None] / 140) ** shares


@pytest.mark.parametrize("red", [0.7, 0.85, 0.95])
def test_the_shares_that_a_shot_shows_are_found_and_keep_the_luminance(red):
    wanted = np.array([red, 1.06, 1.25])
    colours = skin(wanted)
    found = channel_shares([colours[::2], colours[1::2]])
    assert found.shape == (256, 3) and found.dtype == np.float32
    for level in (60, 120, 200):
        here = np.abs(np.log(colours @ LUMINANCE / level)) < 0.1
        weights = colours[here].mean(0) * LUMINANCE
        assert found[level] @ weights / weights.sum() == pytest.approx(1, abs=0.01)
        # The law's shares, scaled so that they keep the luminance, and drawn a little to the usual ones.
        expected = wanted * weights.sum() / (wanted @ weights)
        np.testing.assert_allclose(found[level], expected, atol=0.04)


def test_where_red_is_clipped_it_falls_less_and_nothing_turns_grey():
    """A patch of clipped skin that is darkened ends nearer to the colour of skin of that luminance."""
    true = skin(USUAL, red=240.0)
    seen = np.minimum(true, 255)
    assert (true[:, 0] > 255).mean() > 0.1
    found = channel_shares([seen])
    assert found[235, 0] < 0.75 < found[100, 0]
    bright = np.array([255.0, 215.0, 180.0])
    level = bright @ LUMINANCE
    after = level * np.exp(-0.3)
    like = seen[np.abs(seen @ LUMINANCE - after) < 4].mean(0)

    def strange(shares: np.ndarray) -> float:
        out = bright * np.exp(-0.3 * shares)
        return float(np.abs(np.log(out[:2] / like[:2]) - np.log(out @ LUMINANCE / after)).max())

    assert strange(found[round(level * np.exp(-0.15))]) < 0.7 * strange(USUAL)


def test_little_that_is_seen_changes_little():
    usual = channel_shares([])
    np.testing.assert_allclose(usual, np.tile(USUAL, (256, 1)), atol=1e-6)
    many = skin(np.array([0.5, 1.1, 1.6]))
    few, all_of_it = (np.abs(channel_shares([some]) - usual).max() for some in (many[:3], many))
    assert few < 0.2 and all_of_it > 0.35
    flat = channel_shares([np.tile(np.float32([200, 150, 120]), (500, 1))])  # one colour says nothing of its change
    assert np.abs(flat / flat.sum(1, keepdims=True) - usual / usual.sum(1, keepdims=True)).max() < 0.02


def test_a_grey_picture_stays_grey():
    grey = np.repeat(LEVELS[:, None], 3, 1)
    np.testing.assert_allclose(channel_shares([grey])[30:240], 1, atol=1e-3)
    np.testing.assert_allclose(channel_shares([np.full((500, 3), 120.0)])[110:130], 1, atol=1e-3)


def test_what_is_no_skin_has_no_say_and_coloured_light_not_too_much():
    wanted = np.array([0.85, 1.06, 1.25])
    colours = skin(wanted)
    hair = np.random.default_rng(2).uniform(0.5, 1.5, (400, 1)) * np.array([60.0, 70.0, 75.0])
    with_hair = channel_shares([colours, hair])
    np.testing.assert_allclose(with_hair, channel_shares([colours]), atol=0.03)
    odd = channel_shares([skin(np.array([0.2, 1.2, 2.5]))])
    ratio = odd[[60, 120, 200]] / odd[[60, 120, 200], 1:2]
    assert (ratio >= LEAST / MOST[1] - 1e-5).all() and (ratio <= MOST / LEAST[1] + 1e-5).all()


def test_skin_is_read_beside_lips_brows_and_eyes():
    model = load_face_model("open")
    landmarks = model.at_landmarks(model.mean) * np.float32([200, -200, -200]) + np.float32([220, 230, 0])
    picture = np.full((480, 440, 3), (200, 150, 120), np.uint8)
    for k in np.r_[INNER_LIPS, LEFT_BROW, RIGHT_BROW]:
        x, y = np.round(landmarks[k, :2]).astype(int)
        picture[y - 6 : y + 7, x - 6 : x + 7] = (120, 20, 20)
    found = skin_colours(picture, landmarks)
    assert len(found) > 80
    np.testing.assert_allclose(found, np.tile([200, 150, 120], (len(found), 1)), atol=1)
    outside = skin_colours(picture, landmarks + np.float32([300, 0, 0]))
    assert 0 < len(outside) < len(found)
    assert skin_colours(picture, landmarks + np.float32([3000, 0, 0])).shape == (0, 3)


def test_skin_has_room_up_to_nearly_the_brightest_of_the_shot():
    colours = np.repeat(np.linspace(50, 200, 301)[:, None], 3, 1)
    room = tone_of([colours[::2], colours[1::2]]).room
    assert room.shape == (256,) and room.dtype == np.float32
    np.testing.assert_allclose(room[[60, 120, 180]], np.log(195.5 / np.array([60, 120, 180])), atol=0.01)
    assert (room[197:] == 0).all() and (np.diff(room[1:]) <= 0).all()
    np.testing.assert_allclose(tone_of([]).room[1:], np.log(255 / np.arange(1, 256)), atol=1e-5)
