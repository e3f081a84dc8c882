"""Cosine-window smoothing (Eqs. 17-19), of the edit rather than of the coefficients, so that speech stays sharp."""

from __future__ import annotations

import numpy as np

BASE_FPS = 25.0


def half_width(fps: float, base: int = 2) -> int:
    """Half window l in frames: ``base`` at 25 frames/s, scaled with the frame rate, at least 1."""
    return max(1, round(base * fps / BASE_FPS))


def cosine_weights(half: int) -> np.ndarray:
    """(2l + 1,) float64 window of Eqs. 18-19; sums to 1.

    w'_y = ½(1 − cos(π (y − (g − l − 1)) / (l + 1))) for g − l ≤ y ≤ g + l, divided by its sum.

    Raises:
        ValueError: ``half`` is negative.
    """
    if half < 0:
        raise ValueError(f"the half width must not be negative, got {half}")
    offset = np.arange(1, 2 * half + 2)
    w = 0.5 * (1 - np.cos(np.pi * offset / (half + 1)))
    return w / w.sum()


def smooth_at(values: np.ndarray, usable: np.ndarray, half: int) -> np.ndarray:
    """Eq. 17 at the middle of one window, renormalised over the usable frames (clip ends, cuts, missing faces).

    Args:
        values: (2l + 1, ...) values around the frame.
        usable: (2l + 1,) bool.
        half: l.

    Returns:
        (...) the weighted mean; zeros if nothing is usable.
    """
    w = cosine_weights(half) * usable
    total = w.sum()
    if total <= 0:
        return np.zeros_like(values[0])
    return np.tensordot(w / total, values, axes=1).astype(values.dtype)


def smooth_sequence(values: np.ndarray, half: int) -> np.ndarray:
    """Eq. 17 over a whole (T, ...) sequence, renormalised at both ends (the paper's plain form)."""
    out = np.empty_like(values)
    count = len(values)
    for g in range(count):
        index = np.arange(g - half, g + half + 1)
        ok = (index >= 0) & (index < count)
        out[g] = smooth_at(values[np.clip(index, 0, count - 1)], ok, half)
    return out
