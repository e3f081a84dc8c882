"""The inner edges of the lips: how far places between them are from each, and how an edit of the lips moves them."""

from __future__ import annotations

import numba
import numpy as np

SOFT = 0.25  # squared pixels; between both lips each counts by its squared distance, nearly


@numba.njit(nogil=True, cache=True, error_model="numpy")
def beside_lips(
    loop: np.ndarray, moved: np.ndarray, where: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance to both lips, and where what moves with the nearer one came from.

    Args:
        loop: (20, 2) inner lips, pixels: a corner, the upper lip, the other corner, the lower lip.
        moved: (20, 2) how far each of its points was moved, pixels.
        where: (h, w) only places above 0 are looked at.
        reach: distance in pixels from which on a lip does not count any more.

    Returns:
        (h, w) float32 pixels to the nearer lip, ``reach`` at most and elsewhere; (h, w) float32 x and y from where
        places on a lip, or near it, came with it. Between both lips the nearer counts more.
    """
    height, width = where.shape
    near = np.full((height, width), np.float32(reach))
    back_x, back_y = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    least = np.full((2, height, width), np.float32(reach * reach))
    by = np.zeros((2, height, width, 2), np.float32)
    for k in range(20):
        lip, m = k // 10, (k + 1) % 20
        ax, ay = loop[m, 0] - loop[k, 0], loop[m, 1] - loop[k, 1]
        length = max(ax * ax + ay * ay, np.float32(1e-6))
        # Only places within reach of this piece of the lip.
        x0, x1 = min(loop[k, 0], loop[m, 0]) - reach, max(loop[k, 0], loop[m, 0]) + reach
        y0, y1 = min(loop[k, 1], loop[m, 1]) - reach, max(loop[k, 1], loop[m, 1]) + reach
        for y in range(max(int(y0), 0), min(int(y1) + 2, height)):
            for x in range(max(int(x0), 0), min(int(x1) + 2, width)):
                px, py = np.float32(x) - loop[k, 0], np.float32(y) - loop[k, 1]
                t = min(max((px * ax + py * ay) / length, np.float32(0)), np.float32(1))
                away = (px - t * ax) ** 2 + (py - t * ay) ** 2
                if away < least[lip, y, x]:
                    least[lip, y, x] = away
                    by[lip, y, x, 0] = moved[k, 0] + t * (moved[m, 0] - moved[k, 0])
                    by[lip, y, x, 1] = moved[k, 1] + t * (moved[m, 1] - moved[k, 1])
    for y in range(height):
        for x in range(width):
            back_x[y, x], back_y[y, x] = x, y
            if where[y, x] <= 0:
                continue
            upper, lower = np.sqrt(least[0, y, x]), np.sqrt(least[1, y, x])
            near[y, x] = min(upper, lower)
            a = 1 / (upper * upper + SOFT) if upper < reach else 0.0
            b = 1 / (lower * lower + SOFT) if lower < reach else 0.0
            total = a + b + 1e-9
            back_x[y, x] -= (a * by[0, y, x, 0] + b * by[1, y, x, 0]) / total
            back_y[y, x] -= (a * by[0, y, x, 1] + b * by[1, y, x, 1]) / total
    return near, back_x, back_y


@numba.njit(nogil=True, cache=True, error_model="numpy")
def between_lips(
    loop: np.ndarray, moved: np.ndarray, back_x: np.ndarray, back_y: np.ndarray, share: np.ndarray
) -> None:
    """Turns where places came from, in place, to where they did if all between the lips were skin, stretched with them.

    Mean value coordinates (Floater 2003): as the lips move at the lips, smooth between them.

    Args:
        loop: (20, 2) inner lips, pixels.
        moved: (20, 2) how far each of its points was moved, pixels.
        back_x, back_y: (h, w) float32 x and y that are changed.
        share: (h, w) 0..1, by how much.
    """
    count = len(loop)
    for y in range(share.shape[0]):
        for x in range(share.shape[1]):
            if share[y, x] <= 0:
                continue
            total, by_x, by_y = 0.0, 0.0, 0.0
            ax, ay = loop[count - 1, 0] - x, loop[count - 1, 1] - y
            bx, by = loop[0, 0] - x, loop[0, 1] - y
            before = _half_tangent(ax, ay, bx, by)
            for k in range(count):
                m = (k + 1) % count
                cx, cy = loop[m, 0] - x, loop[m, 1] - y
                after = _half_tangent(bx, by, cx, cy)
                weight = (before + after) / max(np.sqrt(bx * bx + by * by), 1e-3)
                total += weight
                by_x += weight * moved[k, 0]
                by_y += weight * moved[k, 1]
                bx, by, before = cx, cy, after
            if abs(total) > 1e-9:
                back_x[y, x] += share[y, x] * (x - by_x / total - back_x[y, x])
                back_y[y, x] += share[y, x] * (y - by_y / total - back_y[y, x])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _half_tangent(ax: float, ay: float, bx: float, by: float) -> float:
    """Tangent of half the angle from (ax, ay) to (bx, by), signed."""
    cross, dot = ax * by - ay * bx, ax * bx + ay * by
    lengths = np.sqrt((ax * ax + ay * ay) * (bx * bx + by * by))
    return cross / max(lengths + dot, 1e-6)
