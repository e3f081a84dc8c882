"""Small measurements on landmarks: box, yaw, lid and lip opening, and how face-like the points are."""

from __future__ import annotations

import numpy as np

from talkedit.track.topology import LEFT_EYE, LIP_CORNERS_OUTER, RIGHT_EYE


def eye_distance(landmarks: np.ndarray) -> float:
    """Distance of the outer eye corners in 3-D, in the landmarks' unit; hardly changes with yaw."""
    return float(np.linalg.norm(landmarks[33, :3] - landmarks[263, :3])) + 1e-6


def bounding_box(landmarks: np.ndarray) -> np.ndarray:
    """(4,) float32 x0, y0, x1, y1 of the landmarks (…, ≥2)."""
    return np.concatenate([landmarks[:, :2].min(0), landmarks[:, :2].max(0)]).astype(np.float32)


def box_overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two (4,) boxes."""
    lo, hi = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inter = float(np.prod(np.maximum(hi - lo, 0)))
    area = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]))
    return inter / max(area - inter, 1e-6)


def yaw_degrees(landmarks: np.ndarray) -> float:
    """Head turn from the 3-D ear-to-ear axis, degrees, positive towards the viewer's right."""
    axis = landmarks[454, :3] - landmarks[234, :3]
    return float(np.degrees(np.arctan2(axis[2], axis[0])))


def mouth_opening(landmarks: np.ndarray) -> float:
    """Inner-lip gap at the mid-line over the outer-eye distance."""
    return float(np.linalg.norm(landmarks[13, :2] - landmarks[14, :2])) / eye_distance(landmarks)


def mouth_width(landmarks: np.ndarray) -> float:
    """Distance of the outer lip corners over the outer-eye distance; about 0.6 at rest."""
    right, left = landmarks[LIP_CORNERS_OUTER, :2]
    return float(np.linalg.norm(right - left)) / eye_distance(landmarks)


def eye_opening(landmarks: np.ndarray) -> tuple[float, float]:
    """(left, right) lid gap over the eye's width; about 0.3 open, below 0.12 shut."""

    def one(ring: np.ndarray) -> float:
        p = landmarks[ring, :2]
        gap = np.linalg.norm(p[3:6] - p[[13, 12, 11]], axis=1).mean()
        return float(gap / (np.linalg.norm(p[0] - p[8]) + 1e-6))

    return one(LEFT_EYE), one(RIGHT_EYE)
