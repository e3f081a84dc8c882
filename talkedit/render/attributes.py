"""Vertex attributes as pictures, for one mesh in NumPy: Numba where it is installed, torch anywhere (CUDA too)."""

from __future__ import annotations

import numpy as np
import torch

from talkedit.render.interpolation import interpolate
from talkedit.render.rasterizer import choose_backend, rasterize


def attribute_map(
    points: np.ndarray,
    triangles: np.ndarray,
    attributes: np.ndarray,
    height: int,
    width: int,
    origin: tuple[int, int] = (0, 0),
    device: str = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """Rasterises a mesh and interpolates its vertex attributes.

    Args:
        points: (V, 3) float32 screen points: x right, y down in pixels, depth (smaller is nearer).
        triangles: (F, 3) int32.
        attributes: (V, C) float32.
        height, width: of the map.
        origin: screen (x, y) of the map's pixel (0, 0).
        device: "cpu" or "cuda".

    Returns:
        The map (H, W, C) float32, 0 where nothing was hit, and the hit triangle (H, W) int32, -1 where none.
    """
    if device == "cpu" and choose_backend("cpu") == "numba":
        from talkedit.render.numba_backend import attribute_map as fast

        return fast(points, triangles, attributes, height, width, origin=origin)
    moved = points - np.float32([origin[0], origin[1], 0])
    screen = torch.from_numpy(np.ascontiguousarray(moved, np.float32))[None].to(device)
    faces = torch.from_numpy(np.ascontiguousarray(triangles, np.int64)).to(device)
    values = torch.from_numpy(np.ascontiguousarray(attributes, np.float32)).to(device)
    fragments = rasterize(screen, faces, height, width, backend="torch")
    picture = interpolate(fragments, screen, faces, values, backend="torch")[0]
    return picture.cpu().numpy(), fragments.triangle[0].to(torch.int32).cpu().numpy()
