"""Whose teeth a mouth shows, told from how wide they are: lower incisors are far narrower than upper ones.

Widths are mean crowns of adults, the outer-eye distance being 93 mm: upper ones as rows are drawn with, lower ones of
both sexes after Moorrees (1957; I1, I2, C).
"""

from __future__ import annotations

import cv2
import numpy as np

from talkedit.mouth.dentition import CROWNS
from talkedit.mouth.rows import brightness

# Crowns from the middle outwards, over the eye distance.
UPPER, LOWER = tuple(crown[0] for crown in CROWNS[:3]), (0.057, 0.063, 0.072)
SCALES = np.arange(0.88, 1.13, 0.03)  # of a speaker's teeth, beside the mean
ASIDE, STEP = 0.06, 0.01  # how far beside the middle of what shows the row's middle may lie, over the eye distance
LINE = 0.009  # standard deviation of the dark line between two teeth, over the eye distance
BROAD = 0.03  # what is coarser is light and shadow, over the eye distance
FULL, SHOWN = 0.35, 0.12  # share of its height that a column shows; over the eye distance, how many of these tell
FAINT = 0.045  # lines that are less deep, over the brightness of teeth, tell nothing: retouched teeth have none


def lower_like(picture: np.ndarray, teeth: np.ndarray, eye: float) -> float | None:
    """How much better the widths of lower teeth than those of upper ones explain the lines between the teeth.

    Args:
        picture: (h, w, 3) uint8, upright.
        teeth: (h, w) float32 0..1, what of it is teeth.
        eye: outer-eye distance, pixels.

    Returns:
        correlation with the best placed row of lower teeth minus that with upper ones, -2..2; None where too few teeth
        or hardly any lines show.
    """
    shown = (teeth > 0.5).astype(np.float32)
    height = shown.sum(0)
    full = np.flatnonzero(height > FULL * np.percentile(height, 98))
    if len(full) < SHOWN * eye:
        return None
    grey, mean = brightness(picture), cv2.GaussianBlur(shown, (0, 0), BROAD * eye)
    broad = cv2.GaussianBlur(grey * shown, (0, 0), BROAD * eye) / np.maximum(mean, 1e-3)
    profile = ((grey / np.maximum(broad, 1) - 1) * shown).sum(0)[full] / height[full]
    profile = profile - profile.mean()
    at = (full - (full[0] + full[-1]) / 2) / eye
    (upper, deep), (lower, deeper) = (_fit(profile, at, widths) for widths in (UPPER, LOWER))
    return lower - upper if max(deep, deeper) > FAINT else None


def _fit(profile: np.ndarray, at: np.ndarray, widths: tuple[float, ...]) -> tuple[float, float]:
    """Highest correlation of (N,) brightness at (N,) places with a row of such teeth, and how deep its lines are."""
    ends = np.cumsum([0.0, *widths])
    lines = np.r_[-ends[1:], ends]
    middles = np.arange(-ASIDE, ASIDE, STEP)
    lines = SCALES[:, None, None] * lines + middles[:, None]
    rows = -np.exp(-0.5 * ((at[:, None] - lines[:, :, None]) / LINE) ** 2).sum(-1).reshape(-1, len(at))
    rows = rows - rows.mean(1, keepdims=True)
    both, own = rows @ profile, (rows**2).sum(1)
    like = both / np.sqrt(own * (profile**2).sum() + 1e-9)
    best = int(like.argmax())
    return float(like[best]), float(both[best] / own[best])
