"""The edited picture sampled from the source frame itself.

Each vertex carries where it was in the source; interpolated over the edited mesh this gives, for every pixel, the
source position to sample. Full sharpness at any resolution, and nothing moves where the mesh does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numba
import numpy as np

from talkedit.render import attribute_map

# Where source pixels per pixel pass from ``low`` to ``high``, the source is softened by ``sigma`` pixels.
SQUEEZES = ((1.5, 2.4, 1.0), (2.4, 3.6, 1.7))

# Sampling is exact to a 32nd of a pixel, so what moves less than half of that stays.
STILL = 1 / 64


@dataclass
class Warp:
    """A rectangle of the frame under the edited mesh.

    Attributes:
        x0, y0: top left corner in the frame.
        source: (h, w, 2) float32, where each pixel comes from (frame pixels); its own place outside the mesh.
        uv: (h, w, 2) float32 texture coordinates in 0..1, 0 outside.
        hit: (h, w) int32 triangle or -1.
    """

    x0: int
    y0: int
    source: np.ndarray
    uv: np.ndarray
    hit: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) of the rectangle."""
        return self.hit.shape[0], self.hit.shape[1]

    @cached_property
    def movement(self) -> tuple[np.ndarray, np.ndarray, float]:
        """(h, w) bool, which pixels come from elsewhere; (h, w) float32 source pixels per pixel, the larger of both
        directions, 0 off the mesh; and the longest way along x or y."""
        return _movement(self.source, self.hit, self.x0, self.y0)


def bounds(points: np.ndarray, shape: tuple[int, ...], pad: int = 2) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of (V, ≥2) points, padded and cut to a frame of ``shape``."""
    columns = points[:, 0], points[:, 1]  # one by one: NumPy is slow along the first of two axes
    lo = np.floor([c.min() for c in columns]).astype(int) - pad
    hi = np.ceil([c.max() for c in columns]).astype(int) + pad + 1
    x0, y0 = np.maximum(lo, 0)
    x1, y1 = min(hi[0], shape[1]), min(hi[1], shape[0])
    return int(x0), int(y0), int(x1), int(y1)


def build_warp(
    source: np.ndarray,
    target: np.ndarray,
    triangles: np.ndarray,
    uv: np.ndarray,
    shape: tuple[int, ...],
    device: str = "cpu",
    loop: np.ndarray | None = None,
) -> Warp | None:
    """Rasterises the edited mesh.

    Args:
        source: (V, 3) mesh in the source frame, pixels, z away from the viewer.
        target: (V, 3) edited mesh.
        triangles: (F, 3) int32.
        uv: (V, 2).
        shape: of the frame.
        device: where to rasterise, "cpu" or "cuda".
        loop: (L,) vertices around the hole of the mouth, through which a turned face's far cheek must not be seen.

    Returns:
        The warp, or None where the mesh lies outside the frame.
    """
    x0, y0, x1, y1 = bounds(np.concatenate([source, target]), shape)
    if x1 - x0 < 8 or y1 - y0 < 8:
        return None
    attributes = np.concatenate([source[:, :2] - target[:, :2], uv], axis=1).astype(np.float32)
    values, hit = attribute_map(target.astype(np.float32), triangles, attributes, y1 - y0, x1 - x0, (x0, y0), device)
    if loop is not None:
        _clear(values, hit, target[:, :2] - np.float32([x0, y0]), triangles, loop)
    return Warp(x0, y0, *_split(values, np.float32(x0), np.float32(y0)), hit)


def _clear(values: np.ndarray, hit: np.ndarray, points: np.ndarray, triangles: np.ndarray, loop: np.ndarray) -> None:
    """Takes the back of the mesh out of the hole inside a loop, in place: lips that turn away themselves stay.

    Args:
        values: (h, w, C) interpolated over the mesh.
        hit: (h, w) int32 triangle or -1.
        points: (V, 2) vertices in the same pixels.
        triangles: (F, 3) int32.
        loop: (L,) vertices around the hole.
    """
    hole = np.zeros(hit.shape, np.uint8)
    cv2.fillPoly(hole, [np.round(points[loop]).astype(np.int32)], 1)
    rect = around(hole > 0)
    if rect is None:
        return
    there = np.where(hole[rect] > 0, hit[rect], -1)
    found = np.unique(there[there >= 0])
    a, b, c = points[triangles[found]].transpose(1, 2, 0)
    away = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) > 0
    behind = found[away & ~np.isin(triangles[found], loop).any(1)]
    seen = np.isin(there, behind)
    hit[rect][seen] = -1
    values[rect][seen] = 0


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _split(values: np.ndarray, x0: np.float32, y0: np.float32) -> tuple[np.ndarray, np.ndarray]:
    """(h, w, 4) displacement and texture coordinates as two maps, the first turned into places."""
    height, width = values.shape[:2]
    where, uv = np.empty((height, width, 2), np.float32), np.empty((height, width, 2), np.float32)
    for y in range(height):
        for x in range(width):
            where[y, x, 0] = values[y, x, 0] + (x0 + np.float32(x))
            where[y, x, 1] = values[y, x, 1] + (y0 + np.float32(y))
            uv[y, x, 0], uv[y, x, 1] = values[y, x, 2], values[y, x, 3]
    return where, uv


def sample(frame: np.ndarray, warp: Warp) -> np.ndarray:
    """(h, w, 3) uint8: the frame sampled through the warp (bicubic; exact where nothing moves).

    Where the edit squeezes skin strongly (a fold under a lowered brow) the source is softened first, or what is finer
    than a pixel there would flicker.
    """
    h, w = warp.shape
    out = frame[warp.y0 : warp.y0 + h, warp.x0 : warp.x0 + w].copy()
    moved, step, reach = warp.movement
    rect = around(moved)
    if rect is None:
        return out
    out[rect] = cv2.remap(frame, warp.source[rect], None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    for low, high, sigma in SQUEEZES:
        _soften(out, frame, warp, step, (low, high), sigma, int(reach))
    return out


def around(mask: np.ndarray) -> tuple[slice, slice] | None:
    """The smallest rectangle with all of a (h, w) mask, None where it is empty."""
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.s_[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] if len(rows) else None


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _movement(source: np.ndarray, hit: np.ndarray, x0: int, y0: int) -> tuple[np.ndarray, np.ndarray, float]:
    """See `Warp.movement`."""
    height, width = hit.shape
    moved, step, reach = np.zeros((height, width), np.bool_), np.zeros((height, width), np.float32), 0.0
    for y in range(height):
        for x in range(width):
            u, v = source[y, x, 0], source[y, x, 1]
            way = max(abs(u - x - x0), abs(v - y - y0))
            moved[y, x] = way > STILL
            reach = max(reach, way)
            if hit[y, x] < 0:
                continue
            most = np.float32(0)
            if x > 0 and hit[y, x - 1] >= 0:
                most = max(most, (u - source[y, x - 1, 0]) ** 2 + (v - source[y, x - 1, 1]) ** 2)
            if y > 0 and hit[y - 1, x] >= 0:
                most = max(most, (u - source[y - 1, x, 0]) ** 2 + (v - source[y - 1, x, 1]) ** 2)
            step[y, x] = np.sqrt(most)
    return moved, step, reach


def _soften(
    out: np.ndarray,
    frame: np.ndarray,
    warp: Warp,
    step: np.ndarray,
    over: tuple[float, float],
    sigma: float,
    reach: int,
) -> None:
    """Blends the warped, blurred source into (h, w, 3) ``out``, the more the further (h, w) ``step`` is over its range.

    No pixel comes from further away than ``reach``.
    """
    low, high = over
    rect = around(step > low)
    if rect is None:
        return
    rows, columns = rect
    weight = cv2.GaussianBlur(np.clip((step[rect] - low) * np.float32(1 / (high - low)), 0, 1), (0, 0), 1.0)
    pad = reach + 9
    x0, y0 = max(warp.x0 + columns.start - pad, 0), max(warp.y0 + rows.start - pad, 0)
    x1, y1 = warp.x0 + columns.stop + pad, warp.y0 + rows.stop + pad
    near = cv2.GaussianBlur(np.ascontiguousarray(frame[y0:y1, x0:x1]), (0, 0), sigma)
    _blend(out[rect], near, warp.source[rect], weight, warp.hit[rect], x0, y0)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _blend(
    out: np.ndarray, near: np.ndarray, where: np.ndarray, weight: np.ndarray, hit: np.ndarray, x0: int, y0: int
) -> None:
    """Moves (h, w, 3) ``out`` towards ``near``, sampled bilinearly at ``where``, by the weight."""
    bottom, right = near.shape[0] - 1, near.shape[1] - 1
    half, one = np.float32(0.5), np.float32(1)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            share = weight[y, x]
            if share <= 0.004 or hit[y, x] < 0:
                continue
            u, v = min(max(where[y, x, 0] - x0, 0), right), min(max(where[y, x, 1] - y0, 0), bottom)
            i, j = min(int(v), bottom - 1), min(int(u), right - 1)
            a, b = np.float32(v - i), np.float32(u - j)
            for c in range(3):
                top = near[i, j, c] * (one - b) + near[i, j + 1, c] * b
                low = near[i + 1, j, c] * (one - b) + near[i + 1, j + 1, c] * b
                level = np.float32(out[y, x, c])
                out[y, x, c] = np.uint8(level + (top * (one - a) + low * a - level) * share + half)
