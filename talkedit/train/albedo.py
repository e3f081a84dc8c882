"""Per-vertex albedo of tracked colour faces, and the texture basis made from them."""

from __future__ import annotations

import numpy as np

from talkedit.data.collection import Collection
from talkedit.reconstruct.light import basis_of, fit_light, normals_of, sample_colours
from talkedit.track.measures import yaw_degrees

# A fixed light-brown reference that every picture's light is measured against; its level only fixes where "albedo"
# ends and "light" begins.
REFERENCE_SKIN = np.array([0.62, 0.47, 0.40])
COLOUR_SOURCES = ("london", "mead", "expressive", "portraits")


def collect_albedos(
    collection: Collection, landmarks: dict[str, np.ndarray], position, triangles: np.ndarray, face: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Unwraps one to three frames of every colour sample and divides the light out.

    Args:
        collection: where the pictures are.
        landmarks: key → (T, 478, 3).
        position: (V, 468) sparse.
        triangles: (F, 3).
        face: (V,) bool, vertices of the face itself (no skirt, no eyeballs).

    Returns:
        (N, V, 3) float32 albedo and the N people's names.
    """
    albedos, people = [], []
    for s in collection.samples:
        if not s.colour or (s.source not in COLOUR_SOURCES and s.source != "faces_open"):
            continue
        rows = landmarks[s.key]
        wanted = {0} if not s.clip else {len(rows) // 4, len(rows) // 2, 3 * len(rows) // 4}
        for n, picture in enumerate(collection.frames(s)):
            if n not in wanted or not np.isfinite(rows[n, 0, 0]) or abs(yaw_degrees(rows[n])) > 25:
                continue
            points = np.asarray(position @ rows[n, :468])
            size = np.linalg.norm(points[33] - points[263])
            colours = sample_colours(picture, points, size / 120)
            if np.ptp(colours.mean(0)) < 0.02:  # a grey picture in a colour file
                continue
            normals = normals_of(points * np.float32([1, -1, -1]), triangles)
            seen = face * np.clip(normals[:, 2] * 2, 0, 1)
            reference = np.broadcast_to(REFERENCE_SKIN, colours.shape)
            light = fit_light(colours, reference, normals, seen)
            level = np.maximum(basis_of(normals) @ light, 0.08)
            albedos.append(np.clip(colours / level, 0, 1.2).astype(np.float32))
            people.append(s.person)
    return np.stack(albedos), people


def texture_basis(
    albedos: np.ndarray, train: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Mean and basis of everybody's albedo, and the error of a basis that never saw the people left out.

    Returns:
        tex_mean (V, 3), tex_basis (V, 3, count), figures (PSNR in dB of the left-out albedos: mean face alone, and
        with the basis).
    """

    def learn(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = np.median(rows, axis=0)
        flat = (rows - mean).reshape(len(rows), -1)
        _, sing, vt = np.linalg.svd(flat, full_matrices=False)
        basis = np.zeros((count, flat.shape[1]), np.float32)
        n = min(count, len(sing))
        basis[:n] = (sing[:n, None] / np.sqrt(len(rows))) * vt[:n]
        return mean.astype(np.float32), basis

    def psnr(x: np.ndarray) -> float:
        return round(float(-10 * np.log10(np.mean(x**2))), 2)

    mean, basis = learn(albedos[train])
    rest = (albedos[~train] - mean).reshape((~train).sum(), -1)
    coef = np.linalg.solve(basis @ basis.T + 1e-2 * np.eye(count), basis @ rest.T).T
    figures = {
        "pictures": len(albedos),
        "psnr_mean_db": psnr(rest),
        "psnr_basis_db": psnr(rest - coef @ basis),
    }
    mean, basis = learn(albedos)
    return mean, basis.reshape(count, *mean.shape).transpose(1, 2, 0), figures
