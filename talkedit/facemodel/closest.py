"""Closest points on triangle meshes."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

_CANDIDATES = 16  # samples of triangles looked at, the nearest first
_CHUNK = 20_000  # points at a time: bounds the memory


def closest_points(
    points: np.ndarray,
    vertices: np.ndarray,
    triangles: np.ndarray,
    normals: np.ndarray | None = None,
    facing: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The closest point of a mesh to each of some points.

    The triangles of the nearest samples of the surface are candidates; large triangles have more samples.

    Args:
        points: (N, 3).
        vertices: (V, 3).
        triangles: (F, 3) int.
        normals: (N, 3) unit normals of the points; with ``facing``, triangles that look away are not taken unless all
            candidates do.
        facing: (F, 3) unit normals of the triangles.

    Returns:
        (N,) triangle, (N, 3) barycentric weights in 0..1, (N,) distance.
    """
    corners = vertices[triangles].astype(np.float64)
    samples, owner = _samples(corners)
    tree = cKDTree(samples)
    count = min(_CANDIDATES, len(samples))
    out = []
    for start in range(0, len(points), _CHUNK):
        p = np.asarray(points[start : start + _CHUNK], np.float64)
        near = owner[tree.query(p, k=count)[1].reshape(len(p), count)]
        weights = _on_triangles(p[:, None], corners[near])
        distance = np.linalg.norm((weights[..., None] * corners[near]).sum(2) - p[:, None], axis=2)
        rank = distance
        if normals is not None and facing is not None:
            away = (facing[near] * normals[start : start + _CHUNK, None]).sum(2) < 0
            rank = distance + away * (distance.max() + 1)
        best = rank.argmin(1)
        row = np.arange(len(p))
        out.append((near[row, best], weights[row, best], distance[row, best]))
    triangle, weights, distance = (np.concatenate(part) for part in zip(*out, strict=True))
    return triangle, weights, distance


def interpolation(triangle: np.ndarray, weights: np.ndarray, triangles: np.ndarray, count: int) -> sparse.csr_matrix:
    """(N, ``count``) operator that interpolates values of vertices at points given as triangle and weights."""
    rows = np.repeat(np.arange(len(triangle)), 3)
    entries = (weights.ravel(), (rows, triangles[triangle].ravel()))
    return sparse.csr_matrix(entries, shape=(len(triangle), count)).astype(np.float32)


def _samples(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S, 3) points spread over (F, 3, 3) triangles about a median edge apart, and (S,) their triangles."""
    edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1)
    pieces = np.clip(np.ceil(edges / max(float(np.median(edges)), 1e-12)), 1, 16).astype(int)
    points, owner = [], []
    for n in np.unique(pieces):
        i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
        weights = np.stack([i, j], -1)[i + j < n] / n + 1 / (3 * n)
        weights = np.column_stack([weights, 1 - weights.sum(1)])
        which = np.flatnonzero(pieces == n)
        points.append((weights @ corners[which]).reshape(-1, 3))
        owner.append(np.repeat(which, len(weights)))
    return np.concatenate(points), np.concatenate(owner)


def _on_triangles(p: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(N, K, 3) weights of the point of each (N, K, 3, 3) triangle that is closest to (N, 1, 3) points."""
    a, b, c = corners[:, :, 0], corners[:, :, 1], corners[:, :, 2]
    ab, ac, ap = b - a, c - a, p - a

    def dot(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x * y).sum(-1)

    ab2, ac2, abac, abp, acp = dot(ab, ab), dot(ac, ac), dot(ab, ac), dot(ab, ap), dot(ac, ap)
    area = np.maximum(ab2 * ac2 - abac**2, 1e-30)
    v, w = (ac2 * abp - abac * acp) / area, (ab2 * acp - abac * abp) / area
    plane = np.stack([1 - v - w, v, w], -1)
    # Outside the triangle it is the closest point of the three edges.
    options, reach = [], []
    for i, j, start, edge in ((0, 1, a, ab), (1, 2, b, c - b), (2, 0, c, a - c)):
        t = np.clip(dot(p - start, edge) / np.maximum(dot(edge, edge), 1e-30), 0, 1)
        weights = np.zeros_like(plane)
        weights[..., i], weights[..., j] = 1 - t, t
        options.append(weights)
        reach.append(((start + t[..., None] * edge - p) ** 2).sum(-1))
    on_edge = np.take_along_axis(np.stack(options), np.stack(reach).argmin(0)[None, ..., None], 0)[0]
    return np.where((plane >= 0).all(-1, keepdims=True), plane, on_edge)
