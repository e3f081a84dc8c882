"""Pose of a frame: the similarity between the model's frame and the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from talkedit.facemodel.align import similarity
from talkedit.track.topology import LANDMARKS, STABLE

# Picture coordinates have y down and z away from the viewer, the model y up and z towards the viewer.
_FLIP = np.float32([1, -1, -1])


@dataclass(frozen=True)
class Pose:
    """``picture = (model @ rotation) * scale + translation``, then y and z flipped.

    Attributes:
        rotation: (3, 3) for row vectors.
        scale: pixels per model unit.
        translation: (3,) pixels, y up.
    """

    rotation: np.ndarray
    scale: float
    translation: np.ndarray

    def to_model(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) picture points in the model's frame."""
        return (((points * _FLIP) - self.translation) / self.scale @ self.rotation.T).astype(np.float32)

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) model points in the picture."""
        return ((points @ self.rotation * self.scale + self.translation) * _FLIP).astype(np.float32)

    def direction_to_picture(self, vectors: np.ndarray) -> np.ndarray:
        """(N, 3) model displacements as displacements in the picture, pixels."""
        return (vectors @ self.rotation * self.scale * _FLIP).astype(np.float32)


def find_pose(landmarks: np.ndarray, mean: np.ndarray) -> Pose:
    """Pose from (≥468, 3) landmarks in pixels and the model's (468, 3) mean, on points that hardly move."""
    x = landmarks[:LANDMARKS] * _FLIP
    scale, rotation, translation = similarity(mean[STABLE], x[STABLE])
    return Pose(rotation, float(scale), translation)
