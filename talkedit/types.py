"""The values that pass between stages. Plain dataclasses; shapes and units are part of the contract."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np


@dataclass(frozen=True)
class Frame:
    """One decoded picture.

    Attributes:
        index: position in the decoded sequence, counted from 0.
        rgb: (H, W, 3) uint8, after display rotation, never written to by a stage.
        pts: presentation timestamp in units of ``time_base``.
        time_base: seconds per pts unit.
    """

    index: int
    rgb: np.ndarray
    pts: int = 0
    time_base: Fraction = Fraction(1, 25)

    @property
    def time(self) -> float:
        """Presentation time in seconds."""
        return float(self.pts * self.time_base)


@dataclass(frozen=True)
class Track:
    """What the tracker knows of the chosen face in one frame.

    Attributes:
        landmarks: (478, 3) float32, MediaPipe topology; x right, y down in pixels of the frame, z in pixels away
            from the viewer (MediaPipe's scale and sign).
        confidence: 0..1, 1 = the landmarks look like a face seen well.
        yaw: head turn in degrees, positive = towards the viewer's right.
        mouth_open: inner-lip opening over the outer-eye distance.
        eye_open: (left, right) lid opening over the eye's width, the person's left first.
        faces: how many faces the frame shows.
        cut: True where a new shot starts at this frame.
    """

    landmarks: np.ndarray
    confidence: float
    yaw: float
    mouth_open: float
    eye_open: tuple[float, float]
    faces: int
    cut: bool = False
