"""Shot cuts, from small thumbnails only."""

from __future__ import annotations

import cv2
import numpy as np


class CutDetector:
    """Feeds on frames in order; True where a new shot starts.

    A cut changes most of the picture at once, much more than the frames around it: the mean absolute difference of
    thumbnails must pass an absolute floor and a multiple of its running level. Light that only gets brighter or darker
    (a flash) is no cut, and neither is the return to the picture of before.
    """

    def __init__(self, floor: float = 18.0, ratio: float = 5.0) -> None:
        self._floor, self._ratio = floor, ratio
        self._last: np.ndarray | None = None
        self._before: np.ndarray | None = None
        self._level = 4.0

    def __call__(self, rgb: np.ndarray) -> bool:
        small = cv2.resize(rgb, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
        last, before = self._last, self._before
        self._last, self._before = small, last
        if last is None:
            return False
        change = self._difference(small, last)
        cut = change > self._floor and change > self._ratio * self._level
        # Bounded, so that one cut does not blind the next, but a pan is soon the normal state of things.
        self._level = 0.9 * self._level + 0.1 * min(max(change, 1.0), 4 * self._level)
        if cut and before is not None and self._difference(small, before) < 0.5 * self._floor:
            return False
        return cut and not self._brightened(small, last)

    @staticmethod
    def _difference(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.abs(a - b).mean())

    @staticmethod
    def _brightened(a: np.ndarray, b: np.ndarray) -> bool:
        """Whether two thumbnails are alike but for the light: nearly all of one brighter, or all of it darker."""
        x, y = a.mean(2).ravel(), b.mean(2).ravel()
        if min(x.std(), y.std()) < 3 or np.corrcoef(x, y)[0, 1] < 0.5:
            return False
        return bool(min((x < y - 4).mean(), (x > y + 4).mean()) < 0.02)
