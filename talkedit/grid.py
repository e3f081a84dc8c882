"""The labelled grid of a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from talkedit.video.mark import label_strip

_MAX_WIDTH, _MAX_HEIGHT = 2560, 1600


class Grid:
    """Lays pictures of one size out in cells with a label above each.

    The first picture is the source. With several intensities each emotion has a row of its own, the source at the
    left of every row; with one, the cells fill rows of about equal length. Cells shrink so that the grid stays
    within 2560 x 1600. Sides are even, as video wants.

    Attributes:
        width, height: size of the whole grid in pixels.
    """

    def __init__(self, width: int, height: int, labels: Sequence[str], per_row: int = 1) -> None:
        """``width`` and ``height`` of one picture; ``per_row`` intensities a row (1 = no fixed rows)."""
        cells = list(range(len(labels)))
        if per_row > 1:
            rows = [[0, *cells[i : i + per_row]] for i in range(1, len(cells), per_row)]
        else:
            columns = math.ceil(math.sqrt(len(cells) * height / width * 1.6))
            columns = max(1, min(len(cells), columns))
            rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
        self._rows, columns = rows, max(len(row) for row in rows)
        scale = min(1.0, _MAX_WIDTH / (columns * width), _MAX_HEIGHT / (len(rows) * height * 1.07))
        self._cell = (_even(width * scale), _even(height * scale))
        strip = max(16, _even(self._cell[1] * 0.07))
        self._strips = [label_strip(text, self._cell[0], strip) for text in labels]
        self.width, self.height = columns * self._cell[0], len(rows) * (self._cell[1] + strip)

    def draw(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """(height, width, 3) uint8 from one (H, W, 3) uint8 picture a label."""
        canvas = np.full((self.height, self.width, 3), 24, np.uint8)
        width, height = self._cell
        strip = self._strips[0].shape[0]
        for row, cells in enumerate(self._rows):
            for column, cell in enumerate(cells):
                y, x = row * (height + strip), column * width
                canvas[y : y + strip, x : x + width] = self._strips[cell]
                picture = pictures[cell]
                if picture.shape[:2] != (height, width):
                    picture = cv2.resize(picture, self._cell, interpolation=cv2.INTER_AREA)
                canvas[y + strip : y + strip + height, x : x + width] = picture
        return canvas


def _even(value: float) -> int:
    return max(2, round(value / 2) * 2)
