"""Takes the tremble out of landmarks without lag and without blurring lips and lids.

A bilateral filter over time: a neighbour counts only as far as the point stands nearly where it stands now. A resting
point is averaged over five frames; a moving lip keeps its own position.
"""

from __future__ import annotations

import numpy as np

from talkedit.track.measures import eye_distance

# A point that moves by this share of the eye distance between frames is moving, not trembling.
TREMBLE = 0.006


def steady(window: list[np.ndarray | None], centre: int) -> np.ndarray:
    """(478, 3) filtered landmarks of ``window[centre]``; missing neighbours are None.

    Raises:
        ValueError: the centre itself is missing.
    """
    now = window[centre]
    if now is None:
        raise ValueError("the frame to be steadied has no landmarks")
    scale = TREMBLE * eye_distance(now)
    total, weight = now.copy(), np.ones((len(now), 1), np.float32)
    for i, other in enumerate(window):
        if other is None or i == centre:
            continue
        near = np.exp(-0.5 * (np.linalg.norm(other[:, :2] - now[:, :2], axis=1) / scale) ** 2)
        w = (near / abs(i - centre))[:, None].astype(np.float32)
        total += w * other
        weight += w
    return total / weight
