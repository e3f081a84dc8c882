"""Mouth crops aligned by the mouth's own landmarks, so that teeth always lie in the same place and have one size.

Turn and place are a least-squares fit of the mouth's 20 points to the mean face's. Their scale is not: it would shrink
the teeth of an open mouth, whose points lie further apart. The eye distance does not depend on what the mouth does.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from talkedit.facemodel.align import similarity
from talkedit.facemodel.load import load_template
from talkedit.track.measures import eye_distance
from talkedit.track.topology import IBUG68

MOUTH68 = IBUG68[48:]
# Distance of the outer lip corners of the mean face, over the side of the crop.
_WIDTH = 0.5


@lru_cache(maxsize=1)
def _reference() -> tuple[np.ndarray, float]:
    """The mean face's mouth points, (20, 2), centred, y down, and its eye distance, both for a crop of side 1."""
    model = load_template()
    landmarks = model.at_landmarks(model.mean)
    points = landmarks[MOUTH68, :2] * [1, -1]
    scale = _WIDTH / np.linalg.norm(points[6] - points[0])
    return (points - points.mean(0)) * scale, eye_distance(landmarks) * scale


def mouth_transform(landmarks: np.ndarray, size: int) -> np.ndarray:
    """(2, 3) float32 affine map, a similarity, from frame pixels to pixels of the crop.

    Args:
        landmarks: (478, 3) pixels.
        size: side of the crop in pixels.
    """
    points, eyes = _reference()
    mouth = landmarks[MOUTH68, :2]
    _, rotation, _ = similarity(mouth, points)
    matrix = size * eyes / eye_distance(landmarks) * rotation.T
    shift = (size - 1) / 2 - matrix @ mouth.mean(0)
    return np.concatenate([matrix, shift[:, None]], axis=1).astype(np.float32)


def crop_mouth(rgb: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3) uint8 crop of a (H, W, 3) frame; its border pixels continue where the crop leaves the frame."""
    scale = float(np.linalg.norm(transform[0, :2]))
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]]) - transform[:, 2]
    corners = corners @ transform[:, :2] / scale**2
    limit = np.array([rgb.shape[1], rgb.shape[0]])
    low = np.clip(np.floor(corners.min(0) - 4 / scale).astype(int), 0, limit - 1)
    high = np.clip(np.ceil(corners.max(0) + 4 / scale).astype(int), low + 1, limit)
    part = rgb[low[1] : high[1], low[0] : high[0]]
    if scale < 0.75:
        # Bilinear taps skip pixels when shrinking: remove first what the crop cannot hold.
        part = cv2.GaussianBlur(part, (0, 0), 0.45 * np.sqrt(scale**-2 - 1.0))
    moved = transform.copy()
    moved[:, 2] += transform[:, :2] @ low
    return cv2.warpAffine(part, moved, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
