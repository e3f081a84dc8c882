"""How the speaker moves besides talking: head sway, blinks, glances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d


@dataclass(frozen=True)
class Motion:
    """Per frame.

    Attributes:
        angles: (T, 3) head rotation in radians about x, y, z.
        shift: (T, 3) head translation in decimetres.
        blink: (T,) 0 open .. 1 shut.
        gaze: (T, 2) eye direction in radians, to the viewer's right and up, relative to looking at the viewer.
    """

    angles: np.ndarray
    shift: np.ndarray
    blink: np.ndarray
    gaze: np.ndarray


def _wander(rng: np.random.Generator, frames: int, fps: float, seconds: float, columns: int) -> np.ndarray:
    """(frames, columns) smooth noise of about unit size that changes within ``seconds``."""
    pad = int(4 * seconds * fps) + 1
    noise = gaussian_filter1d(rng.normal(size=(frames + 2 * pad, columns)), seconds * fps, axis=0)[pad : pad + frames]
    return noise * np.sqrt(2 * np.sqrt(np.pi) * seconds * fps)


def natural_motion(frames: int, fps: float, emphasis: np.ndarray, rng: np.random.Generator) -> Motion:
    """Small head motion that nods with the stressed syllables, a blink every second or two, and a few glances."""
    sway = _wander(rng, frames, fps, 0.55, 3) * np.radians([1.1, 2.3, 1.2])
    slow = _wander(rng, frames, fps, 1.3, 3) * np.radians([0.7, 2.0, 0.9])
    nod = gaussian_filter1d(emphasis - emphasis.mean(), 0.08 * fps) * np.radians(1.8)
    angles = np.clip(sway + slow, np.radians([-3, -6, -3.5]), np.radians([3, 6, 3.5]))
    angles[:, 0] += nod
    shift = _wander(rng, frames, fps, 0.9, 3) * np.array([0.012, 0.006, 0.01])
    t = np.arange(frames) / fps
    blink = np.zeros(frames)
    start = float(rng.uniform(0.55, 0.8))
    while start < frames / fps - 0.2:
        local = t - start
        # Lids fall in 80 ms, stay shut for a moment and rise in 160 ms.
        blink = np.maximum(blink, np.clip(np.minimum((local + 0.10) / 0.08, (0.20 - local) / 0.15), 0, 1))
        start += float(rng.uniform(1.3, 2.1))
    blink = blink**2 * (3 - 2 * blink)
    gaze = np.zeros((frames, 2))
    where, change = np.zeros(2), float(rng.uniform(0.8, 1.2))
    for i in range(frames):
        if t[i] >= change:
            away = rng.random() < 0.45
            where = rng.normal(size=2) * np.radians([5.5, 2.5]) if away else rng.normal(size=2) * np.radians(0.8)
            change = t[i] + float(rng.uniform(0.35, 0.6) if away else rng.uniform(0.7, 1.4))
        gaze[i] = where
    gaze = gaussian_filter1d(gaze, 0.022 * fps, axis=0) + rng.normal(size=(frames, 2)) * np.radians(0.08)
    return Motion(angles, shift, blink, gaze)
