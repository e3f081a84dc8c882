"""PyTorch3D's rasterizer behind the same interface; only for those who have it installed.

PyTorch3D looks at a mesh in normalized device coordinates: x to the **left**, y up, the shorter side of the image
from -1 to 1, the longer side in proportion, pixel centres half a pixel inside the border. Only its choice of
triangles is used; weights and depths are computed as the other backends do. It leaves out pixels that lie exactly on
an edge, so a line through pixel centres may differ.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor

from talkedit.render.fragments import Fragments
from talkedit.render.torch_backend import _area, _corners, fragments_of


def is_available() -> bool:
    """True if the package pytorch3d is installed."""
    return importlib.util.find_spec("pytorch3d") is not None


def to_ndc(points: Tensor, height: int, width: int) -> Tensor:
    """Screen points to PyTorch3D's normalized device coordinates.

    The centre of column c lies at ``(W - 1 - 2 c) / min(H, W)``, that of row r at ``(H - 1 - 2 r) / min(H, W)``. The
    depth is shifted to begin at 1, because PyTorch3D drops what has a negative one.

    Args:
        points: (V, 3) finite.
        height: image rows.
        width: image columns.

    Returns:
        (V, 3).
    """
    short = min(height, width)
    x, y, depth = points.unbind(-1)
    nearest = depth.min() if len(depth) else 0.0
    return torch.stack([(width - 1 - 2 * x) / short, (height - 1 - 2 * y) / short, depth - nearest + 1], dim=-1)


@torch.no_grad()
def rasterize(points: Tensor, triangles: Tensor, height: int, width: int, backface: bool = True) -> Fragments:
    """See :func:`talkedit.render.rasterize`.

    Raises:
        ImportError: if pytorch3d is not installed.
    """
    try:
        from pytorch3d.renderer.mesh import rasterize_meshes
        from pytorch3d.structures import Meshes
    except ImportError as error:
        raise ImportError(
            "The backend 'pytorch3d' needs the package pytorch3d, which is not installed; "
            "use backend='auto', 'numba' or 'torch', or install it as its own INSTALL.md describes."
        ) from error

    corners = _corners(points, triangles)
    area = _area(corners)
    keep = corners.isfinite().all(-1).all(-1) & (area.ne(0) if backface else area.lt(0))
    keep = keep.reshape(len(points), len(triangles))
    finite = torch.nan_to_num(points.detach().float(), nan=0.0, posinf=0.0, neginf=0.0)
    result = torch.full((len(points), height, width), -1, dtype=torch.int64, device=points.device)
    for index in range(len(points)):
        kept = keep[index].nonzero().squeeze(1)
        if len(kept) == 0:
            continue
        mesh = Meshes(verts=[to_ndc(finite[index], height, width)], faces=[triangles[kept].long()])
        found, *_ = rasterize_meshes(
            mesh,
            image_size=(height, width),
            blur_radius=0.0,
            faces_per_pixel=1,
            perspective_correct=False,
            cull_backfaces=False,
        )
        found = found[0, ..., 0]
        result[index] = torch.where(found >= 0, kept[found.clamp_min(0)], -1)
    return fragments_of(result, points, triangles)
