"""Skin lies beside the lip or the brow that it belongs to: the tracker puts rows of points over each other at times.

The picture between them would be next to nothing, and drawn out by an edit it makes lines: around the lower lip, and
above a raised brow, whose upper edge stays behind as an edit lowers it.
"""

from __future__ import annotations

import numpy as np

from talkedit.track.topology import OVER_BROWS, UNDER_LIP

# How far the skin lies on the way at least, down from the lip and up from the brow: on twelve clips it is 0.35 to 0.55
# under the lip nearly always, above brows that nobody raises 0.25 to 0.5.
LEAST, LEAST_UP = 0.25, 0.3


def below_lip(landmarks: np.ndarray) -> np.ndarray:
    """(N, 3) landmarks, pixels, with the skin under the lower lip below it; the same array where it is."""
    return _beside(landmarks, UNDER_LIP, LEAST)


def above_brows(landmarks: np.ndarray) -> np.ndarray:
    """(N, 3) landmarks, pixels, with the lower forehead above the brows; the same array where it is."""
    return _beside(landmarks, OVER_BROWS, LEAST_UP)


def _beside(landmarks: np.ndarray, rows: np.ndarray, least: float) -> np.ndarray:
    """The landmarks with the second of (3, K) rows so far on the way from the first to the third."""
    edge, skin, beyond = rows
    way = landmarks[beyond, :2] - landmarks[edge, :2]
    length = np.maximum((way**2).sum(1), 1e-6)
    lack = least - ((landmarks[skin, :2] - landmarks[edge, :2]) * way).sum(1) / length
    if lack.max() <= 0:
        return landmarks
    out = landmarks.copy()
    # Where all fall together, as in a profile, the way is not known: none is ever moved further than that.
    out[skin, :2] += np.clip(lack, 0, 1)[:, None] * way
    return out
