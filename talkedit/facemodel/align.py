"""Closed-form similarity alignment of point sets (Umeyama 1991), batched."""

from __future__ import annotations

import numpy as np


def similarity(
    source: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least-squares ``target ≈ scale · source @ rotation + translation`` (row vectors).

    Args:
        source: (..., N, D) points; broadcast against ``target``.
        target: (..., N, D) points.
        weights: (N,) non-negative, default equal.

    Returns:
        scale (...,), rotation (..., D, D) proper, translation (..., D).
    """
    source, target = np.broadcast_arrays(np.asarray(source, np.float64), np.asarray(target, np.float64))
    w = np.full(source.shape[-2], 1.0) if weights is None else np.asarray(weights, np.float64)
    w = (w / w.sum())[:, None]
    ms, mt = (w * source).sum(-2, keepdims=True), (w * target).sum(-2, keepdims=True)
    a, b = source - ms, target - mt
    u, sing, vt = np.linalg.svd(np.swapaxes(a, -1, -2) @ (w * b))
    sign = np.ones(sing.shape)
    sign[..., -1] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[..., None, :]) @ vt
    scale = (sing * sign).sum(-1) / np.maximum((w * a**2).sum((-1, -2)), 1e-12)
    translation = mt[..., 0, :] - scale[..., None] * (ms @ rotation)[..., 0, :]
    return scale, rotation, translation
