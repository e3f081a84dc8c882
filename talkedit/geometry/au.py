"""Action units of FACS as displacements of the tracked landmarks, the same on every face model.

Each unit names the points that its muscle moves, how far they go, and how far the skin around them follows along the
surface (never from one lip or lid to the other). The amounts are what a strong contraction shows, after the FACS manual
(Ekman, Friesen and Hager 2002), in parts of the outer-eye distance. Most units leave the opening of the lips to the
source; those that are about it (AU25, AU26) add to it, and those of the lids multiply the eye's opening.
"""

from __future__ import annotations

import numpy as np

from talkedit.emotions import ACTION_UNITS
from talkedit.geometry.openings import Openings

# The mirror images of the right side's points that the table names.
_LEFT = {70: 300, 63: 293, 105: 334, 66: 296, 107: 336, 46: 276, 53: 283, 52: 282, 65: 295, 55: 285, 69: 299, 104: 333,
         61: 291, 37: 267, 39: 269, 40: 270, 185: 409, 84: 314, 181: 405, 91: 321, 146: 375, 129: 358, 48: 278,
         49: 279, 198: 420, 131: 360, 50: 280, 101: 330, 205: 425, 117: 346, 118: 347, 119: 348, 36: 266, 57: 287,
         78: 308, 82: 312, 81: 311, 80: 310, 87: 317, 88: 318, 178: 402, 145: 374, 144: 373, 153: 380,
         208: 428, 201: 421, 108: 337}  # fmt: skip
# Unit → (reach of the skin around, [(right side's points or mid-line points, (outwards, up, forwards))]).
_MOVES: dict[str, tuple[float, list[tuple[tuple[int, ...], tuple[float, float, float]]]]] = {
    "AU1": (0.10, [((107, 66, 55, 65, 108), (0, 0.075, 0))]),
    "AU2": (0.10, [((70, 63, 46, 53), (0, 0.075, 0)), ((105, 52), (0, 0.04, 0))]),
    "AU4": (0.10, [((107, 55), (-0.035, -0.055, 0.01)), ((66, 65), (-0.025, -0.055, 0)), ((105, 52), (-0.01, -0.04, 0)),
                   ((63, 53), (0, -0.02, 0))]),
    "AU6": (0.09, [((117, 118, 119, 50, 101), (0.01, 0.05, 0.015))]),
    "AU9": (0.07, [((48, 49, 131, 198), (0, 0.045, 0)), ((129,), (0.012, 0.035, 0)), ((37,), (0, 0.015, 0))]),
    "AU10": (0.07, [((37, 39), (0, 0.055, 0.005)), ((40, 0), (0, 0.04, 0.005)), ((36, 205), (0.01, 0.015, 0.005))]),
    "AU12": (0.11, [((61, 78), (0.05, 0.065, -0.015)), ((185, 146), (0.035, 0.045, -0.01)),
                    ((205,), (0.01, 0.02, 0.015))]),
    "AU14": (0.05, [((61, 78, 57), (0.03, 0.005, -0.06))]),
    "AU15": (0.08, [((61, 78), (0.005, -0.065, 0)), ((146, 185, 57), (0.005, -0.045, 0))]),
    "AU17": (0.08, [((199, 175), (0, 0.05, 0.015)), ((200, 18, 201, 208), (0, 0.05, 0.01)),
                    ((17, 84), (0, 0.03, 0.01))]),
    "AU20": (0.09, [((61, 78), (0.085, -0.012, -0.02)), ((185, 146), (0.055, -0.01, -0.01))]),
    "AU23": (0.04, [((37, 0, 39), (0, -0.03, -0.02)), ((17, 84, 181), (0, 0.03, -0.02)), ((61,), (-0.012, 0, 0))]),
}  # fmt: skip
# Lip gaps that AU25 and AU26 add, over the outer-eye distance.
PARTED, DROPPED = 0.07, 0.20
# What AU5, AU7 and AU45 do to the opening of the eyes, as a share of it, and how much of that the upper lid does.
_LIDS = {"AU5": (0.40, 1.0), "AU7": (-0.35, 0.35), "AU45": (-1.0, 0.9)}


class ActionUnits:
    """The displacements of all units on one face.

    Args:
        mean: (468, 3) mean landmarks in model units.
        openings: the lips and lids of the same mean.
        speech: (468, 3) displacement when words open the lips by one model unit.
    """

    def __init__(self, mean: np.ndarray, openings: Openings, speech: np.ndarray) -> None:
        self._openings, self._speech = openings, speech
        self._eye = float(np.linalg.norm(mean[33] - mean[263]))
        distances = openings.distances / self._eye
        self._held = np.zeros((len(ACTION_UNITS), len(mean), 3), np.float32)
        for name, (reach, moves) in _MOVES.items():
            self._held[ACTION_UNITS.index(name)] = self._eye * _spread(distances, reach, moves)

    def held(self, units: np.ndarray) -> np.ndarray:
        """(468, 3) displacement of (17,) units, model units; the lips' opening is still to be held to the source."""
        return np.tensordot(np.asarray(units, np.float32), self._held, axes=1)

    def gaps(self, source: np.ndarray, units: np.ndarray) -> np.ndarray:
        """(468, 3) displacement, model units, of the units that open or close lips and lids.

        Args:
            source: (468, 3) landmarks in the model's frame, edited as far as they are.
            units: (17,) strengths.
        """
        of = dict(zip(ACTION_UNITS, np.asarray(units, np.float32).tolist(), strict=True))
        out = self._speech * np.float32(of["AU26"] * DROPPED * self._eye)
        out = out + self._openings.part_lips(of["AU25"] * PARTED * self._eye)
        for name, (share, upper) in _LIDS.items():
            if of[name]:
                out = out + self._openings.open_lids(source + out, max(share * of[name], -1.0), upper)
        return out.astype(np.float32)


def _spread(distances: np.ndarray, reach: float, moves: list) -> np.ndarray:
    """(468, 3) the moves of both sides, fading along the skin: full at the named points, smooth between them."""
    points, vectors = [], []
    for right, (outwards, up, forwards) in moves:
        for point in right:
            # The right side lies where x is negative; points of the mid-line have no mirror image.
            points.append(point)
            vectors.append((-outwards if point in _LEFT else 0.0, up, forwards))
            if point in _LEFT:
                points.append(_LEFT[point])
                vectors.append((outwards, up, forwards))
    weights = np.exp(-0.5 * (distances[:, points] / reach) ** 2)
    sharp = weights**4  # between two points the nearer one says where to go, all say how far
    where = sharp @ np.array(vectors) / np.maximum(sharp.sum(1, keepdims=True), 1e-12)
    return (where * weights.max(1, keepdims=True)).astype(np.float32)
