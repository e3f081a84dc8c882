"""Reconstruction by fitting: landmarks to Basel-style coefficients (design 5.1).

In the model's frame the model is linear, so identity (one for the clip) and expression (one a frame) have a closed
form: minimise Σ_t ‖x_t − S̄ − B_id α − B_exp β_t‖² + σ²(‖α‖² + Σ_t ‖β_t‖²). What the model cannot follow is kept as
the tracking residual: the rendered mesh is the tracked mesh plus B_exp (β′ − β).
"""

from __future__ import annotations

import copy

import numpy as np

from talkedit.facemodel.model import FaceModel

# Landmark noise in model units: how far a coefficient is trusted against its prior.
NOISE = 0.006


class Fitter:
    """Identity and expression of one clip, from sums over its frames.

    Args:
        model: a face model with MediaPipe correspondence.
    """

    def __init__(self, model: FaceModel) -> None:
        self._mean = model.at_landmarks(model.mean).reshape(-1)
        self._id = model.at_landmarks(model.id_basis).reshape(self._mean.size, -1).astype(np.float64)
        self._exp = model.at_landmarks(model.exp_basis).reshape(self._mean.size, -1).astype(np.float64)
        gram = self._exp.T @ self._exp
        self._solve_exp = np.linalg.solve(gram + NOISE**2 * np.eye(len(gram)), self._exp.T)
        self._sum = np.zeros(self._mean.size)
        self._weight = 0.0
        self.identity = np.zeros(self._id.shape[1], np.float32)
        self._base = self._mean.astype(np.float64)

    def fresh(self) -> Fitter:
        """A fitter for another person or shot that shares this one's matrices."""
        other = copy.copy(self)
        other._sum, other._weight = np.zeros_like(self._sum), 0.0
        other.identity = np.zeros_like(self.identity)
        other._base = self._mean.astype(np.float64)
        return other

    def observe(self, points: np.ndarray, weight: float = 1.0) -> None:
        """Adds a frame: (468, 3) landmarks in the model's frame; neutral, frontal frames should weigh more."""
        self._sum += weight * points.reshape(-1)
        self._weight += weight

    def solve(self) -> np.ndarray:
        """(80,) identity of the clip. Equal bases in all frames make the mean frame sufficient."""
        if self._weight == 0:
            return self.identity
        rest = self._sum / self._weight - self._mean
        # Eliminating the mean expression leaves a ridge problem with the noise of the expression space in it.
        frames = max(self._weight, 1.0)
        joint = np.concatenate([self._id, self._exp], axis=1)
        prior = np.r_[np.full(self._id.shape[1], 1 / frames), np.ones(self._exp.shape[1])] * NOISE**2
        solution = np.linalg.solve(joint.T @ joint + np.diag(prior), joint.T @ rest)
        self.identity = solution[: self._id.shape[1]].astype(np.float32)
        self._base = self._mean + self._id @ self.identity
        return self.identity

    def expression(self, points: np.ndarray) -> np.ndarray:
        """(64,) expression coefficients of (468, 3) landmarks in the model's frame."""
        return (self._solve_exp @ (points.reshape(-1) - self._base)).astype(np.float32)

    def residual(self, points: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """(468, 3) what the model leaves over of the tracked landmarks."""
        return (points.reshape(-1) - self._base - self._exp @ expression).reshape(-1, 3).astype(np.float32)
