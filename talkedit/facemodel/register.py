"""Non-rigid registration: one face mesh laid over another.

Similarity and thin-plate spline from common keypoints, then closest points under a stiffness that is let go step by
step (Amberg, Romdhani & Vetter 2007, with a Laplacian of the displacement as stiffness).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch.nn import functional

from talkedit.facemodel.align import similarity
from talkedit.facemodel.boundary import boundary_loops
from talkedit.facemodel.closest import closest_points
from talkedit.facemodel.lighting import face_normals, vertex_normals

# Stiffness of each round, and what a keypoint weighs against an ordinary vertex.
STIFFNESS = (60.0, 20.0, 7.0, 2.0, 0.7, 0.2, 0.07)
KEYPOINT_WEIGHT = 10.0
# A closest point further off than this (decimetres), or that faces another way by more than this cosine, says nothing.
REACH = 0.12
FACING = 0.6


def thin_plate(source: np.ndarray, target: np.ndarray, points: np.ndarray, smoothing: float = 0.0) -> np.ndarray:
    """Thin-plate spline in space (kernel r): takes (K, D) ``source`` to ``target`` and (N, D) ``points`` along.

    Args:
        source: (K, D) distinct points, D = 2 or 3, not on one plane (line).
        target: (K, D).
        points: (N, D) points to move.
        smoothing: 0 interpolates; in the units of the kernel.

    Returns:
        (N, D) float64.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    k, d = source.shape

    def kernel(p: np.ndarray) -> np.ndarray:
        r = np.linalg.norm(p[:, None] - source[None], axis=2)
        return r if d == 3 else r**2 * np.log(np.maximum(r, 1e-12))

    affine = np.column_stack([np.ones(k), source])
    system = np.block([[kernel(source) + smoothing * np.eye(k), affine], [affine.T, np.zeros((d + 1, d + 1))]])
    solution = np.linalg.solve(system, np.concatenate([target, np.zeros((d + 1, d))]))
    p = np.asarray(points, np.float64)
    return kernel(p) @ solution[:k] + np.column_stack([np.ones(len(p)), p]) @ solution[k:]


def register(
    vertices: np.ndarray,
    triangles: np.ndarray,
    keypoints: np.ndarray,
    target: np.ndarray,
    target_triangles: np.ndarray,
    target_keypoints: np.ndarray,
) -> np.ndarray:
    """Lays a mesh over a target surface.

    Args:
        vertices, triangles: (V, 3), (F, 3) mesh that is bent, decimetres.
        keypoints: (K,) its vertices at the points both have.
        target, target_triangles: (W, 3), (G, 3) surface it is laid on.
        target_keypoints: (K, 3) where the points lie on the target.

    Returns:
        (V, 3) float64.
    """
    scale, rotation, translation = similarity(vertices[keypoints], target_keypoints)
    start = scale * vertices @ rotation + translation
    start = thin_plate(start[keypoints], target_keypoints, start)
    count = len(vertices)
    laplacian = graph_laplacian(triangles, count)
    stiff = (laplacian.T @ laplacian).tocsc()
    pin = np.zeros(count)
    pin[keypoints] = KEYPOINT_WEIGHT
    pinned = np.zeros((count, 3))
    pinned[keypoints] = target_keypoints
    facing = normals_of(target, target_triangles)[1]
    border = np.zeros(len(target), bool)
    border[np.concatenate([*boundary_loops(target_triangles), []]).astype(int)] = True
    x = start
    for stiffness in STIFFNESS:
        normals = normals_of(x, triangles)[0]
        triangle, weights, distance = closest_points(x, target, target_triangles, normals, facing)
        there = target_triangles[triangle]
        # Beyond the target's border the closest point is always on it: no sign of where the surface would go on.
        off = ((weights > 1e-6) & ~border[there]).any(1)
        trust = off & (distance < REACH) & ((facing[triangle] * normals).sum(1) > FACING)
        goal = (weights[..., None] * target[there]).sum(1)
        data = trust.astype(np.float64)
        system = splu((stiffness * stiff + sparse.diags(data + pin)).tocsc())
        pull = data[:, None] * (goal - start) + pin[:, None] * (pinned - start)
        x = start + system.solve(pull)
    return x


def graph_laplacian(triangles: np.ndarray, count: int) -> sparse.csr_matrix:
    """(``count``, ``count``) uniform Laplacian I - D⁻¹A of a mesh."""
    i, j = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).T
    adjacency = sparse.coo_matrix((np.ones(2 * len(i)), (np.r_[i, j], np.r_[j, i])), shape=(count, count)).tocsr()
    adjacency.data[:] = 1
    degree = np.maximum(np.asarray(adjacency.sum(1)).ravel(), 1)
    return (sparse.identity(count) - sparse.diags(1 / degree) @ adjacency).tocsr()


def normals_of(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(V, 3) unit normals of vertices and (F, 3) of triangles, 0 where there is no area."""
    x, t = torch.from_numpy(np.asarray(vertices, np.float64)), torch.from_numpy(triangles.astype(np.int64))
    faces = functional.normalize(face_normals(x, t), dim=-1)
    return vertex_normals(x, t, "uniform").numpy(), faces.numpy()
