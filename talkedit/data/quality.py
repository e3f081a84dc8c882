"""What makes a take or a portrait unfit to learn from: measured, compared with a limit, and said in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from talkedit.data.item import Settings
from talkedit.facemodel.lighting import shade
from talkedit.facemodel.model import FaceModel
from talkedit.reconstruct.coefficients import Coefficients
from talkedit.reconstruct.fit import Fitter
from talkedit.reconstruct.light import normals_of, sample_colours
from talkedit.texture.uv_map import LUMINANCE
from talkedit.track.measures import eye_distance
from talkedit.track.topology import LANDMARKS

Fault = tuple[str, str]  # (reason, detail) of LeftOut

# A second face is tolerated in this share of a take's frames: detectors see faces in walls now and then.
SEVERAL_FACES = 0.2


def take_fault(frames: int, widths: list[float], several: int, settings: Settings) -> Fault | None:
    """Why a take is unfit, None if it is fit.

    Args:
        frames: of the take.
        widths: of the face in pixels, of each frame in which one was found.
        several: frames that show more than one face.
        settings: ``min_frames``, ``min_face_share`` (frames with a face over all frames) and ``min_face_width``
            (median, pixels).
    """
    if frames < settings.min_frames:
        return "too short", f"{frames} frames"
    share = len(widths) / frames
    if share < settings.min_face_share:
        return "no face", f"in {100 * (1 - share):.0f} % of the frames"
    if several > SEVERAL_FACES * frames:
        return "several faces", f"in {100 * several / frames:.0f} % of the frames"
    return size_fault(float(np.median(widths)), settings)


def size_fault(width: float, settings: Settings) -> Fault | None:
    """Whether a face is narrower than ``settings.min_face_width`` pixels."""
    return ("too small", f"{width:.0f} pixels wide") if width < settings.min_face_width else None


@dataclass(frozen=True)
class Portrait:
    """Measures of one picture that the paper's three reasons are judged by (large pose, occlusion, abnormal light).

    Attributes:
        yaw, pitch: of the fitted head, degrees.
        confidence: of the tracker, 0..1.
        shape_residual: RMS distance of the landmarks from the fitted face model, over the outer-eye distance.
        skin_residual: share of the skin in view whose colour the lit face model misses by more than ``MISSED`` of the
            face's mean luminance: what lies in front of the face, and shadows with edges. Highlights on dark skin are
            neither, so the mean counts as at least ``DARKEST``.
        asymmetry: absolute log ratio of the median luminance of both halves of the face.
        clipped: share of the skin in view that is nearly black, or white in some channel.
    """

    yaw: float
    pitch: float
    confidence: float
    shape_residual: float
    skin_residual: float
    asymmetry: float
    clipped: float


MISSED, DARKEST = 0.4, 0.25
BLACK, WHITE = 10, 252
# Beyond these a portrait is dropped. They were set on 450 pictures of the open data that we looked at, not on FFHQ.
LIMITS = {
    "large pose": {"yaw": 30.0, "pitch": 25.0},
    "harsh light": {"asymmetry": 0.5, "clipped": 0.1},
    "occlusion": {"shape_residual": 0.008, "skin_residual": 0.08},
}
LEAST_CONFIDENCE = 0.6


def portrait_fault(measures: Portrait) -> Fault | None:
    """Why a portrait is unfit by ``LIMITS``, None if it is fit.

    The first reason counts; what harsh light does to the skin must not pass for something in front of it.
    """
    for reason, limits in LIMITS.items():
        for name, limit in limits.items():
            value = getattr(measures, name)
            if not abs(value) <= limit:
                return reason, f"{name.replace('_', ' ')} {value:.3g} (limit {limit:g})"
    if measures.confidence < LEAST_CONFIDENCE:
        return "occlusion", f"confidence {measures.confidence:.3g} (limit {LEAST_CONFIDENCE:g})"
    return None


def measure_portrait(
    rgb: np.ndarray,
    landmarks: np.ndarray,
    confidence: float,
    points: np.ndarray,
    coefficients: Coefficients,
    fitter: Fitter,
    model: FaceModel,
    texture: np.ndarray,
    visible: np.ndarray,
) -> Portrait:
    """Measures one picture.

    Args:
        rgb: (H, W, 3) uint8.
        landmarks: (478, 3) pixels. confidence: of the track.
        points: (468, 3) the landmarks in the model's frame.
        coefficients, fitter: of the picture; the fitter is solved.
        model: the face model.
        texture: (T, T, 3) uint8. visible: (T, T) bool.
    """
    pitch, yaw, _ = np.degrees(coefficients.angle)
    left_over = fitter.residual(points, coefficients.expression)
    scale = eye_distance(model.at_landmarks(model.mean))
    luminance = texture.astype(np.float32) @ LUMINANCE
    half = texture.shape[1] // 2
    halves = [np.median(a[v]) if v.any() else 0.0 for a, v in
              ((luminance[:, :half], visible[:, :half]), (luminance[:, half:], visible[:, half:]))]  # fmt: skip
    skin = texture[visible]
    clipped = (luminance[visible] <= BLACK) | (skin.max(1) >= WHITE)
    return Portrait(
        yaw=float(yaw),
        pitch=float(pitch),
        confidence=confidence,
        shape_residual=float(np.sqrt((left_over**2).sum(1).mean())) / scale,
        skin_residual=_skin_residual(rgb, landmarks, coefficients, model),
        asymmetry=float(abs(np.log((halves[0] + 2) / (halves[1] + 2)))),
        clipped=float(clipped.mean()) if clipped.size else 1.0,
    )


def _skin_residual(rgb: np.ndarray, landmarks: np.ndarray, coefficients: Coefficients, model: FaceModel) -> float:
    mesh = np.asarray(model.position @ landmarks[:LANDMARKS])
    # Softer than the pores and hairs that the texture basis cannot hold.
    seen = sample_colours(rgb, mesh, eye_distance(landmarks) / 40)
    normals = normals_of(mesh * np.float32([1, -1, -1]), model.triangles)
    weight = (model.skirt > 0.99) * ~model.eyeball * np.clip(normals[:, 2] * 2, 0, 1)
    albedo = np.clip(model.texture(coefficients.texture), 0.02, 1.2)
    made = shade(*(torch.from_numpy(a).float() for a in (albedo, normals, coefficients.gamma))).numpy()
    level = float((weight * (made @ LUMINANCE)).sum() / weight.sum())
    missed = np.abs(seen - made).max(1) > MISSED * max(level, DARKEST)
    return float((weight * missed).sum() / weight.sum())
