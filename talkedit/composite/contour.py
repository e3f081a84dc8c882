"""Contours inside the edited mesh, a cheek before the hair behind it or a nose before the eye, without stairs.

Rasterised once a pixel, such an edge is either one side or the other. Where neighbouring pixels come from places that
lie apart, a pixel is the mean of a grid of samples, each of the surface in front there. Where they lie hardly apart,
the edge in the picture, which the mesh meets to a pixel or two, would be seen twice or in dots: there both sides move
alike.
"""

from __future__ import annotations

import cv2
import numba
import numpy as np

from talkedit.composite.warp import Warp, around

# Pixels whose neighbours come from further apart than this, in source pixels, lie at a contour.
APART = 3.0
# Samples a pixel along each direction.
GRID = 4
BLOCK = 8  # pixels; see `_in_front`
# Neighbours that lie so many pixels of an even template apart are of two surfaces; they move alike from so many pixels
# between their ways on, within about so many of the contour.
SURFACES, ASTRAY, ALIKE = 5.5, 0.3, 2.0


def join_contours(warp: Warp) -> None:
    """Lets both sides of a contour move alike next to it where they hardly move apart, in place."""
    edge = _astray(warp.source, warp.uv, warp.hit)
    rect = around(edge)
    if rect is None:
        return
    pad = round(3 * ALIKE) + 1
    rows, columns = (slice(max(s.start - pad, 0), s.stop + pad) for s in rect)
    share = np.minimum(3 * cv2.GaussianBlur(edge[rows, columns].astype(np.float32), (0, 0), ALIKE), 1)
    source = warp.source[rows, columns]
    h, w = share.shape
    place = np.dstack(np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32)))
    place += np.float32([warp.x0 + columns.start, warp.y0 + rows.start])
    moved = source - place
    source += share[..., None] * (cv2.GaussianBlur(moved, (0, 0), ALIKE) - moved)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _astray(source: np.ndarray, uv: np.ndarray, hit: np.ndarray) -> np.ndarray:
    """(h, w) bool: pixels next to one of another surface that moves by ``ASTRAY`` to ``APART`` pixels beside it."""
    height, width = hit.shape
    edge, jump = np.zeros((height, width), np.bool_), np.float32(SURFACES / width)
    for y in range(height):
        for x in range(width):
            if hit[y, x] < 0:
                continue
            for dy, dx in ((0, 1), (1, 0)):
                i, j = y - dy, x - dx
                if i < 0 or j < 0 or hit[i, j] < 0:
                    continue
                if max(abs(uv[y, x, 0] - uv[i, j, 0]), abs(uv[y, x, 1] - uv[i, j, 1])) < jump:
                    continue
                beside = max(abs(source[y, x, 0] - source[i, j, 0] - dx), abs(source[y, x, 1] - source[i, j, 1] - dy))
                if ASTRAY < beside < APART:
                    edge[y, x] = edge[i, j] = True
    return edge


def smooth_contours(
    picture: np.ndarray, frame: np.ndarray, warp: Warp, source: np.ndarray, target: np.ndarray, triangles: np.ndarray
) -> None:
    """Gives the pixels at contours what lies on both sides of them, in place.

    Args:
        picture: (h, w, 3) uint8, the frame sampled through the warp.
        frame: (H, W, 3) uint8.
        warp: made of the meshes.
        source: (V, 3) mesh in the source frame, pixels, z away from the viewer.
        target: (V, 3) edited mesh.
        triangles: (F, 3) int32.
    """
    edge = (warp.movement[1] > APART).astype(np.uint8)
    if not edge.any():
        return
    edge = cv2.dilate(edge, np.ones((2, 2), np.uint8), anchor=(0, 0))
    edge[warp.hit < 0] = 0
    _average(picture, frame, *_in_front(edge, source, target, triangles, warp.x0, warp.y0))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _in_front(
    edge: np.ndarray, source: np.ndarray, target: np.ndarray, triangles: np.ndarray, x0: int, y0: int
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) pixels of ``edge`` in reading order, and (N, GRID², 3) what is in front there: source x and y, and depth."""
    height, width = edge.shape
    number = np.full((height, width), -1, np.int32)
    pixels = np.flatnonzero(edge)
    # Blocks of pixels with some of ``edge`` in them or next to them: most triangles are small and nowhere near.
    near = np.zeros((height // BLOCK + 2, width // BLOCK + 2), np.bool_)
    for n in range(len(pixels)):
        y, x = pixels[n] // width, pixels[n] % width
        number[y, x] = n
        near[max(y // BLOCK - 1, 0) : y // BLOCK + 2, max(x // BLOCK - 1, 0) : x // BLOCK + 2] = True
    front = np.full((len(pixels), GRID * GRID, 3), np.inf, np.float32)
    half, one = np.float32(0.5), np.float32(1)
    offsets = ((np.arange(GRID) + 0.5) / GRID - 0.5).astype(np.float32)
    fx, fy = np.float32(x0), np.float32(y0)
    for f in range(len(triangles)):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        ax, ay, bx, by = target[a, 0] - fx, target[a, 1] - fy, target[b, 0] - fx, target[b, 1] - fy
        cx, cy = target[c, 0] - fx, target[c, 1] - fy
        left, right = max(int(min(ax, bx, cx) + half), 0), min(int(max(ax, bx, cx) + half), width - 1)
        top, bottom = max(int(min(ay, by, cy) + half), 0), min(int(max(ay, by, cy) + half), height - 1)
        if left > right or top > bottom:
            continue
        if max(right - left, bottom - top) < BLOCK and not near[top // BLOCK, left // BLOCK]:
            continue
        total = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if total == 0:
            continue
        # Weights of the first two corners, linear in x and y.
        inverse = one / total
        ux, uy, vx, vy = (by - cy) * inverse, (cx - bx) * inverse, (cy - ay) * inverse, (ax - cx) * inverse
        u0, v0 = -ux * cx - uy * cy, -vx * cx - vy * cy
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                n = number[y, x]
                if n < 0:
                    continue
                for i in range(GRID * GRID):
                    py, px = np.float32(y) + offsets[i // GRID], np.float32(x) + offsets[i % GRID]
                    u, v = u0 + ux * px + uy * py, v0 + vx * px + vy * py
                    w = one - u - v
                    if min(u, v, w) < 0:
                        continue
                    z = u * target[a, 2] + v * target[b, 2] + w * target[c, 2]
                    if z < front[n, i, 2]:
                        front[n, i, 0] = u * source[a, 0] + v * source[b, 0] + w * source[c, 0]
                        front[n, i, 1] = u * source[a, 1] + v * source[b, 1] + w * source[c, 1]
                        front[n, i, 2] = z
    return pixels, front


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _average(picture: np.ndarray, frame: np.ndarray, pixels: np.ndarray, front: np.ndarray) -> None:
    """Gives (h, w, 3) ``picture`` at the pixels the mean of the samples, each read bilinearly off the frame."""
    width, bottom, right = picture.shape[1], frame.shape[0] - 1, frame.shape[1] - 1
    colour = np.zeros(3, np.float32)
    for n in range(len(pixels)):
        colour[:], found = 0, 0
        for i in range(GRID * GRID):
            if front[n, i, 2] == np.inf:
                continue
            found += 1
            sx, sy = min(max(front[n, i, 0], 0), right), min(max(front[n, i, 1], 0), bottom)
            row, column = min(int(sy), bottom - 1), min(int(sx), right - 1)
            fy, fx = np.float32(sy - row), np.float32(sx - column)
            for c in range(3):
                top = frame[row, column, c] * (1 - fx) + frame[row, column + 1, c] * fx
                low = frame[row + 1, column, c] * (1 - fx) + frame[row + 1, column + 1, c] * fx
                colour[c] += top * (1 - fy) + low * fy
        for c in range(3):
            if found:
                picture[pixels[n] // width, pixels[n] % width, c] = np.uint8(colour[c] / found + np.float32(0.5))
