"""Vectorized z-buffer in plain torch: runs on CUDA, and on a CPU without Numba.

Every pixel of every triangle's bounding box becomes one candidate; those inside compete by ``scatter_reduce(amin)``
on a 64-bit key, depth in the high half and triangle index in the low half. The arithmetic is that of
:mod:`talkedit.render.numba_backend`, operation by operation in float64, and so are its rules.
"""

from __future__ import annotations

import torch
from torch import Tensor

from talkedit.render.fragments import Fragments

_CANDIDATES = 1 << 22
"""Candidates tested at once: bounds memory to about 0.5 GB."""

_EMPTY = torch.iinfo(torch.int64).max


@torch.no_grad()
def rasterize(points: Tensor, triangles: Tensor, height: int, width: int, backface: bool = True) -> Fragments:
    """See :func:`talkedit.render.rasterize`. Deterministic on every device."""
    batch, count = len(points), len(triangles)
    corners = _corners(points, triangles)  # (B * F, 3, 3)
    area = _area(corners)
    low, high = corners[..., :2].amin(1), corners[..., :2].amax(1)
    limit = corners.new_tensor([width - 1, height - 1])
    valid = corners.isfinite().all(-1).all(-1) & area.isfinite() & (area != 0)
    valid &= (high >= 0).all(-1) & (low <= limit).all(-1)
    if not backface:
        valid &= area < 0
    kept = valid.nonzero().squeeze(1)
    corners, area = corners[kept], area[kept]
    first = low[kept].ceil().clamp_min(0).long()
    extent = torch.minimum(high[kept].floor(), limit).long() - first + 1
    pixels = extent.clamp_min(0).prod(-1)

    keys = torch.full((batch * height * width,), _EMPTY, dtype=torch.int64, device=points.device)
    boxes = torch.cat([first, extent], dim=-1)
    for start, stop in _chunks(pixels):
        part = slice(start, stop)
        number, place, weights = _candidates(corners[part], area[part], boxes[part], pixels[part])
        bits = (
            (_depth(weights, corners[part].index_select(0, number)) + 0.0).view(torch.int32).long()
        )  # + 0.0 makes -0 and 0 equal
        ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # the order of floats as the order of integers
        owner = kept[part][number]
        mesh = torch.div(owner, count, rounding_mode="floor")
        target = (mesh * height + place[:, 1]) * width + place[:, 0]
        keys.scatter_reduce_(0, target, (ordered << 32) | (owner % count), "amin")
    triangle = torch.where(keys != _EMPTY, keys & 0xFFFFFFFF, -1).reshape(batch, height, width)
    return fragments_of(triangle, points, triangles)


def _corners(points: Tensor, triangles: Tensor) -> Tensor:
    """(B, V, 3) to (B * F, 3 corners, 3) float64, rounded to float32 first as every backend does."""
    gathered = points.detach().to(torch.float32).index_select(1, triangles.reshape(-1).long())
    return gathered.reshape(-1, 3, 3).double()


def _area(corners: Tensor) -> Tensor:
    """Twice the signed area, positive = clockwise on the screen: (N, 3, 3) to (N,)."""
    (ax, ay), (bx, by), (cx, cy) = (corners[:, i, :2].unbind(-1) for i in range(3))
    return (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)


def _chunks(pixels: Tensor) -> list[tuple[int, int]]:
    """Runs of triangles with at most ``_CANDIDATES`` pixels together (a larger triangle runs alone)."""
    total = pixels.cumsum(0).cpu()
    bounds, start, done = [], 0, 0
    while start < len(total):
        stop = int(torch.searchsorted(total, done + _CANDIDATES, right=True))
        stop = max(stop, start + 1)
        bounds.append((start, stop))
        start, done = stop, int(total[stop - 1])
    return bounds


def _edges(corners: Tensor, area: Tensor) -> tuple[Tensor, ...]:
    """Lines opposite to the corners: x, y, dx, dy, sign / area, each (N, 3), end points in the order of x, y."""
    x, y = corners[..., 0], corners[..., 1]
    ax, ay, bx, by = x[:, [1, 2, 0]], y[:, [1, 2, 0]], x[:, [2, 0, 1]], y[:, [2, 0, 1]]
    ordered = (ax < bx) | ((ax == bx) & (ay <= by))
    sign = ordered.to(corners.dtype) * 2 - 1
    base_x, base_y = torch.where(ordered, ax, bx), torch.where(ordered, ay, by)
    return base_x, base_y, sign * (bx - ax), sign * (by - ay), sign * (1.0 / area)[:, None]


def _weights(edges: tuple[Tensor, ...], x: Tensor, y: Tensor) -> Tensor:
    """Edges, each (N, 3), at (N,) pixels: (N, 3) barycentric weights."""
    base_x, base_y, dx, dy, sign = edges
    return (dx * (y[:, None] - base_y) - dy * (x[:, None] - base_x)) * sign


def _depth(weights: Tensor, corners: Tensor) -> Tensor:
    (u, v, w), z = weights.unbind(-1), corners[..., 2]
    return (u * z[:, 0] + v * z[:, 1] + w * z[:, 2]).float()


def _candidates(corners: Tensor, area: Tensor, boxes: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels inside some triangles.

    Args:
        corners: (N, 3, 3).
        area: (N,).
        boxes: (N, 4) first column, first row, columns, rows of the bounding box.
        pixels: (N,) pixels in the box.

    Returns:
        For each of M pixels: the triangle it lies in (M,), column and row (M, 2), weights (M, 3).
    """
    total = int(pixels.sum())
    number = torch.arange(len(pixels), device=pixels.device).repeat_interleave(pixels, output_size=total)
    within = torch.arange(total, device=pixels.device) - (pixels.cumsum(0) - pixels)[number]
    box = boxes.index_select(0, number)
    column = box[:, 0] + within % box[:, 2]
    row = box[:, 1] + torch.div(within, box[:, 2], rounding_mode="floor")
    edges = tuple(part.index_select(0, number) for part in _edges(corners, area))
    weights = _weights(edges, column.double(), row.double())
    inside = (weights >= 0).all(-1).nonzero().squeeze(1)
    return number[inside], torch.stack([column, row], dim=-1)[inside], weights[inside]


@torch.no_grad()
def fragments_of(triangle: Tensor, points: Tensor, triangles: Tensor) -> Fragments:
    """Complete known hits to fragments.

    Args:
        triangle: (B, H, W) int64, -1 where there is none.
        points: (B, V, 3) screen points.
        triangles: (F, 3).

    Returns:
        The fragments.
    """
    mesh, row, column = (triangle >= 0).nonzero(as_tuple=True)
    found = mesh * len(triangles) + triangle[mesh, row, column]
    corners = _corners(points, triangles).index_select(0, found)
    weights = _weights(_edges(corners, _area(corners)), column.double(), row.double())
    barycentric = torch.zeros(*triangle.shape, 3, device=points.device)
    barycentric[mesh, row, column] = weights.float()
    depth = torch.full(triangle.shape, torch.inf, device=points.device)
    depth[mesh, row, column] = _depth(weights, corners)
    return Fragments(triangle, barycentric, depth)
