"""Directions of the face model that open, round, spread and close the mouth, found by least squares on landmarks."""

from __future__ import annotations

import numpy as np

from talkedit.facemodel.model import FaceModel
from talkedit.track import topology as topo

_QUIET = np.concatenate([topo.STABLE, topo.RIGHT_BROW, topo.LEFT_BROW, topo.RIGHT_EYE, topo.LEFT_EYE])
_LIPS = np.unique(np.concatenate([topo.INNER_LIPS, topo.OUTER_LIPS]))
_CHIN = np.array([152, 148, 377, 175, 199, 171, 396, 200, 18])
# How far the lips part from corner to corner, and the fall of the jaw's own motion along them.
_ARCH = np.array([0.45, 0.72, 0.88, 0.97, 1.0, 0.97, 0.88, 0.72, 0.45])


class MouthPoses:
    """Expression coefficients of mouth poses for one person.

    Args:
        model: the face model, with the MediaPipe points as landmark vertices.
        identity: (80,) coefficients.

    Attributes:
        rest: (64,) lips just closed, which the model's mean is not.
        opening, rounding, spreading, pressing: (64,) full strength, added to ``rest``.
        brows: (64,) brows lightly raised.
    """

    def __init__(self, model: FaceModel, identity: np.ndarray) -> None:
        self._basis = model.exp_basis[model.landmark_vertices].astype(np.float64)
        points = model.vertices(identity)[model.landmark_vertices].astype(np.float64)
        up, low = topo.LIP_PAIRS.T
        gap = points[up, 1] - points[low, 1]

        closed = {int(v): (0.0, -0.5 * g, 0.0) for v, g in zip(up, gap + 0.004, strict=True)}
        closed |= {int(v): (0.0, 0.5 * g, 0.0) for v, g in zip(low, gap + 0.004, strict=True)}
        self.rest = self._solve(closed, 0.02)

        wide = {int(v): (0.0, 0.030 * a, 0.0) for v, a in zip(up, _ARCH, strict=True)}
        wide |= {int(v): (0.0, -0.225 * a, -0.02) for v, a in zip(low, _ARCH, strict=True)}
        wide |= {int(v): (0.0, -0.20, -0.03) for v in _CHIN}
        wide |= {int(v): (0.0, -0.05, 0.0) for v in (61, 291, 78, 308)}
        self.opening = self._solve(wide, 0.02)

        narrow = {}
        for v in _LIPS:
            x = points[v, 0]
            narrow[int(v)] = (-0.36 * x, 0.0, 0.055 * (1 - (x / 0.26) ** 2) + 0.02)
        self.rounding = self._solve(narrow, 0.02)

        broad = {int(v): (0.17 * points[v, 0], 0.012, -0.012) for v in _LIPS}
        self.spreading = self._solve(broad, 0.02)

        pressed = {int(v): (0.0, -0.012, -0.02) for v in up} | {int(v): (0.0, 0.012, -0.02) for v in low}
        self.pressing = self._solve(pressed, 0.02)

        raised = {int(v): (0.0, 0.05, 0.0) for v in np.concatenate([topo.RIGHT_BROW, topo.LEFT_BROW])}
        self.brows = self._solve(raised, 0.02, quiet=np.concatenate([topo.STABLE, _LIPS]))

    def _solve(
        self, targets: dict[int, tuple[float, float, float]], ridge: float, quiet: np.ndarray = _QUIET
    ) -> np.ndarray:
        """(64,) smallest coefficients that move the targets as wished (decimetres) and ``quiet`` points little."""
        still = np.setdiff1d(quiet, list(targets))
        rows = np.concatenate([np.fromiter(targets, int), still])
        wish = np.concatenate([np.array(list(targets.values())), np.zeros((len(still), 3))])
        weight = np.concatenate([np.ones(len(targets)), np.full(len(still), 0.6)]).repeat(3)[:, None]
        a = self._basis[rows].reshape(-1, self._basis.shape[-1]) * weight
        b = wish.reshape(-1, 1) * weight
        damping = (ridge**2) * np.eye(a.shape[1])
        return np.linalg.solve(a.T @ a + damping, a.T @ b)[:, 0].astype(np.float32)


def blink_displacement(points: np.ndarray) -> np.ndarray:
    """(468, 3) landmark displacements that shut both eyes: the upper lid falls on the lower one, its fold follows.

    Args:
        points: (468, 3) the open face, model units.
    """
    out = np.zeros_like(points)
    folds = ((247, 30, 29, 27, 28, 56, 190), (467, 260, 259, 257, 258, 286, 414))
    for ring, fold in zip((topo.RIGHT_EYE, topo.LEFT_EYE), folds, strict=True):
        upper, lower = ring[1:8], ring[:8:-1]  # both from the outer to the inner corner
        gap = points[upper] - points[lower]
        out[upper] -= 0.96 * gap
        out[lower] += 0.09 * gap  # together a little more than the gap: no line of white is left
        # The lid slides over the ball, which is round.
        out[upper, 2] += 0.35 * np.abs(gap[:, 1]) * np.array([0.2, 0.6, 0.9, 1, 0.9, 0.6, 0.2])
        out[list(fold)] -= 0.42 * gap
    return out
