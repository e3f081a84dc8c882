"""Brows keep their shape: hair does not stretch, so a raised brow is the same brow higher up.

What unfolds below a raised brow is the skin of the upper lid. Left to themselves the tracked points pull the brow
apart: its upper edge rises further than its lower one, and hair that grows below the tracked edge stays at the lid.
"""

from __future__ import annotations

import numpy as np

# Upper and lower edge of each brow, from the temple to the nose or back; the rows below it, towards the lid's crease.
_BROWS = (
    (np.array([70, 63, 105, 66, 107]), np.array([46, 53, 52, 65, 55])),
    (np.array([300, 293, 334, 296, 336]), np.array([276, 283, 282, 295, 285])),
)
_BELOW = np.array([113, 225, 224, 223, 222, 221, 189, 342, 445, 444, 443, 442, 441, 413])
_CREASE = np.array([247, 30, 29, 27, 28, 56, 190, 467, 260, 259, 257, 258, 286, 414])
# How far those rows go along with the brow.
_WITH = ((_BELOW, 0.85), (_CREASE, 0.4))


class BrowHold:
    """Makes each brow move as one, column by column.

    Args:
        mean: (468, 3) mean landmarks in model units.
    """

    def __init__(self, mean: np.ndarray) -> None:
        columns = np.eye(len(mean))
        for upper, lower in _BROWS:
            pairs = np.zeros((len(upper), len(mean)))
            at = np.arange(len(upper))
            pairs[at, upper] = pairs[at, lower] = 0.5
            columns[upper] = columns[lower] = pairs
            x = (mean[upper, 0] + mean[lower, 0]) / 2
            order = np.argsort(x)
            for rows, part in _WITH:
                for point in rows[np.sign(mean[rows, 0]) == np.sign(x[0])]:
                    # The brow's own movement at this point's place across the face.
                    place = [np.interp(mean[point, 0], x[order], one) for one in np.eye(len(x))[:, order]]
                    columns[point] = part * (place @ pairs)
                    columns[point, point] += 1 - part
        self._columns = columns.astype(np.float32)

    def __call__(self, delta: np.ndarray) -> np.ndarray:
        """(..., 468, 3) landmark displacements with each brow in one piece."""
        return self._columns @ delta
