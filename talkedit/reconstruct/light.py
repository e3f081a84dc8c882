"""Light and albedo of one picture: spherical-harmonic light by least squares, texture coefficients under that light."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from talkedit.facemodel.lighting import AMBIENT, sh_basis, vertex_normals

_ROWS = 32_000  # OpenCV remaps fewer than 32,767 rows at a time


def normals_of(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(V, 3) unit normals of (V, 3) vertices, y up, z towards the viewer."""
    return vertex_normals(torch.from_numpy(points[None]).float(), torch.from_numpy(triangles).long())[0].numpy()


def basis_of(normals: np.ndarray) -> np.ndarray:
    """(V, 9) float64 lighting functions of (V, 3) normals."""
    return sh_basis(torch.from_numpy(normals).double()).numpy()


def sample_colours(frame: np.ndarray, mesh: np.ndarray, blur: float) -> np.ndarray:
    """(V, 3) float32 colours 0..1 of a (H, W, 3) uint8 frame at (V, ≥2) mesh points, after a Gaussian blur (pixels)."""
    soft = cv2.GaussianBlur(frame, (0, 0), max(blur, 0.5)).astype(np.float32) / 255
    xy = mesh[:, :2].astype(np.float32)
    rows = range(0, len(xy), _ROWS)
    out = [cv2.remap(soft, *cv2.split(xy[i : i + _ROWS, None]), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
           for i in rows]  # fmt: skip
    return np.concatenate(out).reshape(-1, 3)


def fit_light(colours: np.ndarray, albedo: np.ndarray, normals: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(9, 3) spherical-harmonic light: least squares of colours ≈ albedo · (Y @ light), lightly regularised.

    Args:
        colours: (V, 3) in 0..1.
        albedo: (V, 3) in 0..1.
        normals: (V, 3) unit.
        weights: (V,) non-negative.
    """
    y = basis_of(normals)
    out = np.zeros((9, 3))
    damp = np.diag([1e-6] + [2e-3] * 3 + [1e-2] * 5) * weights.sum()
    for c in range(3):
        a = y * (albedo[:, c] * weights)[:, None]
        b = y * albedo[:, c, None]
        out[:, c] = np.linalg.solve(a.T @ b + damp, a.T @ colours[:, c])
    return out


def to_gamma(light: np.ndarray) -> np.ndarray:
    """(27,) gamma of Deep3DFaceRecon from (9, 3) light: channel by channel, the ambient constant taken off."""
    gamma = light.T.copy()
    gamma[:, 0] -= AMBIENT
    return gamma.reshape(-1).astype(np.float32)
