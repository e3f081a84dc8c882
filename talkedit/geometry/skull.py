"""The skull stays: temples and the bridge of the nose take no part in any expression."""

from __future__ import annotations

import numpy as np

# Temples, the forehead's edge, the bridge of the nose.
RIGID = np.array([127, 356, 162, 389, 21, 251, 168, 6, 197, 195])
# How far around these points the skin is held, over the outer-eye distance.
REACH = 0.05


class SkullHold:
    """Takes the movement out of the landmarks on bone.

    What a fit of whole faces leaves there is the tracker's depth and pose, not the expression.

    Args:
        mean: (468, 3) mean landmarks in model units.
        distances: (468, 468) between them along the skin, see `talkedit.geometry.openings.Openings`.
    """

    def __init__(self, mean: np.ndarray, distances: np.ndarray) -> None:
        eye = float(np.linalg.norm(mean[33] - mean[263]))
        nearest = distances[RIGID].min(0) / eye
        self._free = (1 - np.exp(-0.5 * (nearest / REACH) ** 2)).astype(np.float32)[:, None]

    def __call__(self, delta: np.ndarray) -> np.ndarray:
        """(468, 3) landmark displacements without the movement of the skull."""
        return delta * self._free
