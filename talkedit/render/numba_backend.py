"""Serial z-buffer in Numba: the fast way on a CPU.

The rules, which the torch backend follows operation by operation so that both find the same triangles:

* A pixel is a point at whole-number coordinates. It belongs to a triangle if it lies inside or exactly on an edge.
* Edge functions are evaluated in float64 with the end points of an edge in a fixed order (by x, then y). Two
  triangles that share an edge so get exactly opposite values, and no pixel can fall between them.
* The nearest depth (float32) wins; of equal depths the lowest triangle index.
* Triangles without area, or with a corner that is not finite, are skipped.
* A triangle faces the viewer if its corners run counter-clockwise as seen on the screen.

The kernels release the GIL, so that threads can work on several frames at once, and use no fast-math: the result
does not depend on the machine.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor

from talkedit.render.fragments import Fragments

_jit = numba.njit(nogil=True, cache=True, error_model="numpy")


def attribute_map(
    points: np.ndarray,
    triangles: np.ndarray,
    attributes: np.ndarray,
    height: int,
    width: int,
    backface: bool = True,
    origin: tuple[int, int] = (0, 0),
    out: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Rasterize one mesh and interpolate its vertex attributes in the same pass.

    Args:
        points: (V, 3) float32 screen points: x right, y down in pixels, depth (smaller is nearer).
        triangles: (F, 3) int32.
        attributes: (V, C) float32.
        height: rows of the map.
        width: columns of the map.
        backface: False leaves out triangles that face away from the viewer.
        origin: screen (x, y) of the map's pixel (0, 0), so that only a rectangle of a frame need be drawn.
        out: buffers from :func:`map_buffers`, overwritten and returned: saves fresh memory for every frame.

    Returns:
        The map (H, W, C) float32, 0 where nothing was hit, and the hit triangle (H, W) int32, -1 where none.

    Raises:
        ValueError: if shapes do not fit or a triangle names a vertex that does not exist.
    """
    points = np.ascontiguousarray(points, np.float32)
    triangles = np.ascontiguousarray(triangles, np.int32)
    attributes = np.ascontiguousarray(attributes, np.float32)
    _check(points, triangles)
    if attributes.ndim != 2 or len(attributes) != len(points) or attributes.shape[1] == 0:
        raise ValueError(f"attributes must be ({len(points)}, C) with C > 0, got {attributes.shape}")
    values, hit, depth = map_buffers(height, width, attributes.shape[1]) if out is None else out
    if values.shape != (height, width, attributes.shape[1]) or not hit.shape == depth.shape == (height, width):
        raise ValueError(f"buffers {values.shape} do not fit a map of {(height, width, attributes.shape[1])}")
    values.fill(0.0)
    hit.fill(-1)
    depth.fill(np.inf)
    _draw(points, triangles, attributes, bool(backface), int(origin[0]), int(origin[1]), values, hit, depth)
    return values, hit


def map_buffers(height: int, width: int, channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Memory for :func:`attribute_map`: map (H, W, C) float32, hits (H, W) int32, depth (H, W) float32."""
    return (
        np.empty((height, width, channels), np.float32),
        np.empty((height, width), np.int32),
        np.empty((height, width), np.float32),
    )


def rasterize(points: Tensor, triangles: Tensor, height: int, width: int, backface: bool = True) -> Fragments:
    """See :func:`talkedit.render.rasterize`. Tensors may live anywhere; the work is done on the CPU."""
    batch = np.ascontiguousarray(points.detach().to("cpu", torch.float32).numpy())
    faces = np.ascontiguousarray(triangles.detach().to("cpu", torch.int32).numpy())
    weights = np.zeros((len(batch), height, width, 3), np.float32)
    hit = np.full((len(batch), height, width), -1, np.int32)
    depth = np.full((len(batch), height, width), np.inf, np.float32)
    for index, mesh in enumerate(batch):
        _check(mesh, faces)
        nothing = np.empty((len(mesh), 0), np.float32)
        _draw(mesh, faces, nothing, bool(backface), 0, 0, weights[index], hit[index], depth[index])
    device = points.device
    return Fragments(
        torch.from_numpy(hit).to(device, torch.int64),
        torch.from_numpy(weights).to(device),
        torch.from_numpy(depth).to(device),
    )


def _check(points: np.ndarray, triangles: np.ndarray) -> None:
    """The kernels do not check indices, so this must."""
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points must be (V, 3), got {points.shape}")
    if triangles.ndim != 2 or triangles.shape[1] != 3:
        raise ValueError(f"triangles must be (F, 3), got {triangles.shape}")
    if triangles.size and (triangles.min() < 0 or triangles.max() >= len(points)):
        raise ValueError(f"triangles name vertices outside 0..{len(points) - 1}")


@_jit
def _edge(ax, ay, bx, by):
    """Line through a and b as (x, y, dx, dy, sign), the same line with the other sign for b and a."""
    if ax < bx or (ax == bx and ay <= by):
        return ax, ay, bx - ax, by - ay, 1.0
    return bx, by, ax - bx, ay - by, -1.0


@_jit
def _setup(points, triangle, backface, left, top, width, height):
    """Pixels that a triangle may cover, as (first column, last column, first row, last row); empty if it is skipped.

    Also its area (twice, signed, positive = clockwise on the screen).
    """
    a, b, c = triangle[0], triangle[1], triangle[2]
    ax, ay, az = np.float64(points[a, 0]), np.float64(points[a, 1]), points[a, 2]
    bx, by, bz = np.float64(points[b, 0]), np.float64(points[b, 1]), points[b, 2]
    cx, cy, cz = np.float64(points[c, 0]), np.float64(points[c, 1]), points[c, 2]
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    # A NaN or infinity anywhere makes this sum differ from itself, or infinite.
    total = (ax + ay + az) + (bx + by + bz) + (cx + cy + cz)
    if not np.isfinite(total) or not np.isfinite(area) or area == 0.0 or (area > 0.0 and not backface):
        return 0, -1, 0, -1, area
    # Clamp before the conversion: a huge float has no whole number.
    first_column = int(max(np.ceil(min(ax, bx, cx)) - left, 0.0)) if min(ax, bx, cx) < left + width else width
    last_column = int(min(np.floor(max(ax, bx, cx)) - left, width - 1.0)) if max(ax, bx, cx) >= left else -1
    first_row = int(max(np.ceil(min(ay, by, cy)) - top, 0.0)) if min(ay, by, cy) < top + height else height
    last_row = int(min(np.floor(max(ay, by, cy)) - top, height - 1.0)) if max(ay, by, cy) >= top else -1
    return first_column, last_column, first_row, last_row, area


@_jit
def _draw(points, triangles, attributes, backface, left, top, values, hit, depth):
    """Fill values with interpolated attributes or, if these have no channels, with the three weights."""
    height, width = hit.shape
    channels = attributes.shape[1]
    for index in range(len(triangles)):
        triangle = triangles[index]
        x0, x1, y0, y1, area = _setup(points, triangle, backface, left, top, width, height)
        if x0 > x1 or y0 > y1:
            continue
        a, b, c = triangle[0], triangle[1], triangle[2]
        ax, ay, az = np.float64(points[a, 0]), np.float64(points[a, 1]), np.float64(points[a, 2])
        bx, by, bz = np.float64(points[b, 0]), np.float64(points[b, 1]), np.float64(points[b, 2])
        cx, cy, cz = np.float64(points[c, 0]), np.float64(points[c, 1]), np.float64(points[c, 2])
        inverse = 1.0 / area
        # Edge opposite to each corner, scaled so that its function is the corner's weight.
        ox, oy, odx, ody, osign = _edge(bx, by, cx, cy)
        px, py, pdx, pdy, psign = _edge(cx, cy, ax, ay)
        qx, qy, qdx, qdy, qsign = _edge(ax, ay, bx, by)
        osign *= inverse
        psign *= inverse
        qsign *= inverse
        for row in range(y0, y1 + 1):
            y = np.float64(row + top)
            orow, prow, qrow = odx * (y - oy), pdx * (y - py), qdx * (y - qy)
            for column in range(x0, x1 + 1):
                x = np.float64(column + left)
                u = (orow - ody * (x - ox)) * osign
                v = (prow - pdy * (x - px)) * psign
                w = (qrow - qdy * (x - qx)) * qsign
                if u >= 0.0 and v >= 0.0 and w >= 0.0:
                    z = np.float32(u * az + v * bz + w * cz)
                    if z < depth[row, column]:
                        depth[row, column] = z
                        hit[row, column] = index
                        if channels == 0:
                            values[row, column, 0] = np.float32(u)
                            values[row, column, 1] = np.float32(v)
                            values[row, column, 2] = np.float32(w)
                        for channel in range(channels):
                            values[row, column, channel] = np.float32(
                                u * attributes[a, channel] + v * attributes[b, channel] + w * attributes[c, channel]
                            )
