"""Glasses are rigid: what lies under their rims stays in place, lids move behind the lenses and brows above them."""

from __future__ import annotations

import numpy as np

from talkedit.geometry.openings import smoothstep
from talkedit.track import topology as topo

# Heights over the eyes' line, over the outer-eye distance: full hold between the inner two, none beyond the outer.
ABOVE = (0.19, 0.33)
BELOW = (0.36, 0.54)
# The same below the bridge, where only the pads touch the nose, and how far from the mid-line that reaches.
BELOW_BRIDGE = (0.08, 0.22)
NOSE = (0.10, 0.22)
# Distances from the eyes' outlines: lids move freely, nothing beyond the second does.
LIDS = (0.03, 0.11)


class GlassesHold:
    """Takes the movement out of the landmarks that glasses cover.

    Args:
        mean: (468, 3) mean landmarks in model units.
    """

    def __init__(self, mean: np.ndarray) -> None:
        corners = mean[[33, 133, 263, 362]]
        eye = float(np.linalg.norm(mean[33] - mean[263]))
        x, y = (mean[:, :2] - corners[:, :2].mean(0)).T / eye
        outline = mean[np.r_[topo.LEFT_EYE, topo.RIGHT_EYE]]
        away = np.linalg.norm(mean[:, None] - outline[None], axis=2).min(1) / eye
        side = smoothstep(np.abs(x), *NOSE)
        low = [side * far + (1 - side) * near for far, near in zip(BELOW, BELOW_BRIDGE, strict=True)]
        below = 1 - smoothstep(-y, *low)
        self._weight = ((1 - smoothstep(y, *ABOVE)) * below * smoothstep(away, *LIDS))[:, None].astype(np.float32)

    def __call__(self, delta: np.ndarray, share: float) -> np.ndarray:
        """(468, 3) landmark displacements with ``share`` (0..1) of the movement under the glasses taken out."""
        return delta * (1 - np.float32(share) * self._weight)
