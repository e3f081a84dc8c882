"""The outline of a turned head stays where it is.

Where a face turns away from the viewer the mesh is a guess, and what it would bring into sight is background, or the
front of the face once more. So on the far side of a turned head, the less a place faces the viewer, the less of its
displacement is left across the outline; along the outline it moves freely, as a dropping jaw does. Which way a place
faces is read off a rounded head instead of the mesh, whose lips and nostrils face everywhere. And as the tracker takes
a far turn for a smaller one, what lies close to the outline in the picture holds as well, wherever it faces: a mouth's
far corner must not carry the cheek and the background behind it into the face.
"""

from __future__ import annotations

import numpy as np

from talkedit.facemodel.model import FaceModel
from talkedit.geometry.openings import smoothstep
from talkedit.reconstruct.pose import Pose

# Head turns over which the outline comes to hold, degrees.
TURNED = (8.0, 36.0)
# Cosine between normal and view up to which nothing, and from which on everything is left across the outline.
FACING = (0.15, 0.6)
# The same along it: what is behind the outline stays altogether.
BEHIND = (-0.1, 0.35)
# How much of a normal, seen from the front, points to the far side: none and all of the outline holds.
SIDEWAYS = (0.2, 0.7)
# Distance from the outline, over the eye distance, up to which nothing, and from which on everything is left across it;
# and the head turns over which that comes to hold.
CLOSE, CLOSE_TURNED = (0.03, 0.22), (16.0, 36.0)
# The outline at a height is that of the landmarks near it: one further up or down by a distance d, in eye distances,
# counts as NEAR d² further inside. It is found at so many heights.
NEAR, HEIGHTS = 2.0, 48
# The rounded head's middle lies so far behind the eyes, and it is so much taller than broad, over the eye distance.
DEPTH, TALL = 0.45, 1.5


class Silhouette:
    """Callable: takes out of a displacement what would move a turned head's far outline.

    Args:
        model: the face model.
    """

    def __init__(self, model: FaceModel) -> None:
        right, left = model.at_landmarks(model.mean)[[33, 263]]
        eye = float(np.linalg.norm(right - left))
        middle = (right + left) / 2 - np.float32([0, 0, DEPTH * eye])
        out = (model.mean - middle) / np.float32([1, TALL**2, 1])  # gradient of an ellipsoid
        self._eye, self._landmarks = eye, model.landmark_vertices
        self._normals = out / np.linalg.norm(out, axis=1, keepdims=True)

    def __call__(self, pose: Pose, mesh: np.ndarray, change: np.ndarray, yaw: float) -> np.ndarray:
        """(V, 3) float32 displacement with the far outline held.

        Args:
            pose: of the head.
            mesh: (V, ≥2) where it is, pixels of the frame.
            change: (V, 3) displacement of the mesh, pixels of the frame, z away from the viewer.
            yaw: of the head, degrees, positive towards the viewer's right.
        """
        strength = float(smoothstep(abs(yaw), *TURNED))
        if strength == 0:
            return change
        turned = np.ascontiguousarray(pose.direction_to_picture(self._normals).T) / np.float32(pose.scale)
        side = self._side(pose, np.sign(yaw))
        close = smoothstep(abs(yaw), *CLOSE_TURNED) * (1 - smoothstep(self._inwards(pose, mesh, side), *CLOSE))
        sideways = np.sign(yaw) * turned[0]
        rows = np.flatnonzero(((-turned[2] < FACING[1]) & (sideways > 0)) | (close > 0))
        normals, out = turned[:, rows].T, change.astype(np.float32)
        across = normals[:, :2] / (np.linalg.norm(normals[:, :2], axis=1, keepdims=True) + np.float32(1e-6))
        far = smoothstep(across[:, 0] * np.sign(yaw), *SIDEWAYS)
        held, behind = (strength * far * (1 - smoothstep(-normals[:, 2], *limits)) for limits in (FACING, BEHIND))
        part = out[rows]
        part[:, :2] -= (held * (part[:, :2] * across).sum(1))[:, None] * across
        part *= (1 - behind)[:, None]
        part[:, :2] -= (close[rows] * (part[:, :2] @ side))[:, None] * side
        out[rows] = part
        return out

    @staticmethod
    def _side(pose: Pose, sign: float) -> np.ndarray:
        """(2,) float32 unit direction in the picture across the face, towards its far side."""
        axis = pose.direction_to_picture(np.float32([[0, 1, 0]]))[0, :2]
        across = np.float32([-axis[1], axis[0]]) / np.linalg.norm(axis)
        return across * np.float32(np.sign(across[0]) * sign)

    def _inwards(self, pose: Pose, mesh: np.ndarray, side: np.ndarray) -> np.ndarray:
        """(V,) float32 how far the outline on a side is at each vertex's height, in eye distances; negative beyond."""
        at = mesh[:, :2] @ np.stack([side, [-side[1], side[0]]], 1) / np.float32(pose.scale * self._eye)
        out, height = at[self._landmarks].T
        heights = np.linspace(height.min(), height.max(), HEIGHTS, dtype=np.float32)
        outline = (out - NEAR * (heights[:, None] - height) ** 2).max(1)
        return np.interp(at[:, 1], heights, outline).astype(np.float32) - at[:, 0]
