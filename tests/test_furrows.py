"""Furrows: where lines run, how deep, and that they are as soft as the picture they are drawn into."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import pytest

from talkedit.composite.shade import multiply_ratio
from talkedit.composite.warp import Warp
from talkedit.emotions import CONTROLS, EMOTIONS
from talkedit.facemodel.load import load_face_model
from talkedit.texture.forehead import GRID, Skin
from talkedit.texture.furrows import DEEPEST, DEPTHS, SHALLOW, SIZE, Furrows
from talkedit.texture.tone import tone_of
from talkedit.track.topology import INNER_LIPS, LEFT_EYE, OUTER_LIPS, RIGHT_EYE


@lru_cache
def furrows() -> tuple[Furrows, np.ndarray]:
    """The open model's, and its landmarks in texels."""
    model = load_face_model("open")
    return Furrows(model), model.uv[model.landmark_vertices] * SIZE - 0.5


def alone(name: str, amount: float = 1.0) -> np.ndarray:
    controls = np.zeros(len(CONTROLS), np.float32)
    controls[CONTROLS.index(name)] = amount
    return furrows()[0].log_ratio(controls)


def darkest(change: np.ndarray) -> np.ndarray:
    """(2,) x and y of the deepest texel."""
    y, x = np.unravel_index(change.argmin(), change.shape)
    return np.array([x, y])


def test_brows_drawn_together_fold_upright_lines_between_them():
    change, uv = alone("AU4"), furrows()[1]
    x, y = darkest(change)
    assert uv[107, 0] < x < uv[336, 0] and uv[108, 1] < y < uv[8, 1]
    rows, columns = np.nonzero(change < 0.5 * change.min())
    assert rows.max() - rows.min() > 1.3 * (columns[columns < 256].max() - columns[columns < 256].min())
    assert np.abs(columns - (uv[9, 0])).min() > 4  # one on either side, none in the middle


@pytest.mark.parametrize("unit", ("AU1", "AU2"))
def test_raised_brows_fold_level_lines_across_the_forehead(unit):
    change, uv = alone(unit), furrows()[1]
    rows, _ = np.nonzero(change < 0.3 * change.min())
    assert uv[10, 1] < rows.min() and rows.max() < uv[107, 1]
    middle = change[: int(uv[9, 1]), int(uv[9, 0])]
    dark = (middle < 0.4 * change.min()).astype(int)
    assert (np.diff(dark) == 1).sum() == 3  # three lines, unbroken in the middle
    width = {one: np.ptp(np.nonzero(alone(one) < 0.3 * alone(one).min())[1]) for one in ("AU1", "AU2")}
    assert width["AU1"] < 0.8 * width["AU2"]  # inner brows alone fold its middle only


def test_other_lines_lie_beside_eyes_nose_and_mouth():
    uv = furrows()[1]
    right, left = uv[130, 0], uv[359, 0]
    _, columns = np.nonzero(alone("AU6") < -0.02)
    assert not ((columns > right + 2) & (columns < left - 2)).any()  # fanned from the outer corners of the eyes
    rows, columns = np.nonzero(alone("AU9") < -0.05)
    assert uv[168, 1] - 12 < rows.min() and rows.max() < uv[4, 1] and np.abs(columns - uv[6, 0]).max() < 40
    root = alone("AU9")[round(uv[168, 1]) - 12 : round(uv[6, 1]), round(uv[6, 0])]
    assert root.min() < -0.08 and root.max() > 0  # folds right across the root of the nose
    rows, columns = np.nonzero(alone("AU10") < 0.6 * alone("AU10").min())
    assert uv[217, 1] < rows.min() < uv[129, 1] and rows.max() < uv[61, 1]  # from beside the nose, not from its wing
    x, y = darkest(alone("AU10"))
    assert min(abs(x - uv[129, 0]), abs(x - uv[358, 0])) < 25
    x, y = darkest(alone("AU12"))
    assert uv[129, 1] < y < uv[61, 1] and min(abs(x - uv[206, 0]), abs(x - uv[426, 0])) < 20


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_emotions_fold_the_same_on_both_sides_never_too_deep_and_not_in_eyes_or_lips(emotion):
    change, uv = alone(emotion), furrows()[1]
    assert -0.32 < change.min() < -0.04 and 0 < change.max() < 0.4 * -change.min()
    bare = cv2.GaussianBlur(change, (0, 0), 8)
    mirrored = cv2.remap(
        bare,
        np.broadcast_to((uv[33, 0] + uv[263, 0] - np.arange(SIZE)).astype(np.float32), (SIZE, SIZE)),
        np.mgrid[:SIZE, :SIZE][0].astype(np.float32),
        cv2.INTER_LINEAR,
    )
    assert np.abs(bare - mirrored).max() < 0.4 * np.abs(bare).max()  # but for lines that waver and differ in depth
    for loop in (RIGHT_EYE, LEFT_EYE, np.r_[OUTER_LIPS, INNER_LIPS]):
        mask = np.zeros((SIZE, SIZE), np.uint8)
        cv2.fillPoly(mask, [np.round(cv2.convexHull(uv[loop].astype(np.float32))).astype(np.int32)], 1)
        assert np.abs(change[mask > 0]).max() < 0.02
    assert abs(change.mean()) < 1e-3  # folds, not a darker face


def test_controls_add_up_in_proportion():
    assert set(DEPTHS) == set(EMOTIONS) and all(set(units) <= set(DEEPEST) for units in DEPTHS.values())
    one, two = alone("angry", 0.4), alone("AU2", 0.5)
    both = np.zeros(len(CONTROLS), np.float32)
    both[CONTROLS.index("angry")], both[CONTROLS.index("AU2")] = 0.4, 0.5
    np.testing.assert_allclose(furrows()[0].log_ratio(both), one + two, atol=1e-6)
    np.testing.assert_allclose(alone("angry", 0.4), 0.4 * alone("angry"), atol=1e-6)
    assert not alone("neutral").any() and not alone("AU25").any()


def test_smooth_skin_folds_softer_and_shallower():
    controls = np.zeros(len(CONTROLS), np.float32)
    controls[CONTROLS.index("AU4")] = 1
    lines = furrows()[0]
    bare = np.ones((GRID, GRID), np.float32)
    rough, smooth, between = (lines.log_ratio(controls, Skin(share, bare)) for share in (1.0, 0.0, 0.5))
    np.testing.assert_allclose(between, (rough + smooth) / 2, atol=1e-6)
    assert SHALLOW - 0.1 < smooth.min() / rough.min() < SHALLOW + 0.1
    y, x = np.unravel_index(rough.argmin(), rough.shape)
    row = slice(x - 12, x + 13)
    widths = [np.count_nonzero(one[y, row] < 0.5 * one[y, row].min()) for one in (rough, smooth)]
    assert widths[1] > 1.5 * widths[0]


def looked_at(detail: np.ndarray, texture: np.ndarray | None = None, seen: bool = True) -> Skin:
    """The skin of one look at a forehead."""
    if texture is None:
        texture = np.broadcast_to(np.float32([190, 140, 120]), (*detail.shape, 3))
    forehead = furrows()[0].forehead
    return forehead.solve([forehead.look(texture, detail.astype(np.float32), np.full(detail.shape, seen))])


def grain() -> np.ndarray:
    """(256, 256) of spread 1, as fine as skin."""
    noise = cv2.GaussianBlur(np.random.default_rng(1).normal(size=(256, 256)), (0, 0), 1.2)
    return noise / noise.std()


def test_roughness_is_that_of_the_forehead():
    found = [looked_at(amount * grain()).roughness for amount in (0.0, 0.016, 0.1)]
    assert found[0] == 0 and 0.05 < found[1] < 0.95 and found[2] == 1
    beard, fringe = 0.1 * grain(), np.zeros((256, 256))
    beard[128:] = 0
    assert looked_at(beard[::-1]).roughness == 0  # below the eyes
    fringe[:, :120] = 0.1 * grain()[:, :120]
    assert looked_at(fringe).roughness == 0
    unseen = looked_at(0.1 * grain(), seen=False)
    assert unseen.roughness == 0 and (unseen.bare == 1).all()
    assert furrows()[0].forehead.solve([]).roughness == 0


def test_lines_across_a_raised_forehead_make_no_skin_rough():
    forehead, grey = furrows()[0].forehead, np.broadcast_to(np.float32([190, 140, 120]), (256, 256, 3))
    calm, raised = (forehead.look(grey, np.float32(amount * grain()), np.ones((256, 256), bool)) for amount in (0, 0.1))
    assert forehead.solve([calm] * 2 + [raised] * 3).roughness < 0.05 < 1 == forehead.solve([raised] * 3).roughness


@pytest.mark.parametrize("hair", ["strands", "blond", "dark"])
def test_lines_run_under_hair(hair):
    detail, texture = 0.005 * grain(), np.full((256, 256, 3), (190, 140, 120), np.float32)
    half = np.arange(256) < int(furrows()[1][9, 0] / 2)
    if hair == "strands":
        detail[:, half] += 0.1 * grain()[:, half]
    else:
        texture[:, half] = {"blond": (200, 160, 105), "dark": (50, 36, 30)}[hair]
    skin = looked_at(detail, texture)
    controls = np.zeros(len(CONTROLS), np.float32)
    controls[CONTROLS.index("AU2")] = 1
    change, bald = (furrows()[0].log_ratio(controls, Skin(skin.roughness, b)) for b in (skin.bare, skin.bare * 0 + 1))
    brow = int(furrows()[1][105, 1]) - 12
    left, right = change[:brow, : 2 * half.sum() - 24], change[:brow, 2 * half.sum() + 24 :]
    assert -left.min() < 0.15 * -right.min()
    np.testing.assert_allclose(right, bald[:brow, 2 * half.sum() + 24 :], atol=1e-3)
    controls = np.eye(len(CONTROLS), dtype=np.float32)[CONTROLS.index("AU4")]  # between the brows there is none
    np.testing.assert_array_equal(
        *(furrows()[0].log_ratio(controls, replace(skin, bare=b)) for b in (skin.bare, skin.bare * 0))
    )


def test_lines_are_as_soft_as_the_picture():
    size = 96
    y, x = np.mgrid[:size, :size].astype(np.float32)
    uv = (np.stack([x, y], 2) + 0.5) / size
    line = np.zeros((size, size), np.float32)
    line[:, 48] = -0.3
    spread = []
    for blur in (0.0, 1.0, 2.0):
        picture = np.full((size, size, 3), 200, np.uint8)
        warp = Warp(0, 0, np.stack([x, y], 2), uv, np.zeros((size, size), np.int32))
        multiply_ratio(picture, warp, line, tone_of([]), blur)
        dark = 200.0 - picture[size // 2, :, 1]
        spread.append(float(np.sqrt((dark * (np.arange(size) - 48) ** 2).sum() / dark.sum())))
    assert spread[0] < 0.3
    np.testing.assert_allclose(spread[1:], [1, 2], atol=0.25)
