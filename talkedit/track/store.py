"""Tracks of a whole clip without holding it in memory: landmarks on disk, a few numbers a frame in RAM."""

from __future__ import annotations

import tempfile

import numpy as np

from talkedit.types import Track

_SIZE = 478 * 3 * 4


class TrackStore:
    """Appended to in the first pass, read by window in the second.

    Landmarks go to an anonymous temporary file (5.7 kB a frame), which the system removes with the process.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="talkedit-")  # noqa: SIM115 (lives as long as the store)
        self._written = 0
        self._slot: list[int] = []
        self._shot: list[int] = []
        self._fade: list[float] = []
        self._time: list[float] = []
        self._opening: list[float] = []

    def __len__(self) -> int:
        return len(self._slot)

    @property
    def faces(self) -> int:
        """Frames with a face."""
        return self._written

    def append(self, track: Track | None, time: float, fade: float, cut: bool) -> None:
        """Adds the next frame: its track, presentation time in seconds, trust 0..1, and whether a shot starts."""
        shot = self._shot[-1] if self._shot else 0
        self._shot.append(shot + bool(cut))
        self._time.append(time)
        self._fade.append(fade if track is not None else 0.0)
        self._opening.append(track.mouth_open if track is not None else 0.0)
        if track is None:
            self._slot.append(-1)
            return
        self._slot.append(self._written)
        self._file.seek(self._written * _SIZE)
        self._file.write(np.ascontiguousarray(track.landmarks, np.float32).tobytes())
        self._written += 1

    def time(self, index: int) -> float:
        """Presentation time of a frame in seconds."""
        return self._time[index]

    def has(self, index: int) -> bool:
        """Whether the frame exists and shows the face."""
        return 0 <= index < len(self._slot) and self._slot[index] >= 0

    def landmarks(self, index: int) -> np.ndarray | None:
        """(478, 3) float32 or None."""
        if not self.has(index):
            return None
        self._file.seek(self._slot[index] * _SIZE)
        return np.frombuffer(self._file.read(_SIZE), np.float32).reshape(478, 3).copy()

    def same_shot(self, a: int, b: int) -> bool:
        """Whether two frames exist and belong to one shot."""
        return 0 <= b < len(self._shot) and self._shot[a] == self._shot[b]

    def opening(self, index: int) -> float:
        """Inner-lip opening over the eye distance; 0 where there is no face."""
        return self._opening[index]

    def shot(self, index: int) -> int:
        """Number of the shot a frame belongs to, from 0."""
        return self._shot[index]

    def fade(self, index: int) -> float:
        """Trust in a frame, 0..1; 0 where there is no face."""
        return self._fade[index]
