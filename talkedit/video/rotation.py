"""Display rotation: the 3x3 matrix in a video's side data, applied to pixels."""

from __future__ import annotations

import av
import numpy as np


def display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """The upper left 2x2 part (a, b, c, d) of the frame's display matrix as signs and zeros; identity if none.

    Stored pixel (x, y) is shown at (a x + c y, b x + d y). Only the eight right-angled orientations exist in
    practice; anything between is rounded to the nearest.
    """
    side = frame.side_data.get("DISPLAYMATRIX")
    if side is None:
        return 1, 0, 0, 1
    a, b, _, c, d = (int(v) for v in np.frombuffer(bytes(side), np.int32)[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return 0, 1 if b >= 0 else -1, 1 if c >= 0 else -1, 0
    return 1 if a >= 0 else -1, 0, 0, 1 if d >= 0 else -1


def swaps_sides(matrix: tuple[int, int, int, int]) -> bool:
    """True where width and height change places."""
    return matrix[0] == 0


def clockwise_degrees(matrix: tuple[int, int, int, int]) -> int:
    """Clockwise turn the display applies: 0, 90, 180 or 270 (mirroring ignored)."""
    a, b, _, _ = matrix
    return {(1, 0): 0, (0, 1): 90, (-1, 0): 180, (0, -1): 270}[(a, b)]


def turn_upright(pixels: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Apply a display matrix to (H, W, 3) pixels; returns the input itself where there is nothing to do."""
    if matrix == (1, 0, 0, 1):
        return pixels
    a, b, c, d = matrix
    if swaps_sides(matrix):
        pixels, across, down = pixels.transpose(1, 0, 2), c, b
    else:
        across, down = a, d
    return np.ascontiguousarray(pixels[:: down or 1, :: across or 1])
