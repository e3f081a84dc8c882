"""Does the speaker wear glasses? Their rims are thin dark lines where no face has one: over the bridge and under the
eyes, in the unwrapped texture always at the same place."""

from __future__ import annotations

import cv2
import numpy as np

# Where rims run, in shares of the UV template: rows, columns.
_BRIDGE = ((0.273, 0.383), (0.437, 0.566))
_UNDER = (((0.390, 0.500), (0.297, 0.406)), ((0.390, 0.500), (0.594, 0.703)))
# Half a rim's thickness and more: the skin on both sides of the line must be brighter.
_BESIDE = 0.0195


def glasses_score(luminance: np.ndarray) -> float:
    """How dark the rims of glasses are in a (T, T) texture in 0..255: log luminance below the skin on both sides.

    0 to 0.03 for bare faces in even light; above 0.15, nine of ten pictures of faces_open show glasses. Rimless ones
    score like bare faces.
    """
    size = luminance.shape[0]
    log = cv2.GaussianBlur(np.log(np.maximum(luminance, 0) + np.float32(10)), (0, 0), 1.2 * size / 256)
    beside = max(1, round(_BESIDE * size))
    line = np.minimum(np.roll(log, beside, 0), np.roll(log, -beside, 0)) - log
    bridge, right, left = (_darkest_path(_cut(line, place)) for place in (_BRIDGE, *_UNDER))
    return float(np.sqrt(max(bridge, 0.0) * max(min(right, left), 0.0)))


def _cut(picture: np.ndarray, place: tuple[tuple[float, float], tuple[float, float]]) -> np.ndarray:
    (y0, y1), (x0, x1) = np.round(np.array(place) * picture.shape[0]).astype(int)
    return picture[y0:y1, x0:x1]


def _darkest_path(strip: np.ndarray) -> float:
    """Largest mean of (h, w) along a path from left to right that climbs or falls at most one row a column."""
    best = strip[:, 0]
    for column in strip.T[1:]:
        padded = np.pad(best, 1, constant_values=-np.inf)
        best = column + np.maximum(np.maximum(padded[:-2], padded[2:]), best)
    return float(best.max()) / strip.shape[1]
