"""The emotion that a speaker shows anyway, told from speech by being slow, and from a resting face by its size.

Another emotion that comes takes it away: a smile under lowered brows reads as neither. An addition of ours, the paper's
sources are neutral.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from talkedit.geometry.openings import smoothstep
from talkedit.reconstruct.pose import find_pose
from talkedit.track.store import TrackStore

# Half of the time over which a face is averaged, in seconds, and how many frames of it are looked at.
HALF_SECONDS, LOOKS = 0.6, 4
# How far on average, over the outer-eye distance, taking it out moves a face that may be at rest, and one that surely
# acts: 0.009 to 0.018 on five people who talk, 0.01 to 0.035 on people who act.
ACTED = (0.014, 0.026)
# And how far at most it is moved back: grimaces are not undone, half a grimace is no face.
MOST = 0.022


class SlowFace:
    """Mean landmarks of a shot around a frame.

    Args:
        store: tracks of the clip.
        mean: (468, 3) mean landmarks, model units.
        fps: frames per second.
    """

    def __init__(self, store: TrackStore, mean: np.ndarray, fps: float) -> None:
        self._store, self._mean = store, mean
        self._half = max(1.0, HALF_SECONDS * fps)
        self._step = max(1, round(self._half / LOOKS))
        self._looks: OrderedDict[int, np.ndarray] = OrderedDict()

    def around(self, index: int, points: np.ndarray) -> np.ndarray:
        """(468, 3) landmarks in the model's frame, a mean under a cosine window; ``points`` where nothing else is."""
        first = int(np.ceil((index - self._half) / self._step)) * self._step
        total, weight = np.zeros_like(points), 0.0
        for i in range(first, int(index + self._half) + 1, self._step):
            share = 0.5 + 0.5 * np.cos(np.pi * (i - index) / self._half)
            if share > 0 and self._store.same_shot(index, i) and self._store.has(i):
                total += np.float32(share) * self._look(i)
                weight += share
        return total / np.float32(weight) if weight > 1e-3 else points

    def _look(self, index: int) -> np.ndarray:
        if index not in self._looks:
            landmarks = self._store.landmarks(index)[:468]
            self._looks[index] = find_pose(landmarks, self._mean).to_model(landmarks)
            if len(self._looks) > 4 * LOOKS:
                self._looks.popitem(last=False)
        return self._looks[index]


def acted(calming: np.ndarray, eye: float) -> float:
    """0..1, how much of (468, 3) ``calming`` a face may be calmed by; ``eye`` is the eye distance, same units."""
    size = float(np.linalg.norm(calming, axis=1).mean()) / eye
    return float(smoothstep(size, *ACTED)) * min(1.0, MOST / max(size, MOST))
