"""Second-order spherical-harmonics lighting and vertex normals, as Deep3DFaceRecon defines them.

Light that changes slowly with direction, reflected by a matt surface, is a sum of nine functions of the normal
(Ramamoorthi and Hanrahan 2001); three colour channels make 27 numbers, gamma.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

AMBIENT = 0.8
"""Added to the constant term of every colour channel, so that gamma = 0 is even, colourless light (D1, init_lit)."""

# Cosine-lobe weights times harmonic norms of order 0, 1 and 2.
_ORDER0 = math.pi / math.sqrt(4 * math.pi)
_ORDER1 = 2 * math.pi / math.sqrt(3) * math.sqrt(3) / math.sqrt(4 * math.pi)
_ORDER2 = 2 * math.pi / math.sqrt(8) * 3 * math.sqrt(5) / math.sqrt(12 * math.pi)


def sh_basis(normals: Tensor) -> Tensor:
    """The nine lighting functions in the order and with the signs of D1.

    Args:
        normals: (..., 3) unit normals, x right, y up, z towards the camera.

    Returns:
        (..., 9).

    Raises:
        ValueError: if the last dimension is not 3.
    """
    if normals.shape[-1] != 3:
        raise ValueError(f"normals must end in 3, got {tuple(normals.shape)}")
    x, y, z = normals.unbind(-1)
    return torch.stack(
        [
            torch.full_like(x, _ORDER0),
            -_ORDER1 * y,
            _ORDER1 * z,
            -_ORDER1 * x,
            _ORDER2 * x * y,
            -_ORDER2 * y * z,
            _ORDER2 / (2 * math.sqrt(3)) * (3 * z * z - 1),
            -_ORDER2 * x * z,
            _ORDER2 / 2 * (x * x - y * y),
        ],
        dim=-1,
    )


def irradiance(normals: Tensor, gamma: Tensor, ambient: float = AMBIENT) -> Tensor:
    """Light that reaches a surface, per colour channel.

    Args:
        normals: (*B, *P, 3) unit normals; *B are the leading dimensions of gamma, *P any number of points.
        gamma: (*B, 27): nine numbers of red, then of green, then of blue.
        ambient: added to each channel's first number.

    Returns:
        (*B, *P, 3), 1 = the albedo is seen as it is.

    Raises:
        ValueError: if gamma does not hold 27 numbers or its leading dimensions do not fit the normals.
    """
    batch = gamma.shape[:-1]
    if gamma.shape[-1] != 27:
        raise ValueError(f"gamma must hold 27 numbers, got {tuple(gamma.shape)}")
    if normals.shape[: len(batch)] != batch:
        raise ValueError(f"normals {tuple(normals.shape)} do not fit gamma {tuple(gamma.shape)}")
    coefficients = gamma.reshape(*batch, 3, 9).transpose(-1, -2)
    offset = gamma.new_zeros(9, 1)
    offset[0] = ambient
    basis = sh_basis(normals)
    flat = basis.reshape(*batch, math.prod(basis.shape[len(batch) : -1]), 9)
    return (flat @ (coefficients + offset)).reshape(*basis.shape[:-1], 3)


def shade(albedo: Tensor, normals: Tensor, gamma: Tensor) -> Tensor:
    """Lit colour: albedo times :func:`irradiance`.

    Args:
        albedo: (*B, *P, 3) RGB in 0..1, or anything that broadcasts to it.
        normals: (*B, *P, 3) unit normals after rotation.
        gamma: (*B, 27).

    Returns:
        (*B, *P, 3) RGB, not clipped.

    Raises:
        ValueError: as :func:`irradiance`.
    """
    return albedo * irradiance(normals, gamma)


class Shading(nn.Module):
    """Module twin of :func:`shade`."""

    def forward(self, albedo: Tensor, normals: Tensor, gamma: Tensor) -> Tensor:
        return shade(albedo, normals, gamma)


def face_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Normals ``(v1 - v2) x (v2 - v3)``, twice the triangle's area long, outward for counter-clockwise triangles.

    Args:
        vertices: (..., V, 3).
        triangles: (F, 3) integers.

    Returns:
        (..., F, 3).
    """
    corners = vertices.index_select(-2, triangles.reshape(-1).long())
    corners = corners.reshape(*vertices.shape[:-2], len(triangles), 3, 3)
    first, second, third = corners.unbind(-2)
    return torch.linalg.cross(first - second, second - third, dim=-1)


def vertex_normals(vertices: Tensor, triangles: Tensor, weighting: Literal["area", "uniform"] = "area") -> Tensor:
    """Unit normals of the vertices: the sum of the normals of the triangles around each.

    Args:
        vertices: (..., V, 3).
        triangles: (F, 3) integers, counter-clockwise seen from outside.
        weighting: "area" sums :func:`face_normals` as they are; "uniform" makes each a unit vector first, which is
            what the published Deep3DFaceRecon code does, and differs where triangles around a vertex differ in size.

    Returns:
        (..., V, 3); zero where a vertex belongs to no triangle with an area.

    Raises:
        ValueError: if the weighting is unknown.
    """
    if weighting not in ("area", "uniform"):
        raise ValueError(f"weighting must be 'area' or 'uniform', got {weighting!r}")
    normals = face_normals(vertices, triangles)
    if weighting == "uniform":
        normals = functional.normalize(normals, dim=-1)
    index = triangles.reshape(-1).long()
    spread = normals.repeat_interleave(3, dim=-2)
    return functional.normalize(torch.zeros_like(vertices).index_add(-2, index, spread), dim=-1)
