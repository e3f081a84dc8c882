"""Differentiable interpolation inside the triangles that a rasterizer found.

Which triangle a pixel sees is a step function without a useful gradient; where the pixel lies inside that triangle is
smooth. So the hits are taken as given, the barycentric weights are computed again in torch, and gradients reach the
points and the attributes. There is no gradient from the silhouette. On a CPU with Numba the same formulas run as two
loops (:mod:`talkedit.render.numba_interpolate`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from talkedit.render.fragments import SLIVER, Fragments
from talkedit.render.rasterizer import choose_backend


def barycentric(fragments: Fragments, points: Tensor, triangles: Tensor, perspective: bool = False) -> Tensor:
    """Barycentric weights of the hit pixels, differentiable in the points.

    Args:
        fragments: from :func:`talkedit.render.rasterize` with the same points and triangles.
        points: (B, V, 3) screen points; with ``perspective`` their depths must be positive.
        triangles: (F, 3) integers.
        perspective: True gives weights that are affine on the surface in space, w_i / z_i normalized, instead of
            affine on the screen.

    Returns:
        (B, H, W, 3) in the dtype of the points, 0 where there is no triangle.
    """
    pixels, corner = _hits(fragments, points.shape[1], triangles)
    weights = _weights(fragments, pixels, corner, points, perspective)
    return _spread(weights, pixels, fragments, 0.0)


def interpolate(
    fragments: Fragments,
    points: Tensor,
    triangles: Tensor,
    attributes: Tensor,
    perspective: bool = False,
    background: float = 0.0,
    backend: str = "auto",
) -> Tensor:
    """Attributes of the vertices at every pixel, differentiable in points and attributes.

    Args:
        fragments: from :func:`talkedit.render.rasterize` with the same points and triangles.
        points: (B, V, 3) screen points.
        triangles: (F, 3) integers.
        attributes: (B, V, C), or (V, C) for all.
        perspective: see :func:`barycentric`.
        background: value where there is no triangle.
        backend: "torch"; "numba" (CPU only, differentiable once); "auto" takes numba where it can.

    Returns:
        (B, H, W, C).

    Raises:
        ValueError: if the attributes do not fit the points, or the backend is unknown.
    """
    batch, count = points.shape[:2]
    if attributes.ndim == 2:
        attributes = attributes.expand(batch, *attributes.shape)
    if attributes.ndim != 3 or attributes.shape[:2] != (batch, count):
        raise ValueError(f"attributes must be ({batch}, {count}, C), got {tuple(attributes.shape)}")
    if backend not in ("auto", "numba", "torch"):
        raise ValueError(f"backend must be 'auto', 'numba' or 'torch', got {backend!r}")
    plain = points.device.type == attributes.device.type == "cpu" and points.dtype == attributes.dtype
    plain &= points.dtype in (torch.float32, torch.float64)
    if backend == "numba" or (backend == "auto" and plain and choose_backend("cpu") == "numba"):
        if not plain:
            raise ValueError("backend 'numba' needs points and attributes of one dtype, float32 or float64, on the CPU")
        from talkedit.render.numba_interpolate import interpolate as fast

        return fast(fragments, points, triangles, attributes, perspective, background)
    pixels, corner = _hits(fragments, count, triangles)
    weights = _weights(fragments, pixels, corner, points, perspective)
    gathered = attributes.reshape(-1, attributes.shape[-1]).index_select(0, corner.reshape(-1))
    values = torch.einsum("nk,nkc->nc", weights, gathered.reshape(*corner.shape, attributes.shape[-1]))
    return _spread(values, pixels, fragments, background)


def _hits(fragments: Fragments, count: int, triangles: Tensor) -> tuple[Tensor, Tensor]:
    """Flat indices of the hit pixels (N,) and of their corners in the flattened batch of vertices (N, 3)."""
    flat = fragments.triangle.reshape(-1)
    pixels = (flat >= 0).nonzero().squeeze(1)
    height, width = fragments.triangle.shape[1:]
    mesh = torch.div(pixels, height * width, rounding_mode="floor")
    return pixels, triangles.long()[flat[pixels]] + (mesh * count)[:, None]


def _weights(fragments: Fragments, pixels: Tensor, corner: Tensor, points: Tensor, perspective: bool) -> Tensor:
    height, width = fragments.triangle.shape[1:]
    place = torch.stack([pixels % width, torch.div(pixels, width, rounding_mode="floor") % height], dim=-1)
    corners = points.reshape(-1, 3).index_select(0, corner.reshape(-1)).reshape(-1, 3, 3)
    # Relative to the pixel numbers are small, so that float32 is enough.
    x, y = (corners[..., :2] - place[:, None].to(points.dtype)).unbind(-1)
    pieces = x[:, [1, 2, 0]] * y[:, [2, 0, 1]] - x[:, [2, 0, 1]] * y[:, [1, 2, 0]]
    area = pieces.sum(-1, keepdim=True)
    # A sliver's area may vanish in this precision: it keeps the rasterizer's weights, without a gradient.
    sliver = area.abs() < SLIVER
    fixed = fragments.barycentric.reshape(-1, 3)[pixels].to(points.dtype)
    weights = torch.where(sliver, fixed, pieces / torch.where(sliver, torch.ones_like(area), area))
    if not perspective:
        return weights
    scaled = weights / corners[..., 2]
    return scaled / scaled.sum(-1, keepdim=True)


def _spread(values: Tensor, pixels: Tensor, fragments: Fragments, background: float) -> Tensor:
    """(N, C) at the hit pixels to (B, H, W, C)."""
    shape = fragments.triangle.shape
    image = values.new_full((shape.numel(), values.shape[-1]), background)
    return image.index_copy(0, pixels, values).reshape(*shape, values.shape[-1])
