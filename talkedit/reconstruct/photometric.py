"""Photometric refinement: coefficients that reproduce a clip's pictures, started from the landmark fit.

Analysis by synthesis. The face is rendered into the picture; what differs, looked at from each vertex, is the error

    r_v = (J − I(x)) (π(v)),      J the picture, I the rendering, π the projection

and Gauss-Newton on it moves all 257 coefficients at once: identity and texture are one for the clip, expression, pose
and light one a frame. A vertex that moves sees another pixel, one that turns is lit differently; both slopes are
exact but for the bend of the normals, which is taken from the mean face. The model's variances and, weakly, the
tracked landmarks stay in. The weight of the pictures is learned from how well the model can explain them, so a real
face, with its pores and shadows, is held by its landmarks more than a rendered one.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from talkedit.facemodel.camera import CAMERA, rotation_matrix_numpy, screen_points_numpy
from talkedit.facemodel.lighting import AMBIENT
from talkedit.facemodel.model import FaceModel
from talkedit.reconstruct.coefficients import LAYOUT
from talkedit.reconstruct.light import basis_of, normals_of
from talkedit.render import attribute_map

# Blur of both pictures (pixels of the 224-pixel crop) from coarse to fine, and Gauss-Newton steps at each.
LEVELS = ((4.0, 4), (2.0, 4), (1.0, 6), (0.6, 8))
# Error of a tracked landmark that is taken for granted, pixels of the crop.
LANDMARK_PIXELS = 4.0
# Neighbouring vertices see the same pixels, so this many count as one; and what the model cannot explain is alike over
# whole regions (a beard, a shadow), so as many again where the unexplained part is this large.
REDUNDANCY, MISFIT = 2.0, 0.006
# The unexplained part of a colour is never taken to be less than half a grey level.
FINEST = 0.002
LIGHT_VARIANCE = 1.0
# A vertex is hidden where the picture shows something this much nearer, model units.
SLACK = 0.02
# Columns of the two unknowns that all frames share, and of those that each has of its own.
_SHARED = np.r_[LAYOUT["identity"], LAYOUT["texture"]]
_OWN = np.r_[LAYOUT["expression"], LAYOUT["angle"], LAYOUT["gamma"], LAYOUT["translation"]]
_VARIANCE = np.ones(257)
_VARIANCE[LAYOUT["gamma"]] = LIGHT_VARIANCE
_VARIANCE[np.r_[LAYOUT["angle"], LAYOUT["translation"]]] = 1e6


@dataclass(frozen=True)
class View:
    """One frame to refine.

    Attributes:
        picture: (224, 224, 3) uint8, the aligned crop.
        landmarks: (468, 2) tracked landmarks, pixels of the crop.
        coefficients: (257,) to start from, in the order of ``LAYOUT``.
    """

    picture: np.ndarray
    landmarks: np.ndarray
    coefficients: np.ndarray


class PhotometricRefiner:
    """See the module's name.

    Args:
        model: the face model.
        step: every so many vertices are looked at.
    """

    def __init__(self, model: FaceModel, step: int = 3) -> None:
        self._model = model
        face = (model.skirt > 0.99) & ~model.eyeball
        self._face = face.astype(np.float32)
        self._rows = np.flatnonzero(face)[::step]
        self._basis = np.concatenate([model.id_basis, model.exp_basis], axis=2)
        self._bend = self._normal_basis()

    def refine(self, views: list[View], known: bool = False) -> list[np.ndarray]:
        """(257,) float32 refined coefficients of each view.

        Args:
            views: of one person; identity and texture start from their mean.
            known: identity and texture are known already and stay.
        """
        state = np.array([view.coefficients for view in views], np.float64)
        state[:, _SHARED] = state[:, _SHARED].mean(0)
        for blur, steps in LEVELS:
            for _ in range(steps):
                state += self._step(state, views, blur, known)
        return list(state.astype(np.float32))

    def _step(self, state: np.ndarray, views: list[View], blur: float, known: bool) -> np.ndarray:
        """One Gauss-Newton step: each frame's own unknowns are eliminated from the shared ones."""
        hess, right, solved = np.diag(1 / _VARIANCE[_SHARED]), -(state[0] / _VARIANCE)[_SHARED], []
        for x, view in zip(state, views, strict=True):
            h, r = self._normal_equations(x, view, blur)
            own = h[np.ix_(_OWN, _OWN)] + np.diag(1 / _VARIANCE[_OWN])
            across = h[np.ix_(_SHARED, _OWN)]
            answer = np.linalg.solve(own, np.c_[across.T, (r - x / _VARIANCE)[_OWN]])
            hess = hess + h[np.ix_(_SHARED, _SHARED)] - across @ answer[:, :-1]
            right = right + r[_SHARED] - across @ answer[:, -1]
            solved.append(answer)
        change = np.zeros_like(state)
        if not known:
            change[:, _SHARED] = np.linalg.solve(hess, right)
        change[:, _OWN] = [answer[:, -1] - answer[:, :-1] @ change[0, _SHARED] for answer in solved]
        return change

    def _normal_equations(self, x: np.ndarray, view: View, blur: float) -> tuple[np.ndarray, np.ndarray]:
        """(257, 257) Gauss-Newton matrix and (257,) right side of one frame, without the model's variances."""
        part = {name: x[where] for name, where in LAYOUT.items()}
        vertices = self._model.vertices(part["identity"].astype(np.float32), part["expression"].astype(np.float32))
        screen = screen_points_numpy(vertices, part["angle"], part["translation"])
        rotation = rotation_matrix_numpy(part["angle"])
        normals = normals_of(vertices, self._model.triangles) @ rotation
        albedo = self._model.texture(part["texture"].astype(np.float32))
        light = part["gamma"].reshape(3, 9).T + np.float64([[AMBIENT]] + [[0]] * 8)
        rest, slope, seen = self._difference(screen, albedo * (basis_of(normals) @ light), view.picture, blur)
        rows = self._rows
        # Towards the outline a vertex sees the background as soon as it is a pixel off.
        weight = seen * np.clip(normals[rows, 2] * 2 - 0.3, 0, 1)
        jac = np.empty((len(rows), 3, len(x)), np.float32)
        columns = np.r_[LAYOUT["identity"], LAYOUT["expression"], LAYOUT["angle"], LAYOUT["translation"]]
        jac[..., columns] = slope @ _pixels(vertices[rows], screen[rows], part["angle"], self._basis[rows])
        turning = albedo[rows, :, None] * np.stack([by @ light for by in _lighting_slopes(normals[rows])], axis=2)
        bend = np.float32(turning @ rotation.T) @ self._bend
        jac[..., LAYOUT["identity"]] -= bend[..., : self._model.id_basis.shape[2]]
        jac[..., LAYOUT["expression"]] -= bend[..., self._model.id_basis.shape[2] :]
        faces = normals[rows] @ rotation.T
        jac[..., LAYOUT["angle"]] -= turning @ np.stack([faces @ turn for turn in _turns(part["angle"])], axis=2)
        functions = basis_of(normals[rows])
        jac[..., LAYOUT["texture"]] = -(functions @ light)[..., None] * self._model.tex_basis[rows]
        lit = np.zeros((len(rows), 3, 3, 9))
        lit[:, range(3), range(3)] = -albedo[rows][..., None] * functions[:, None]
        jac[..., LAYOUT["gamma"]] = lit.reshape(len(rows), 3, 27)
        spread = max(1.4826 * float(np.median(np.abs(rest[weight > 0]))), FINEST)
        alike = REDUNDANCY * (1 + (spread / MISFIT) ** 2)
        weight = weight[:, None] / (alike * spread**2 * (1 + (rest / (2 * spread)) ** 2))
        flat, weights = jac.reshape(-1, len(x)), weight.reshape(-1, 1).astype(np.float32)
        hess, right = (flat.T @ (flat * weights)).astype(np.float64), -flat.T @ (weights[:, 0] * rest.reshape(-1))
        marks = self._model.landmark_vertices
        jac = _pixels(vertices[marks], screen[marks], part["angle"], self._basis[marks]).reshape(-1, len(columns))
        away = (screen[marks, :2] - view.landmarks).reshape(-1)
        hess[np.ix_(columns, columns)] += jac.T @ jac / LANDMARK_PIXELS**2
        right[columns] -= jac.T @ away / LANDMARK_PIXELS**2
        return hess, right

    def _difference(
        self, screen: np.ndarray, colours: np.ndarray, picture: np.ndarray, blur: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N, 3) picture minus rendering at the vertices and (N, 3, 2) slope of the picture, both blurred alike; and
        (N,) bool, which of them the picture shows."""
        size = CAMERA.size
        attributes = np.c_[colours, screen[:, 2], self._face].astype(np.float32)
        drawn, hit = attribute_map(screen, self._model.triangles, attributes, size, size)
        real = picture.astype(np.float32) / 255
        face = ((hit >= 0) & (drawn[..., 4] > 0.999))[..., None]
        at = screen[self._rows]
        rest = _bilinear(cv2.GaussianBlur(np.where(face, real - drawn[..., :3], 0), (0, 0), blur), at)
        soft = cv2.GaussianBlur(real, (0, 0), blur)
        slope = [_bilinear(cv2.Scharr(soft, cv2.CV_32F, dx, 1 - dx, scale=1 / 32), at) for dx in (1, 0)]
        inside = ((at[:, :2] > 1) & (at[:, :2] < size - 2)).all(1)
        nearest = _bilinear(np.where(face, drawn[..., 3:4], 0).repeat(3, axis=2), at)[:, 0]
        return rest, np.stack(slope, axis=2), inside & (nearest > at[:, 2] - SLACK)

    def _normal_basis(self) -> np.ndarray:
        """(N, 3, 144) derivative of the mean face's normals by identity and expression."""
        mean, triangles, step = self._model.mean, self._model.triangles, np.float32(0.5)
        out = np.empty((len(self._rows), 3, self._basis.shape[2]), np.float32)
        for k in range(out.shape[2]):
            move = step * self._basis[..., k]
            away = normals_of(mean + move, triangles) - normals_of(mean - move, triangles)
            out[..., k] = away[self._rows] / (2 * step)
        return out


def _pixels(vertices: np.ndarray, screen: np.ndarray, angle: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """(N, 2, K + 6) derivative of the vertices' pixels by the K shape coefficients, the angles and the translation."""
    at = (screen[:, :2] - [CAMERA.center, CAMERA.size - 1 - CAMERA.center]) / CAMERA.focal
    zero, scale = np.zeros(len(screen)), CAMERA.focal / screen[:, 2]
    # Column and row by the point's place in space; what comes nearer (z grows) moves outwards.
    project = np.stack([scale, zero, scale * at[:, 0], zero, -scale, scale * at[:, 1]], axis=1).reshape(-1, 2, 3)
    turned = np.stack([vertices @ turn for turn in _turns(angle)], axis=2)
    shape = np.float32(project @ rotation_matrix_numpy(angle).T) @ basis
    return np.concatenate([shape, project @ turned, project], axis=2).astype(np.float32)


def _turns(angle: np.ndarray) -> list[np.ndarray]:
    """Derivatives of the (3, 3) rotation by its three angles."""
    steps = 1e-5 * np.eye(3)
    return [(rotation_matrix_numpy(angle + d) - rotation_matrix_numpy(angle - d)) / 2e-5 for d in steps]


def _lighting_slopes(normals: np.ndarray) -> list[np.ndarray]:
    """Derivatives of the (V, 9) lighting functions by x, y and z; they are quadratic, so differences are exact."""
    return [(basis_of(normals + d) - basis_of(normals - d)) / 2 for d in np.eye(3)]


def _bilinear(picture: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(N, 3) values of a (H, W, 3) float32 picture at (N, ≥2) pixels."""
    xy = at[:, None, :2].astype(np.float32)
    return cv2.remap(picture, xy[..., 0], xy[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
