"""A frame as the 257 numbers of Deep3DFaceRecon: what fitting and, later, the network both answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from talkedit.facemodel.camera import (
    CAMERA,
    CropTransform,
    align_crop,
    angles_from_matrix,
    five_points,
    screen_points_numpy,
)
from talkedit.facemodel.model import FaceModel
from talkedit.reconstruct.fit import Fitter
from talkedit.reconstruct.light import basis_of, fit_light, normals_of, sample_colours, to_gamma
from talkedit.reconstruct.pose import Pose, find_pose
from talkedit.track.measures import eye_distance
from talkedit.track.topology import IBUG68, LANDMARKS

LAYOUT = {
    "identity": slice(0, 80),
    "expression": slice(80, 144),
    "texture": slice(144, 224),
    "angle": slice(224, 227),
    "gamma": slice(227, 254),
    "translation": slice(254, 257),
}
# Albedo noise against the texture basis' unit variance: lighting and detail that the basis cannot hold.
TEXTURE_NOISE = 3.0


@dataclass(frozen=True)
class Coefficients:
    """Coefficients of one frame, unit variance, in the crop of ``align_crop``.

    Attributes:
        identity: (80,). expression: (64,). texture: (80,). angle: (3,) radians. gamma: (27,). translation: (3,).
        crop: between the frame and the 224-pixel crop.
    """

    identity: np.ndarray
    expression: np.ndarray
    texture: np.ndarray
    angle: np.ndarray
    gamma: np.ndarray
    translation: np.ndarray
    crop: CropTransform

    def vector(self) -> np.ndarray:
        """(257,) float32 in the order of ``LAYOUT``."""
        return np.concatenate([getattr(self, name) for name in LAYOUT]).astype(np.float32)


def undo_perspective(landmarks: np.ndarray, mean: np.ndarray, crop: CropTransform) -> np.ndarray:
    """(468, 3) landmarks as a camera infinitely far away would see them, so that the model's linear fit holds.

    The near nose is drawn a few per cent too large by the camera of Deep3DFaceRecon, ten units away.

    Args:
        landmarks: (≥468, 3) frame pixels.
        mean: (468, 3) mean landmarks of the model.
        crop: of the frame.
    """
    points = landmarks[:LANDMARKS].astype(np.float64)
    for _ in range(2):
        pose = find_pose(points, mean)
        middle = CAMERA.focal / (pose.scale * crop.scale)
        nearer = -landmarks[:LANDMARKS, 2] / pose.scale  # model units, relative to the tracker's own zero
        nearer = nearer - nearer.mean()
        centre = crop.crop_to_frame(np.array([CAMERA.center, CAMERA.size - 1 - CAMERA.center], np.float64))
        points[:, :2] = centre + (landmarks[:LANDMARKS, :2] - centre) * ((middle - nearer) / middle)[:, None]
    return points.astype(np.float32)


def fit_camera(vertices: np.ndarray, landmarks: np.ndarray, crop: CropTransform, start: np.ndarray) -> np.ndarray:
    """(6,) angle and translation that project model points onto landmarks: Gauss-Newton on the perspective camera.

    Args:
        vertices: (N, 3) model points.
        landmarks: (N, 2) frame pixels.
        crop: of the frame.
        start: (6,) first guess.
    """
    target = crop.frame_to_crop(landmarks)
    x = np.asarray(start, np.float64)

    def residual(p: np.ndarray) -> np.ndarray:
        return (screen_points_numpy(vertices, p[:3], p[3:])[:, :2].astype(np.float64) - target).reshape(-1)

    step = 1e-3  # float32 projection: a smaller step would measure rounding
    for _ in range(6):
        r = residual(x)
        jacobian = np.stack([(residual(x + step * e) - residual(x - step * e)) / (2 * step) for e in np.eye(6)], axis=1)
        change = np.linalg.lstsq(jacobian, -r, rcond=None)[0]
        x = x + change
        if np.abs(change).max() < 1e-5:
            break
    return x


def model_points(landmarks: np.ndarray, mean: np.ndarray, crop: CropTransform) -> tuple[Pose, np.ndarray]:
    """Pose and (468, 3) landmarks in the model's frame, free of perspective: what ``Fitter`` wants to observe."""
    flat = undo_perspective(landmarks, mean, crop)
    pose = find_pose(flat, mean)
    return pose, pose.to_model(flat)


def reconstruct_frame(frame: np.ndarray, landmarks: np.ndarray, model: FaceModel, fitter: Fitter) -> Coefficients:
    """All 257 coefficients of one frame, with the identity the fitter has solved for the clip.

    Args:
        frame: (H, W, 3) uint8.
        landmarks: (478, 3) tracked landmarks, pixels.
        model: the face model.
        fitter: solved.
    """
    mean = model.at_landmarks(model.mean)
    crop = align_crop(five_points(landmarks[IBUG68]), frame.shape[:2])
    pose, points = model_points(landmarks, mean, crop)
    expression = fitter.expression(points)
    vertices = model.at_landmarks(model.vertices(fitter.identity, expression))
    angle = angles_from_matrix(torch.from_numpy(pose.rotation.copy())[None])[0].numpy()
    depth = CAMERA.focal / (pose.scale * crop.scale)
    centre = crop.frame_to_crop(landmarks[:LANDMARKS, :2].mean(0)) - screen_points_numpy(
        vertices, angle, np.array([0, 0, CAMERA.distance - depth])
    )[:, :2].mean(0)
    shift = centre * depth / CAMERA.focal * [1, -1]
    start = np.r_[angle, shift, CAMERA.distance - depth]
    camera = fit_camera(vertices, landmarks[:LANDMARKS, :2], crop, start)
    texture, gamma = _texture_and_light(frame, landmarks, model)
    return Coefficients(
        fitter.identity, expression, texture, camera[:3].astype(np.float32), gamma, camera[3:].astype(np.float32), crop
    )


def _texture_and_light(frame: np.ndarray, landmarks: np.ndarray, model: FaceModel) -> tuple[np.ndarray, np.ndarray]:
    """(80,) texture and (27,) gamma by turns: light under the albedo so far, then albedo under that light."""
    mesh = np.asarray(model.position @ landmarks[:LANDMARKS])
    colours = sample_colours(frame, mesh, eye_distance(landmarks) / 120)
    normals = normals_of(mesh * np.float32([1, -1, -1]), model.triangles)
    seen = (model.skirt > 0.99) * ~model.eyeball * np.clip(normals[:, 2] * 2, 0, 1)
    basis = model.tex_basis.reshape(-1, model.tex_basis.shape[2])
    weight = np.repeat(seen, 3).astype(np.float32)
    gram = basis.T @ (basis * weight[:, None]) + TEXTURE_NOISE**2 * np.eye(basis.shape[1])
    texture = np.zeros(model.tex_basis.shape[2], np.float32)
    light = np.zeros((9, 3))
    for _ in range(3):
        albedo = np.clip(model.texture(texture), 0.02, 1.2)
        light = fit_light(colours, albedo, normals, seen)
        level = np.maximum(basis_of(normals) @ light, 0.08)
        rest = (colours / level - model.tex_mean).reshape(-1).astype(np.float32)
        texture = np.linalg.solve(gram, basis.T @ (weight * rest)).astype(np.float32)
    return texture, to_gamma(light)
