"""Text on pictures: the visible mark of an edit, and the labels of a comparison."""

from __future__ import annotations

import cv2
import numpy as np

_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_mark(rgb: np.ndarray, text: str) -> np.ndarray:
    """A copy of (H, W, 3) uint8 ``rgb`` with ``text`` in a dark box in the lower left corner."""
    height, width = rgb.shape[:2]
    scale, thickness, (text_width, text_height) = _fit(text, 0.035 * min(height, width), 0.9 * width)
    pad = max(2, round(text_height * 0.5))
    out = rgb.copy()
    box = out[max(0, height - text_height - 3 * pad) : height - pad, pad : pad * 3 + text_width]
    box[:] = box // 4
    origin = (2 * pad, height - 2 * pad)
    cv2.putText(out, text, origin, _FONT, scale, (255, 255, 255), thickness, cv2.LINE_AA)
    return out


def label_strip(text: str, width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8 dark strip with ``text`` centred in it."""
    strip = np.full((height, width, 3), 24, np.uint8)
    scale, thickness, (text_width, text_height) = _fit(text, 0.5 * height, 0.95 * width)
    origin = ((width - text_width) // 2, (height + text_height) // 2)
    cv2.putText(strip, text, origin, _FONT, scale, (235, 235, 235), thickness, cv2.LINE_AA)
    return strip


def _fit(text: str, height: float, width: float) -> tuple[float, int, tuple[int, int]]:
    """Font scale, stroke and size in pixels of a text at most so high and so wide."""
    (unit_width, unit_height), _ = cv2.getTextSize(text, _FONT, 1.0, 1)
    scale = min(max(height, 8.0) / unit_height, width / max(unit_width, 1))
    thickness = max(1, round(scale * 1.5))
    return scale, thickness, cv2.getTextSize(text, _FONT, scale, thickness)[0]
