"""What a shot shows of the forehead: how rough its skin is, and where hair lies on it.

Furrows are as sharp as the skin they are folded into, and run under a fringe, not over it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from talkedit.geometry.openings import smoothstep
from talkedit.texture.uv_map import LUMINANCE
from talkedit.track.topology import LEFT_BROW, RIGHT_BROW

# Texels that are kept of a look.
GRID = 64
# Roughness: spread of the log luminance between two blurs within a third; sigmas in texels of 256.
FINE, COARSE, NEAR = 0.7, 4.0, 4.0
# Its values over which skin turns from smooth to rough, told by the evenest places and the calmest frames, as neither a
# fringe makes skin rough nor the lines of raised brows: their shares in percent.
ROUGH, EVEN, CALM = (0.009, 0.018), 30, 25
# Hair is so many times rougher than the skin, so much yellower (log of blue over green) or so much darker (log
# luminance); the skin is what so many percent lie below.
STRANDS, FLOOR = (2.2, 3.2), 0.012
YELLOWER, DARKER, SKIN = (0.09, 0.17), (0.7, 1.0), 70
SEEN = 0.3  # share of a place that must be seen


@dataclass(frozen=True)
class Skin:
    """The forehead of one shot.

    Attributes:
        roughness: 0..1, how sharp lines look right in it.
        bare: (GRID, GRID) float32 0..1 over the UV template, where no hair hides it.
    """

    roughness: float
    bare: np.ndarray


class Forehead:
    """Where the forehead lies on a UV template.

    Args:
        outline: (K, 2) texels of ``size`` around all that can fold.
        uv: (468, 2) landmarks in such texels.
        size: S.
    """

    def __init__(self, outline: np.ndarray, uv: np.ndarray, size: int) -> None:
        self._brows = np.zeros((size, size), np.uint8)
        for brow in (RIGHT_BROW, LEFT_BROW):
            hull = cv2.convexHull(np.round(uv[brow]).astype(np.int32))
            cv2.fillConvexPoly(self._brows, hull, 1)
        self._brows = cv2.dilate(self._brows, np.ones((size // 36, size // 36), np.uint8))
        whole = np.zeros((size, size), np.uint8)
        cv2.fillConvexPoly(whole, cv2.convexHull(np.round(outline).astype(np.int32)), 1)
        self.area = cv2.resize(whole.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA) > 0.5

    def look(self, texture: np.ndarray, detail: np.ndarray, visible: np.ndarray) -> np.ndarray:
        """(4, GRID, GRID) float32: of one frame, how far each place is seen, and times that its squared spread, log
        luminance and log of blue over green.

        Args:
            texture: (T, T, 3) in 0..255.
            detail: (T, T) float32 high-passed log luminance.
            visible: (T, T) bool, where it is seen.
        """
        size = detail.shape[0]
        scale = size / 256
        seen = visible & (cv2.resize(self._brows, (size, size), interpolation=cv2.INTER_NEAREST) == 0)
        spread = cv2.GaussianBlur(detail, (0, 0), FINE * scale) - cv2.GaussianBlur(detail, (0, 0), COARSE * scale)
        colour = np.maximum(texture, 4).astype(np.float32)
        shown = np.stack([spread**2, np.log(colour @ LUMINANCE), np.log(colour[..., 2] / colour[..., 1])], 2)
        seen = seen.astype(np.float32)
        both = cv2.GaussianBlur(np.dstack([seen, shown * seen[..., None]]), (0, 0), NEAR * scale)
        return cv2.resize(both, (GRID, GRID), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)

    def solve(self, looks: list[np.ndarray]) -> Skin:
        """What (4, GRID, GRID) looks at a shot tell; smooth and bare where they tell nothing."""
        bare = np.ones((GRID, GRID), np.float32)
        if not looks:
            return Skin(0.0, bare)
        mean = np.mean(looks, axis=0)
        seen = mean[0]
        here = self.area & (seen > SEEN)
        if not here.any():
            return Skin(0.0, bare)
        level, blue = (channel / np.maximum(seen, 1e-3) for channel in mean[2:])
        spread = _spread(mean)
        even = float(np.percentile(spread[here], EVEN))
        bare *= 1 - smoothstep(spread / max(even, FLOOR), *STRANDS)
        bare *= 1 - smoothstep(np.percentile(blue[here], SKIN) - blue, *YELLOWER)
        bare *= 1 - smoothstep(np.percentile(level[here], SKIN) - level, *DARKER)
        each = [np.percentile(_spread(look)[here], EVEN) for look in looks]
        calm = min(float(np.percentile(each, CALM)), even)
        return Skin(float(smoothstep(calm, *ROUGH)), np.where(seen > SEEN, bare, 1).astype(np.float32))


def _spread(look: np.ndarray) -> np.ndarray:
    """(GRID, GRID) spread of the log luminance that a (4, GRID, GRID) look, or the mean of several, tells of."""
    return np.sqrt(look[1] / np.maximum(look[0], 1e-3))
