"""Brows keep their shape: hair does not stretch, so a raised brow is the same brow higher up.

What unfolds below a raised brow is the skin between the lid's crease and the brow; lashes stay with the lid. Left to
themselves the tracked points pull the brow apart: its upper edge rises further than its lower one, and hair that grows
below the tracked edge stays at the lid.
"""

from __future__ import annotations

import numpy as np

# Each side: upper and lower edge of the brow, the row below it, the lid's crease, the lid's edge; temple to nose.
_SIDES = (
    ((70, 63, 105, 66, 107), (46, 53, 52, 65, 55), (113, 225, 224, 223, 222, 221, 189),
     (247, 30, 29, 27, 28, 56, 190), (246, 161, 160, 159, 158, 157, 173)),
    ((300, 293, 334, 296, 336), (276, 283, 282, 295, 285), (342, 445, 444, 443, 442, 441, 413),
     (467, 260, 259, 257, 258, 286, 414), (466, 388, 387, 386, 385, 384, 398)),
)  # fmt: skip
# How far the row below goes along with the brow, and the crease. The rest of the crease's way is the lid's, whose
# lashes lie before it.
_BELOW, _CREASE = 0.8, 0.3


class BrowHold:
    """Makes each brow move as one, column by column.

    Args:
        mean: (468, 3) mean landmarks in model units.
    """

    def __init__(self, mean: np.ndarray) -> None:
        one = np.eye(len(mean))
        columns = one.copy()
        for side in _SIDES:
            upper, lower, below, crease, lid = (np.array(row) for row in side)
            pairs = (one[upper] + one[lower]) / 2
            columns[upper] = columns[lower] = pairs
            brow = _across(mean, pairs @ mean[:, 0], below) @ pairs
            columns[below] = _BELOW * brow + (1 - _BELOW) * one[below]
            brow = _across(mean, pairs @ mean[:, 0], crease) @ pairs
            columns[crease] = _CREASE * brow + (1 - _CREASE) * _across(mean, mean[lid, 0], crease) @ one[lid]
        self._columns = columns.astype(np.float32)

    def __call__(self, delta: np.ndarray) -> np.ndarray:
        """(..., 468, 3) landmark displacements with each brow in one piece."""
        return self._columns @ delta


def _across(mean: np.ndarray, knots: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(P, K) weights that interpolate between (K,) places across the face, at landmarks."""
    order = np.argsort(knots)
    return np.stack([np.interp(mean[points, 0], knots[order], one) for one in np.eye(len(knots))[:, order]], 1)
