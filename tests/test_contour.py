"""Contours inside the edited mesh: coverage against closed form, and nothing else touched."""

from __future__ import annotations

import numpy as np
import pytest

from talkedit.composite.contour import GRID, join_contours, smooth_contours
from talkedit.composite.warp import build_warp, sample

SIZE = 48


def layers(slope: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A black ground that stays and, before it, a white sheet pulled over it from the right.

    Its left edge comes to lie at x = 20 + slope y. Returns the (V, 3) meshes and (F, 3) triangles.
    """
    ground = [[0, 0, 9], [SIZE, 0, 9], [SIZE, SIZE, 9], [0, SIZE, 9]]
    sheet = [[60, 0, 1], [90, 0, 1], [90, SIZE, 1], [60, SIZE, 1]]
    moved = [[20, 0, 1], [SIZE, 0, 1], [SIZE, SIZE, 1], [20 + slope * SIZE, SIZE, 1]]
    triangles = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    return np.float32(ground + sheet), np.float32(ground + moved), triangles


def picture(slope: float) -> tuple[np.ndarray, np.ndarray]:
    """Before and after, of a frame whose right half is white."""
    source, target, triangles = layers(slope)
    frame = np.zeros((SIZE, 100, 3), np.uint8)
    frame[:, 55:] = 255
    warp = build_warp(source, target, triangles, np.zeros((8, 2), np.float32), frame.shape)
    before = sample(frame, warp)
    after = before.copy()
    smooth_contours(after, frame, warp, source, target, triangles)
    return before, after


@pytest.mark.parametrize("slope", (0.0, 0.1, 0.31, -0.2))
def test_pixels_at_a_contour_show_what_lies_on_both_sides(slope: float) -> None:
    before, after = picture(slope)
    y, x = np.mgrid[2 : SIZE - 2, 2 : SIZE - 2]
    edge = 20 + slope * y  # of the sheet, in the middle of each row of pixels
    covered = np.clip(x + 0.5 - edge, 0, 1)  # exact for upright edges, and on average for slanted ones
    error = after[2 : SIZE - 2, 2 : SIZE - 2, 0] / 255 - covered
    assert np.abs(error).max() < abs(slope) / 2 + 1 / GRID + 1e-2
    np.testing.assert_allclose(error.sum(1), 0, atol=0.5 / GRID + 0.02)  # the edge runs where it should
    stairs = before[2 : SIZE - 2, 2 : SIZE - 2, 0] / 255 - covered
    assert np.abs(error).mean() < 0.5 * np.abs(stairs).mean() + 1e-3


def test_all_but_contours_is_left_alone() -> None:
    before, after = picture(0.2)
    changed = np.abs(after.astype(int) - before).max(-1) > 0
    y, x = np.nonzero(changed)
    assert changed.any() and np.abs(x - (20 + 0.2 * y)).max() <= 2
    source, _, triangles = layers(0.2)
    frame = np.random.default_rng(0).integers(0, 255, (SIZE, 100, 3)).astype(np.uint8)
    still = build_warp(source[:4], source[:4], triangles[:2], np.zeros((4, 2), np.float32), frame.shape)
    same = sample(frame, still)
    smooth_contours(same, frame, still, source[:4], source[:4], triangles[:2])
    np.testing.assert_array_equal(same, frame[: same.shape[0], : same.shape[1]])


def bridge(way: float) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) brightness along a sheet's left edge at x = 30 that moves by ``way`` pixels, without and with care.

    The frame shows a dark line there: what the sheet bares as it moves away shows it once more.
    """
    ground = [[0, 0, 9], [100, 0, 9], [100, SIZE, 9], [0, SIZE, 9]]
    sheet = [[30, 0, 1], [90, 0, 1], [90, SIZE, 1], [30, SIZE, 1]]
    source = np.float32(ground + sheet)
    target = source + np.float32([[0, 0, 0]] * 4 + [[way, 0, 0]] * 4)
    uv = np.float32([[0, 0], [0.4, 0], [0.4, 1], [0, 1], [0.6, 0], [1, 0], [1, 1], [0.6, 1]])
    triangles = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    frame = np.full((SIZE, 100, 3), 200, np.uint8)
    frame[:, 30] = 20
    pictures = []
    for care in (False, True):
        warp = build_warp(source, target, triangles, uv, frame.shape)
        if care:
            join_contours(warp)
        pictures.append(sample(frame, warp)[..., 0].astype(int))
    return pictures[0], pictures[1]


def test_an_edge_is_not_seen_twice_where_two_surfaces_hardly_move_apart() -> None:
    before, after = bridge(2.0)

    def lines(row: np.ndarray) -> int:
        return int((np.diff((row < 120).astype(int)) == 1).sum())

    assert lines(before[20]) == 2 and lines(after[20]) == 1
    np.testing.assert_array_equal(after[:, 50:], before[:, 50:])
    np.testing.assert_array_equal(after[:, :15], before[:, :15])
    for way in (0.0, 6.0):  # nothing moves, or much: that is smoothed as it is
        still, same = bridge(way)
        np.testing.assert_array_equal(still, same)
