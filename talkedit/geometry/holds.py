"""What every edit is held to before lips and lids are: bone stays, brows move in one piece."""

from __future__ import annotations

import numpy as np

from talkedit.geometry.brows import BrowHold
from talkedit.geometry.skull import SkullHold


class Holds:
    """Both holds of one face.

    Args:
        mean: (468, 3) mean landmarks in model units.
        distances: (468, 468) between them along the skin, see `talkedit.geometry.openings.Openings`.

    Attributes:
        brows: the second of them, for what does not touch bone.
    """

    def __init__(self, mean: np.ndarray, distances: np.ndarray) -> None:
        self._skull, self.brows = SkullHold(mean, distances), BrowHold(mean, distances)

    def __call__(self, delta: np.ndarray) -> np.ndarray:
        """(..., 468, 3) landmark displacements, held; linear."""
        return self.brows(self._skull(delta))

    def limited(self, delta: np.ndarray, source: np.ndarray, lids: tuple[float, float]) -> np.ndarray:
        """(468, 3) the same, with brows raised only so far; see `talkedit.geometry.brows.BrowHold.limited`."""
        return self.brows.limited(self._skull(delta), source, lids)
