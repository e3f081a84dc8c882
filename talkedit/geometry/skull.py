"""Bone and cartilage stay: temples, nose and jaw take no part in an expression of their own.

What a fit of whole faces leaves there is the tracker's depth and pose: its mesh gets longer with raised brows and
shorter with lowered ones, nose, cheeks and mouth included. The tip of the nose tells by how much, and all below the
bridge is taken back by that; what then is left on bone is held. The jaw's own movement comes with the opening of the
lips, see `talkedit.geometry.openings`.
"""

from __future__ import annotations

import numpy as np

from talkedit.track.topology import FACE_OVAL

# Temples, the forehead's edge, the bridge of the nose.
RIGID = np.array([127, 356, 162, 389, 21, 251, 168, 6, 197, 195])
# The drift of the whole mesh is none at the first points, and from the second ones down what they show.
_BRIDGE, _DRIFT = np.array([168, 6]), np.array([1, 4, 5])
# Ridge and tip of the nose; its wings, which some emotions lift; the jaw's outline from ear to ear.
_TIP = np.array([1, 2, 3, 4, 5, 45, 51, 248, 275, 281])
_WINGS = np.array([48, 64, 97, 98, 115, 220, 278, 294, 326, 327, 344, 440])
_JAW = FACE_OVAL[8:29]
_HAIRLINE = np.array([10, 109, 338, 67, 297, 103, 332])  # the scalp gives way to the forehead, but not that far
# (points, share of their movement that is left, reach): how far around them the skin is held, over the outer-eye
# distance.
_HOLDS = ((RIGID, 0.0, 0.05), (_TIP, 0.2, 0.05), (_WINGS, 0.6, 0.05), (_HAIRLINE, 0.4, 0.05), (_JAW, 0.4, 0.09))


class SkullHold:
    """Takes the movement out of the landmarks on bone and cartilage.

    Args:
        mean: (468, 3) mean landmarks in model units.
        distances: (468, 468) between them along the skin, see `talkedit.geometry.openings.Openings`.
    """

    def __init__(self, mean: np.ndarray, distances: np.ndarray) -> None:
        eye = float(np.linalg.norm(mean[33] - mean[263]))
        free = np.ones(len(mean))
        for points, left, reach in _HOLDS:
            near = np.exp(-0.5 * (distances[points].min(0) / (reach * eye)) ** 2)
            free *= 1 - (1 - left) * near
        self._free = free.astype(np.float32)[:, None]
        top, tip = mean[_BRIDGE, 1].mean(), mean[_DRIFT, 1].mean()
        self._below = np.clip((top - mean[:, 1]) / (top - tip), 0, 1).astype(np.float32)

    def __call__(self, delta: np.ndarray) -> np.ndarray:
        """(..., 468, 3) landmark displacements without the movement of bone and cartilage."""
        out = delta.copy()
        out[..., 1] -= delta[..., _DRIFT, 1].mean(-1, keepdims=True) * self._below
        return out * self._free
