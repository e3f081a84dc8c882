"""The skin under the lower lip lies below it: the tracker puts both over each other at times.

The picture between them would be next to nothing, and drawn out by an edit it makes lines around the lip.
"""

from __future__ import annotations

import numpy as np

from talkedit.track.topology import UNDER_LIP

# How far the skin lies on the way down at least; on twelve clips it is 0.35 to 0.55 nearly always.
LEAST = 0.25


def below_lip(landmarks: np.ndarray) -> np.ndarray:
    """(N, 3) landmarks, pixels, with the skin under the lower lip below it; the same array where it is."""
    lip, skin, below = UNDER_LIP
    way = landmarks[below, :2] - landmarks[lip, :2]
    length = np.maximum((way**2).sum(1), 1e-6)
    lack = LEAST - ((landmarks[skin, :2] - landmarks[lip, :2]) * way).sum(1) / length
    if lack.max() <= 0:
        return landmarks
    out = landmarks.copy()
    # Where lip and chin fall together, as in a profile, the way down is not known: it is never moved further than that.
    out[skin, :2] += np.clip(lack, 0, 1)[:, None] * way
    return out
