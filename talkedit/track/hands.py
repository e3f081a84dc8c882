"""Hands in front of the face, found with the hand model in mediapipe's wheel.

Looking for a hand costs as much as tracking the face, so that is done now and then. When one turns up, the frames since
the last look are gone through backwards to where it came from, and it is followed frame by frame until it has left.
"""

from __future__ import annotations

from collections import deque
from importlib.util import find_spec

import cv2
import numpy as np

from talkedit.track.facemesh import hand_model
from talkedit.types import Frame

# Frames between two looks for a hand.
EVERY = 20
# Frames without a hand after which one that was followed has left.
GONE = 3
# Where hands are looked for: the face's box, widened by this share of its size to all sides; and the longer side of
# that window in pixels.
AROUND, SIDE = 0.6, 256
# Hands are larger than this share of the face's size; what is smaller is an ear.
SMALLEST = 0.4
# Number of the frame, size of the face in pixels, a small picture, and where it lies in the frame.
_View = tuple[int, float, np.ndarray, np.ndarray]


class HandWatch:
    """Landmarks of the hands near a face, frame by frame. Without mediapipe it sees none."""

    def __init__(self) -> None:
        self._model = None
        self._waiting: deque[_View] = deque(maxlen=EVERY)
        self._found: dict[int, np.ndarray] = {}
        self._missed, self._frames = GONE, 0
        self._off = find_spec("mediapipe") is None

    def see(self, frame: Frame, landmarks: np.ndarray) -> None:
        """Looks at the next frame, or keeps it for later.

        Args:
            frame: the picture.
            landmarks: (N, ≥2) of the face, pixels.
        """
        if self._off:
            return
        self._frames += 1
        view = (frame.index, float(np.ptp(landmarks[:, :2], axis=0).max()), *_window(frame.rgb, landmarks))
        if self._missed >= GONE:
            self._waiting.append(view)
            if len(self._waiting) < EVERY and frame.index > 0:
                return
            if self._look_back():
                self._missed = 0
        else:
            self._missed = 0 if self._look(view) else self._missed + 1

    def at(self, index: int) -> np.ndarray | None:
        """(H, 21, 2) float32 pixels of the hands in a frame, None where there are none."""
        return self._found.get(index)

    def close(self) -> None:
        """Looks at what is still waiting, drops what a single frame of a clip shows, and frees the model."""
        self._look_back()
        if self._frames > 1:
            self._found = {i: hands for i, hands in self._found.items() if {i - 1, i + 1} & self._found.keys()}
        if self._model is not None:
            self._model.close()
            self._model = None

    def _look_back(self) -> bool:
        """Looks at the last frame that waits; if it shows a hand, also at those before, until one shows none."""
        found = False
        while self._waiting and self._look(self._waiting.pop()):
            found = True
        self._waiting.clear()
        return found

    def _look(self, view: _View) -> bool:
        """Whether the frame shows a hand, which is kept."""
        index, face, picture, (corner, size) = view
        if self._model is None:
            self._model = hand_model()
        hands = self._model.process(picture).multi_hand_landmarks
        if hands:
            points = np.float32([[(p.x, p.y) for p in hand.landmark] for hand in hands]) * size + corner
            points = points[np.ptp(points, axis=1).max(1) > SMALLEST * face]
            if len(points):
                self._found[index] = points
        return index in self._found


def _window(rgb: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A small copy of the picture around the face, and (2, 2) its corner and size in pixels of the frame."""
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    pad = AROUND * (high - low).max()
    x0, y0 = np.maximum(np.floor(low - pad), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(high + pad).astype(int) + 1, [rgb.shape[1], rgb.shape[0]])
    crop = rgb[y0 : max(y1, y0 + 2), x0 : max(x1, x0 + 2)]
    stride = max(1, max(crop.shape[:2]) // (2 * SIDE))  # rough, but nearly free
    crop = crop[::stride, ::stride]
    scale = min(1.0, SIDE / max(crop.shape[:2]))
    size = max(2, round(crop.shape[1] * scale)), max(2, round(crop.shape[0] * scale))
    small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    return small, np.float32([[x0, y0], [crop.shape[1] * stride, crop.shape[0] * stride]])
