"""Grids of vertices and their normals: what every part of the virtual speaker is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

# What the pixels of a part are made of; the numbers are read by the shading kernel.
SKIN, EYE_RIGHT, EYE_LEFT, CAVITY, TEETH, TONGUE, BODY, CLOTH, SCALP = range(9)


@dataclass
class Part:
    """A piece of the speaker at rest.

    Attributes:
        vertices: (V, 3) decimetres in the head's frame at rest.
        triangles: (F, 3) int32, counter-clockwise seen from outside.
        colour: (V, 3) linear albedo.
        uv: (V, 2) surface coordinates; their meaning depends on the material.
        head: (V,) 1 moves with the skull, 0 stays with the torso.
        jaw: (V,) 1 moves with the lower jaw.
        material: one of the constants above.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    colour: np.ndarray
    uv: np.ndarray
    head: np.ndarray
    jaw: np.ndarray
    material: int


def make_part(
    vertices: np.ndarray,
    triangles: np.ndarray,
    colour: np.ndarray,
    material: int,
    uv: np.ndarray | None = None,
    head: np.ndarray | float = 1.0,
    jaw: np.ndarray | float = 0.0,
) -> Part:
    """A Part whose constants may be given as one number or colour for all vertices."""
    n = len(vertices)

    def spread(value: np.ndarray | float, *shape: int) -> np.ndarray:
        return np.ascontiguousarray(np.broadcast_to(np.asarray(value, np.float32), (n, *shape)))

    return Part(
        np.asarray(vertices, np.float32), np.asarray(triangles, np.int32), spread(colour, 3),
        spread(0.0 if uv is None else uv, 2), spread(head), spread(jaw), material,
    )  # fmt: skip


def grid_triangles(rows: int, columns: int, closed: bool) -> np.ndarray:
    """(F, 3) int32 over a (rows, columns) grid, row-major; ``closed`` joins the last column to the first."""
    r, c = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    right = (c + 1) % columns
    a, b, d, e = (r * columns + c), (r * columns + right), ((r + 1) * columns + c), ((r + 1) * columns + right)
    return np.stack([np.stack([a, d, b], -1), np.stack([b, d, e], -1)], 2).reshape(-1, 3).astype(np.int32)


@numba.njit(nogil=True, cache=True)
def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(V, 3) float32 unit normals, weighted by area, of (V, 3) float32 vertices."""
    out = np.zeros_like(vertices)
    for f in range(len(triangles)):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for i in (a, b, c):
            out[i, 0] += nx
            out[i, 1] += ny
            out[i, 2] += nz
    for i in range(len(out)):
        length = np.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2)
        if length > 0:
            out[i] /= length
    return out
