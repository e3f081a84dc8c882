"""A fold-free UV layout: a cylinder unrolled around the head, relaxed only where triangles would turn over."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def signed_areas(uv: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(F,) twice the signed area of each triangle in the (V, 2) plane."""
    a, b, c = (uv[triangles[:, i]] for i in range(3))
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])


def unwrap(vertices: np.ndarray, triangles: np.ndarray, margin: float = 0.02, rounds: int = 400) -> np.ndarray:
    """UV for a face mesh.

    Args:
        vertices: (V, 3), y up, z towards the viewer, face centred near x = 0.
        triangles: (F, 3), counter-clockwise seen from the front.
        margin: free border, as a share of the square.
        rounds: relaxation steps at most.

    Returns:
        (V, 2) float32 in 0..1, u to the picture's right, v down; every triangle keeps its orientation.
    """
    x, y, z = vertices.astype(np.float64).T
    axis = np.percentile(z, 5) - 0.6 * np.ptp(x)  # far back: cheeks keep their size, ears get little
    radius = np.median(np.hypot(x, z - axis))
    uv = np.stack([np.arctan2(x, z - axis) * radius, -y], 1)
    count = len(uv)
    i = np.concatenate([triangles[:, [0, 1, 2]].ravel(), triangles[:, [1, 2, 0]].ravel()])
    j = np.concatenate([triangles[:, [1, 2, 0]].ravel(), triangles[:, [0, 1, 2]].ravel()])
    adjacency = sparse.csr_matrix((np.ones(len(i)), (i, j)), shape=(count, count))
    adjacency.data[:] = 1
    mean = sparse.diags(1 / np.maximum(np.asarray(adjacency.sum(1)).ravel(), 1)) @ adjacency
    typical = np.median(np.abs(signed_areas(uv, triangles)))
    sign = -1.0  # counter-clockwise with y up is clockwise with v down
    for _ in range(rounds):
        bad = signed_areas(uv, triangles) * sign < 0.05 * typical
        if not bad.any():
            break
        near = np.zeros(count)
        near[triangles[bad].ravel()] = 1
        near = np.minimum(near + 0.5 * (adjacency @ near > 0), 1)[:, None]
        uv = uv + 0.5 * near * (mean @ uv - uv)
    lo, hi = uv.min(0), uv.max(0)
    scale = (1 - 2 * margin) / (hi - lo)  # each axis fills the square: no texel is wasted
    return ((uv - (lo + hi) / 2) * scale + 0.5).astype(np.float32)
