"""Where closed lips meet: the tracker puts that line a little below the dark one that a picture shows.

Opened there, the upper edge of the lower lip would come along with the upper one, as a bright rim around the mouth.
"""

from __future__ import annotations

import cv2
import numpy as np

from talkedit.track.measures import eye_distance, mouth_opening
from talkedit.track.topology import INNER_LIPS, LIP_PAIRS

# Gaps over the eye distance, up to which lips count as closed, and over which their line is left to the tracker again.
CLOSED, OPENS = 0.012, (0.012, 0.03)
# How far the line lies below the dark one on people of a studio (58, mean and spread 0.003), over the eye distance; how
# many frames of a shot that weighs as much as; how far it may lie.
USUAL, FRAMES, FARTHEST = 0.009, 2.0, 0.025
# It is looked for so far to both sides, less and less likely (so much brighter may it be at the ends), after a blur.
_REACH, _DOUBT, _BLUR = 0.05, 0.15, 0.006
_PLACES = LIP_PAIRS[2:7]  # in the middle of the lips
# The corners are where the tracker says.
_SHARE = np.sin(np.linspace(0, np.pi, 11)) ** 0.5
_SHARES = np.r_[_SHARE, _SHARE[9:0:-1]].astype(np.float32)


def above_line(rgb: np.ndarray, landmarks: np.ndarray) -> float | None:
    """How far the dark line between closed lips lies above the tracked one, over the eye distance.

    Args:
        rgb: (H, W, 3) uint8.
        landmarks: (≥468, 3) pixels.

    Returns:
        the mean over five places; None for open lips and for mouths at the border of the picture.
    """
    if mouth_opening(landmarks) > CLOSED:
        return None
    eye = eye_distance(landmarks)
    middle = landmarks[_PLACES, :2].mean(1)
    pad = 1.2 * _REACH * eye + 4
    x0, y0 = np.floor(middle.min(0) - pad).astype(int)
    x1, y1 = np.ceil(middle.max(0) + pad).astype(int) + 1
    if x0 < 0 or y0 < 0 or x1 > rgb.shape[1] or y1 > rgb.shape[0]:
        return None
    grey = cv2.cvtColor(np.ascontiguousarray(rgb[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = cv2.GaussianBlur(grey, (0, 0), max(_BLUR * eye, 0.3))
    along = np.linspace(-1, 1, 81, dtype=np.float32)
    places = middle[:, None] + (along[:, None] * _REACH * eye) * _upwards(landmarks) - np.float32([x0, y0])
    level = cv2.remap(grey, places.astype(np.float32), None, cv2.INTER_LINEAR)
    level = level / np.maximum(level.mean(1, keepdims=True), 1) + _DOUBT * along**2
    return float(along[level.argmin(1)].mean()) * _REACH


def settled(found: list[float]) -> float:
    """What a shot's ``above_line`` says together with what is usual."""
    mean = (USUAL * FRAMES + float(np.sum(found))) / (FRAMES + len(found))
    return float(np.clip(mean, 0, FARTHEST))


def seated(landmarks: np.ndarray, above: float) -> np.ndarray:
    """(N, 3) landmarks whose inner lips meet ``above`` eye distances higher, as far as they are closed."""
    share = above * float(np.interp(mouth_opening(landmarks), OPENS, (1, 0)))
    if share <= 0:
        return landmarks
    out = landmarks.copy()
    out[INNER_LIPS, :2] += (share * eye_distance(landmarks)) * _SHARES[:, None] * _upwards(landmarks)
    return out


def _upwards(landmarks: np.ndarray) -> np.ndarray:
    """(2,) float32 from the chin to the forehead in the picture, length 1."""
    way = landmarks[10, :2] - landmarks[152, :2]
    return (way / max(float(np.linalg.norm(way)), 1e-6)).astype(np.float32)
