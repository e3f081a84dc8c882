"""One interface to several rasterizers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib import import_module

import torch
from torch import Tensor

from talkedit.render.fragments import Fragments

BACKENDS = ("numba", "torch", "pytorch3d")
"""Every backend talkedit knows, installed or not."""


def available_backends() -> tuple[str, ...]:
    """The backends that can run here, the preferred one on a CPU first."""
    return tuple(name for name in BACKENDS if name == "torch" or importlib.util.find_spec(name) is not None)


def choose_backend(device: torch.device | str) -> str:
    """What ``backend="auto"`` means for tensors on a device: torch on CUDA or without Numba, else numba."""
    on_cuda = torch.device(device).type == "cuda"
    return "torch" if on_cuda or "numba" not in available_backends() else "numba"


def rasterize(
    points: Tensor, triangles: Tensor, height: int, width: int, backend: str = "auto", backface: bool = True
) -> Fragments:
    """Find the nearest triangle at every pixel.

    A pixel is the point at its whole-number coordinates and belongs to a triangle if it lies inside or on an edge; of
    equal depths the lowest triangle index wins. Triangles without area, outside the image or with a corner that is
    not finite are skipped. Nothing is clipped by depth: set points behind the camera to NaN. Not differentiable: see
    :func:`talkedit.render.interpolate`.

    Args:
        points: (B, V, 3) screen points: x right and y down in pixels, depth (smaller is nearer).
        triangles: (F, 3) integers, shared by the batch.
        height: image rows.
        width: image columns.
        backend: "auto" (see :func:`choose_backend`), "numba", "torch" or "pytorch3d".
        backface: False leaves out triangles that face away: those whose corners run clockwise as seen on the screen.

    Returns:
        The fragments, on the device of the points.

    Raises:
        ValueError: if shapes do not fit, a triangle names a vertex that does not exist, or the backend is unknown.
        ImportError: if the package of the backend is not installed.
    """
    if points.ndim != 3 or points.shape[-1] != 3:
        raise ValueError(f"points must be (B, V, 3), got {tuple(points.shape)}")
    if triangles.ndim != 2 or triangles.shape[-1] != 3 or triangles.is_floating_point():
        raise ValueError(f"triangles must be (F, 3) integers, got {tuple(triangles.shape)} {triangles.dtype}")
    if height < 1 or width < 1:
        raise ValueError(f"the image must have pixels, got {height} x {width}")
    if triangles.numel() and (int(triangles.min()) < 0 or int(triangles.max()) >= points.shape[1]):
        raise ValueError(f"triangles name vertices outside 0..{points.shape[1] - 1}")
    with torch.no_grad():
        return _backend(choose_backend(points.device) if backend == "auto" else backend)(
            points, triangles.to(points.device), height, width, backface
        )


def _backend(name: str) -> Callable[[Tensor, Tensor, int, int, bool], Fragments]:
    if name not in BACKENDS:
        raise ValueError(f"backend must be 'auto' or one of {BACKENDS}, got {name!r}")
    return import_module(f"talkedit.render.{name}_backend").rasterize
