"""Borders of triangle meshes, and closing them."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def boundary_loop(triangles: np.ndarray, start: int) -> np.ndarray:
    """Vertices of the boundary through ``start``, in order, with the mesh on the left of each step."""
    return _walk(_following(triangles), start)


def boundary_loops(triangles: np.ndarray) -> list[np.ndarray]:
    """All boundaries of an (F, 3) mesh, the longest first, each as :func:`boundary_loop`."""
    following, loops = _following(triangles), []
    while following:
        loop = _walk(following, min(following))
        for vertex in loop.tolist():
            del following[vertex]
        loops.append(loop)
    return sorted(loops, key=len, reverse=True)


def _following(triangles: np.ndarray) -> dict[int, int]:
    """The next vertex along the boundary for each vertex on it: edges that no triangle has the other way round."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).astype(np.int64)
    size = int(edges.max(initial=0)) + 1
    alone = ~np.isin(edges @ [size, 1], edges @ [1, size])
    return dict(edges[alone].tolist())


def _walk(following: dict[int, int], start: int) -> np.ndarray:
    loop = [start]
    while (step := following[loop[-1]]) != start:
        loop.append(step)
    return np.array(loop)


def close_hole(loop: np.ndarray, count: int, ring: float) -> tuple[np.ndarray, sparse.csr_matrix]:
    """Closes a hole with one inner ring and a centre.

    Args:
        loop: (L,) from :func:`boundary_loop`.
        count: vertices of the mesh, V.
        ring: how far out from the centre the inner ring lies, 0..1.

    Returns:
        (3 L, 3) triangles that continue the mesh, over the V old and the L + 1 new vertices, and the (L + 1, V)
        operator that gives the new vertices (ring, then centre) from the old.
    """
    size = len(loop)
    weights = np.full((size + 1, size), 1 / size)
    weights[:size] = (1 - ring) / size + ring * np.eye(size)
    rows = np.repeat(np.arange(size + 1), size)
    operator = sparse.csr_matrix((weights.ravel(), (rows, np.tile(loop, size + 1))), shape=(size + 1, count))
    a, b = loop, np.roll(loop, -1)
    c = count + np.arange(size)
    d, centre = np.roll(c, -1), np.full(size, count + size)
    triangles = np.concatenate([np.stack(t, 1) for t in ((b, a, c), (b, c, d), (d, c, centre))])
    return triangles.astype(np.int32), operator
