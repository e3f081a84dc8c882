"""The line between two rows of teeth is followed where it is seen, and straight where it is not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from talkedit.mouth.parting import REACH, parting

EYE, H, W = 200.0, 60, 140


def mouth(line: np.ndarray, dark: float = 40.0) -> tuple[np.ndarray, np.ndarray]:
    """Two rows of teeth with dark lines between these, that part along (W,) rows; and the mouth's inside."""
    y, x = np.arange(H, dtype=np.float32)[:, None], np.arange(W)
    grey = np.full((H, W), 200, np.float32)
    grey[:, x % 18 == 0] = 110
    grey = np.minimum(grey, np.where(np.abs(y - line) < 1.5, dark, 255)).astype(np.float32)
    inside = np.zeros((H, W), np.float32)
    inside[6:54, 10:130] = 1
    return cv2.GaussianBlur(grey, (0, 0), 0.8), inside


def depths(tilt: float = 0.0) -> np.ndarray:
    """(H, W) depth between lips 48 rows apart, of a head rolled by so many rows a column."""
    y, x = np.arange(H, dtype=np.float32)[:, None], np.arange(W, dtype=np.float32)
    return ((y - tilt * (x - W / 2) - 6) / 48).astype(np.float32)


@pytest.mark.parametrize("bend, tilt", [(6.0, 0.0), (-6.0, 0.0), (5.0, 0.1), (0.0, -0.1)])
def test_a_dark_line_is_followed_as_it_bends_and_leans(bend, tilt) -> None:
    x = np.arange(W, dtype=np.float32)
    line = 32 + tilt * (x - W / 2) - bend * ((x - W / 2) / 60) ** 2
    between = depths(tilt)
    found, told = parting(*mouth(line), between, float((32 - 6) / 48) + 0.04, EYE)
    rows = found * 48 + 6 + tilt * (x - W / 2)
    assert np.abs(rows - line)[20:120].max() < 1.5
    assert told[25:115].min() > 0.95


def test_rows_that_nothing_dark_parts_do_so_at_one_depth() -> None:
    level = np.full(W, 32.0)
    for grey, inside in (mouth(level, dark=195.0), (mouth(level)[0], np.zeros((H, W), np.float32))):
        found, told = parting(grey, inside, depths(), 0.6, EYE)
        np.testing.assert_allclose(found, 0.6, atol=0.005)
        assert told.max() < 0.05


def test_a_line_that_lies_too_far_off_is_another() -> None:
    found, _ = parting(*mouth(np.full(W, 30.0 - 2 * REACH * EYE)), depths(), 0.5, EYE)
    np.testing.assert_allclose(found, 0.5, atol=0.02)
