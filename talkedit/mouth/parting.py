"""The line at which two rows of teeth part, along the mouth: it bends as the rows do, and leans with a head.

`talkedit.mouth.rows.split` finds the one depth at which they part. Cut there, upper teeth end in a straight edge, what
is left of them goes down with the lower jaw, and tips of lower ones hang from the upper.
"""

from __future__ import annotations

import cv2
import numpy as np

from talkedit.geometry.openings import smoothstep
from talkedit.mouth.cheapest import cheapest_way

# How far to either side the line is looked for, over the eye distance; what it costs to lie there, beside a line that
# is black between white; and to be a pixel further off than beside it.
REACH, AWAY, STEEP = 0.045, 0.25, 0.06
# So much darker than what lies to both sides of it a line is one; over so much of the mouth, over the eye distance, it
# counts evenly.
DARK, EVENLY = (0.1, 0.3), 0.03


def parting(
    grey: np.ndarray, inside: np.ndarray, between: np.ndarray, depth: float, eye: float
) -> tuple[np.ndarray, np.ndarray]:
    """Depth at which the rows part in each column.

    Args:
        grey: (h, w) float32 brightness, upright.
        inside: (h, w) 0..1, the mouth's inside.
        between: (h, w) depth of each pixel, see `talkedit.mouth.rows.depth`.
        depth: at which they part on the whole.
        eye: outer-eye distance, pixels.

    Returns:
        (w,) float32 depths; ``depth`` where no dark line is near; and (w,) 0..1, how surely there is one.
    """
    h, w = grey.shape
    slope = float(between[-1, 0] - between[0, 0]) / max(h - 1, 1)  # of depth, a pixel
    reach = max(2, round(REACH * eye))
    if slope <= 0 or h < 3 or w < 3 or not (inside > 0.5).any():
        return np.full(w, depth, np.float32), np.zeros(w, np.float32)
    away = np.arange(-reach, reach + 1, dtype=np.float32)
    y = (depth - between[0]) / np.float32(slope) + away[:, None]
    x = np.broadcast_to(np.arange(w, dtype=np.float32), y.shape)
    matt = np.minimum(grey, np.percentile(grey[inside > 0.5], 70))
    level, seen = (
        cv2.remap(np.ascontiguousarray(v, np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        for v in (matt, inside)
    )
    level *= seen
    above, below = (np.maximum.accumulate(v, 0) for v in (level, level[::-1]))
    line = np.where(seen > 0.5, level / np.maximum(np.minimum(above, below[::-1]), 1), 1)
    steep = STEEP * np.abs(away[:, None] - away)
    path = cheapest_way(line + AWAY * (away[:, None] / reach) ** 2, steep)
    sure = smoothstep(1 - line[path, np.arange(w)], *DARK)
    off, sure = (
        cv2.GaussianBlur(v.astype(np.float32)[None], (0, 0), EVENLY * eye, sigmaY=1.0)[0]
        for v in (sure * away[path], sure)
    )
    return (depth + slope * off).astype(np.float32), sure
