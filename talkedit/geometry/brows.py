"""Brows keep their shape: hair does not stretch, so a raised brow is the same brow higher up.

What unfolds below a raised brow is the skin between the lid's crease and the brow; lashes stay with the lid. Left to
themselves the tracked points pull the brow apart: its upper edge rises further than its lower one, and hair that grows
below the tracked edge stays at the lid.
"""

from __future__ import annotations

import numpy as np

from talkedit.geometry.openings import LID_PAIRS, smoothstep, within

# Each side: upper and lower edge of the brow, the row below it, the lid's crease, the lid's edge; temple to nose.
_SIDES = (
    ((70, 63, 105, 66, 107), (46, 53, 52, 65, 55), (113, 225, 224, 223, 222, 221, 189),
     (247, 30, 29, 27, 28, 56, 190), (246, 161, 160, 159, 158, 157, 173)),
    ((300, 293, 334, 296, 336), (276, 283, 282, 295, 285), (342, 445, 444, 443, 442, 441, 413),
     (467, 260, 259, 257, 258, 286, 414), (466, 388, 387, 386, 385, 384, 398)),
)  # fmt: skip
# How far the row below goes along with the brow, to whose hair it belongs in most faces, and the crease. The rest of
# the crease's way is the lid's, whose lashes lie before it.
_BELOW, _CREASE = 0.95, 0.4
# How far the skin between the brows, and what lies right above and below it, goes along with their inner ends: left to
# itself it may go the other way, and tears the hair there apart.
_BETWEEN = {9: 0.85, 8: 0.6, 193: 0.6, 417: 0.6, 108: 0.5, 151: 0.5, 337: 0.5}
# How far an emotion may raise brows, approached and never passed: what unfolds below them is a thin strip of the
# picture, and beyond this it smears. Over the eye distance, and over the strip.
HIGHEST, UNFOLDED = 0.1, 0.55
# How high the strip may become, over the eye distance, and what may always be added: brows that a speaker has raised
# already are raised less.
TALLEST, LEAST = 0.17, 0.02
# Brows sink by the height of the strip at most, or they would lie on the lids; by so much less where it is as low as
# that, over the eye distance. And how suddenly they come to rest.
DEEP_SET, STAYS, STEEP = (0.05, 0.07), 0.015, 12
# How far around the brows the forehead follows, over the eye distance.
_FOREHEAD = 0.2


class BrowHold:
    """Makes each brow move as one, column by column.

    Args:
        mean: (468, 3) mean landmarks in model units.
        distances: (468, 468) between them along the skin, see `talkedit.geometry.openings.Openings`.
    """

    def __init__(self, mean: np.ndarray, distances: np.ndarray) -> None:
        one = np.eye(len(mean))
        columns, inner = one.copy(), np.zeros(len(mean))
        for side in _SIDES:
            upper, lower, below, crease, lid = (np.array(row) for row in side)
            pairs = (one[upper] + one[lower]) / 2
            columns[upper] = columns[lower] = pairs
            inner += pairs[-1] / len(_SIDES)
            brow = _across(mean, pairs @ mean[:, 0], below) @ pairs
            columns[below] = _BELOW * brow + (1 - _BELOW) * one[below]
            brow = _across(mean, pairs @ mean[:, 0], crease) @ pairs
            columns[crease] = _CREASE * brow + (1 - _CREASE) * _across(mean, mean[lid, 0], crease) @ one[lid]
        for point, share in _BETWEEN.items():
            columns[point] = share * inner + (1 - share) * one[point]
        # Few points take part; a product with all of them would wait for every core.
        self._moved = np.flatnonzero((columns != one).any(1))
        self._read = np.flatnonzero(columns[self._moved].any(0))
        self._weights = columns[np.ix_(self._moved, self._read)].astype(np.float32)
        self._eye = float(np.linalg.norm(mean[33] - mean[263]))
        self._edges = np.array([upper + lower for upper, lower, *_ in _SIDES])
        # The strip is as high as lids that are open leave it, whatever they do in a frame.
        self._strips = np.array([(side[2][2:5], pairs[2:5, 1]) for side, pairs in zip(_SIDES, LID_PAIRS, strict=True)])
        near = np.exp(-0.5 * (distances[self._edges].min(1) / (_FOREHEAD * self._eye)) ** 2)
        near *= near**4 / (near**4).sum(0).clip(1e-9)  # between the brows each has its share
        self._near = np.where(mean[:, 1] >= mean[self._edges, 1].min(), near, 0).astype(np.float32)

    def __call__(self, delta: np.ndarray) -> np.ndarray:
        """(..., 468, 3) landmark displacements with each brow in one piece; linear."""
        out = delta.copy()
        out[..., self._moved, :] = self._weights @ delta[..., self._read, :]
        return out

    def limited(self, delta: np.ndarray, source: np.ndarray, lids: tuple[float, float]) -> np.ndarray:
        """(468, 3) the same, with each brow raised by ``HIGHEST`` and ``UNFOLDED``, and to ``TALLEST``, at most.

        Args:
            delta: (468, 3) landmark displacements.
            source: (468, 3) tracked landmarks in the model's frame.
            lids: (right, left) lid gap of the open eyes of this clip, model units.
        """
        lower = delta.copy()
        for edges, (below, under), near, lid in zip(self._edges, self._strips, self._near, lids, strict=True):
            strip = max(float((source[below, 1] - source[under, 1]).mean()) - lid, 0.05 * self._eye)
            raised = max(float(delta[edges, 1].mean()), 0.0)
            room = max(TALLEST * self._eye - strip, LEAST * self._eye)
            room = min(HIGHEST * self._eye, UNFOLDED * strip, room)
            lower[:, 1] -= near * np.float32(raised - within(raised, room))
            sunk = max(-float(delta[edges, 1].mean()), 0.0)
            room = strip - STAYS * self._eye * (1 - float(smoothstep(strip / self._eye, *DEEP_SET)))
            lower[:, 1] += near * np.float32(sunk - sunk / (1 + (sunk / room) ** STEEP) ** (1 / STEEP))
        return self(lower)


def _across(mean: np.ndarray, knots: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(P, K) weights that interpolate between (K,) places across the face, at landmarks."""
    order = np.argsort(knots)
    return np.stack([np.interp(mean[points, 0], knots[order], one) for one in np.eye(len(knots))[:, order]], 1)
