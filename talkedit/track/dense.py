"""Dense landmarks from the 68 iBUG points: the open face model fitted to them under weak perspective.

The unknowns are pose q (rotation, scale, shift) and coefficients c (identity, expression). Gauss-Newton minimises
Σ_i w_i² ‖p_i − s (x_i(c) R)_xy − t‖² + ‖c‖², the ridge being the model's own unit variances: what 68 points in a plane
leave open is filled in with what is most likely for a face.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from talkedit.facemodel.model import FaceModel
from talkedit.reconstruct.pose import Pose
from talkedit.track.topology import LEFT_EYE, RIGHT_EYE

# Noise of a point in model units: about a quarter of a heat map cell of a 68-point network.
NOISE = 0.01
# The 17 points of the outline lie somewhere along it, each annotator's elsewhere.
OUTLINE, OUTLINE_NOISE = slice(0, 17), 0.04
# Points that stay further (RMS, share of the outer-eye distance) from every likely face are no face.
WORST_FIT = 0.08
STEPS, CONVERGED = 12, 1e-4
_POSE = 6  # three numbers of rotation, log scale, shift in x and y


class DenseFitter:
    """Callable: ``(68, 2) -> (478, 3)``, one face of one frame.

    Args:
        model: a face model on the MediaPipe topology, with iBUG keypoints.
    """

    def __init__(self, model: FaceModel) -> None:
        rows, keys = model.landmark_vertices, model.keypoints
        basis = np.concatenate([model.id_basis, model.exp_basis], axis=2)
        self._mean, self._basis = model.mean[rows].astype(np.float64), basis[rows].astype(np.float64)
        self._key_mean, self._key_basis = model.mean[keys].astype(np.float64), basis[keys].astype(np.float64)
        noise = np.full((len(keys), 2), NOISE)
        noise[OUTLINE] = OUTLINE_NOISE
        self._weight = 1 / noise.reshape(-1)

    def __call__(self, points: np.ndarray) -> np.ndarray | None:
        """Landmarks of a face.

        Args:
            points: (68, ≥2) pixels, x right, y down, iBUG order.

        Returns:
            (478, 3) float32 as ``talkedit.types.Track`` has them, with both irises' points at the eyes' centres (the 68
            points do not say where the eyes look); None where the points are not those of a face.
        """
        upward = np.asarray(points, np.float64)[:, :2] * [1, -1]
        if not np.isfinite(upward).all() or np.ptp(upward, axis=0).min() < 1:
            return None
        pose, coefficients = self._first_pose(upward), np.zeros(self._basis.shape[2])
        for _ in range(STEPS):
            rest, jacobian = self._linearise(upward, pose, coefficients)
            step = self._solve(rest, jacobian, coefficients)
            pose, coefficients = _moved(pose, step[:_POSE]), coefficients + step[_POSE:]
            if not np.isfinite(step).all() or pose.scale < 1e-3:
                return None
            if np.abs(step).max() < CONVERGED:
                break
        shape = self._mean + self._basis @ coefficients
        rest = self._linearise(upward, pose, coefficients)[0].reshape(-1, 2)[OUTLINE.stop :]
        if np.sqrt((rest**2).sum(1).mean()) > WORST_FIT * np.linalg.norm(shape[33] - shape[263]):
            return None
        landmarks = pose.to_picture(shape)
        irises = [landmarks[ring].mean(0) for ring in (RIGHT_EYE, LEFT_EYE)]
        return np.concatenate([landmarks, np.repeat(irises, 5, axis=0)]).astype(np.float32)

    def _first_pose(self, upward: np.ndarray) -> Pose:
        """Closed form for the mean face: the affine map to the picture, then the scaled rotation nearest to it."""
        inner = slice(OUTLINE.stop, None)
        model, picture = self._key_mean[inner], upward[inner]
        centre, middle = model.mean(0), picture.mean(0)
        affine = np.linalg.lstsq(model - centre, picture - middle, rcond=None)[0]
        u, stretch, vt = np.linalg.svd(affine, full_matrices=False)
        plane, scale = u @ vt, float(stretch.mean())
        rotation = np.column_stack([plane, np.cross(plane[:, 0], plane[:, 1])])
        return Pose(rotation, scale, np.r_[middle - scale * centre @ plane, 0])

    def _linearise(self, upward: np.ndarray, pose: Pose, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(136,) what the keypoints miss, in model units, and the (136, 6 + C) derivative of where they lie."""
        turned = (self._key_mean + self._key_basis @ coefficients) @ pose.rotation
        rest = (upward - pose.translation[:2]) / pose.scale - turned[:, :2]
        jacobian = np.zeros((len(turned), 2, _POSE + len(coefficients)))
        x, y, z = turned.T
        jacobian[:, 0, 1], jacobian[:, 0, 2] = z, -y
        jacobian[:, 1, 0], jacobian[:, 1, 2] = -z, x
        jacobian[:, :, 3] = turned[:, :2]
        jacobian[:, 0, 4] = jacobian[:, 1, 5] = 1
        jacobian[:, :, _POSE:] = np.einsum("kdc,de->kec", self._key_basis, pose.rotation[:, :2])
        return rest.reshape(-1), jacobian.reshape(rest.size, -1)

    def _solve(self, rest: np.ndarray, jacobian: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """(6 + C,) step of Gauss-Newton; the prior pulls the coefficients, not the pose, to zero."""
        weighted = jacobian * self._weight[:, None]
        prior = np.r_[np.full(_POSE, 1e-9), np.ones(len(coefficients))]
        gradient = weighted.T @ (self._weight * rest) - np.r_[np.zeros(_POSE), coefficients]
        return np.linalg.solve(weighted.T @ weighted + np.diag(prior), gradient)


def _moved(pose: Pose, step: np.ndarray) -> Pose:
    """The pose after a step: (3,) rotation vector, change of log scale, (2,) shift in model units."""
    turn = Rotation.from_rotvec(step[:3]).as_matrix()
    # Bounded, so that the exponential stays finite whatever the points are.
    scale = pose.scale * float(np.exp(np.clip(step[3], -1, 1)))
    return Pose(pose.rotation @ turn.T, scale, pose.translation + pose.scale * np.r_[step[4:6], 0])
