"""An upper row of teeth for a speaker who shows none: drawn to the mean measures of adults, in the speaker's light.

Lies where nobody has seen what lies there: behind the frame's own pixels and behind every row that was seen. Measures
are those of anatomy (Wheeler's tables, mean crowns), the outer-eye distance being 93 mm.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from talkedit.geometry.openings import smoothstep
from talkedit.mouth.grid import Grid
from talkedit.mouth.rows import Row, coloured

# Crowns from the middle outwards: width along the arch, how much higher than the middle ones' their edges lie, and
# brightness; over the eye distance.
CROWNS = ((0.091, 0.0, 1.0), (0.071, 0.008, 0.97), (0.082, 0.001, 0.9), (0.076, 0.008, 0.9), (0.073, 0.013, 0.86),
          (0.11, 0.02, 0.8))  # fmt: skip
HEIGHT = 0.16  # of the row with what lies under the lip
EDGE = 0.019  # how far the middle ones end below the resting lip
# Half the arch's width, and the length of it that turns by a radian.
ARCH, TURN = 0.306, 0.323
GAP, DARK = 0.0045, 0.4  # half width of the line between two teeth, and how much darker it is
ROUND = 0.009  # how much higher a tooth ends at its sides
# Brightness over the skin's around the mouth (1.3 on 19 studio smiles, 0.8 to 1.4 in clips); how much of its tint teeth
# have.
BRIGHT, TINT = 1.2, 0.55
LIP_SHADOW = (0.06, 0.72)  # above the edge teeth lie in the shadow of the lip: how far up, and how much is left there
# Light in shadow has come off lips and gums: how much less of each colour is lost there, as an exponent.
REDDER = np.float32([0.12, -0.01, -0.12])
CORNERS = 0.45  # brightness left at the ends of the arch
SCALE = 3  # drawn so many times finer
# Drawn crowns are so bright beside a strip of real ones, at least and at most; it passes into them over such a way, in
# eye distances.
GAIN, PASSES = (0.6, 1.4), 0.005


def whole_crowns(row: Row, seen: np.ndarray, loop: np.ndarray, grid: Grid) -> Row:
    """An upper row of which only a strip was seen, with drawn crowns in its colour around the strip.

    Args:
        row: in pictures of the grid.
        seen: (h, w) 0..1, what of it was.
        loop: (20, 2) inner lips where it was, pixels.
        grid: of the speaker's mouth.

    Returns:
        the row; as it is where the crowns do not meet the strip.
    """
    y, sure = np.arange(len(seen), dtype=np.float32)[:, None], seen > 0.5
    lip, soft = np.float32(loop[0] + loop[10]) / 2, PASSES * grid.pixels
    drawn = upper_row(grid, lip, row.light, soft)
    ends, theirs = (np.where(teeth, y, -1).max(0) for teeth in (sure, drawn.teeth > 0.5))
    both = (ends >= 0) & (theirs >= 0)
    if both.any():
        drawn = upper_row(grid, lip + np.float32([0, np.median((ends - theirs)[both])]), row.light, soft)
    overlap = sure & (drawn.teeth > 0.5)
    if not overlap.any():
        return row
    gain = np.clip(row.picture[overlap].mean(0) / drawn.picture[overlap].mean(0), *GAIN)
    picture = np.minimum(drawn.picture * gain, 255)
    picture += (row.picture - picture) * cv2.GaussianBlur(seen, (0, 0), soft)[..., None]
    teeth = np.maximum(drawn.teeth, seen).astype(np.float32)
    return replace(row, picture=(picture + 0.5).astype(np.uint8), teeth=teeth, arch=None)


def upper_row(grid: Grid, lip: np.ndarray, light: np.ndarray, blur: float) -> Row:
    """The row in the pictures of a grid.

    Args:
        grid: of the speaker's mouth.
        lip: (2,) where the middle of the upper lip's inner edge rests in these pictures, pixels.
        light: (3,) colour of the skin around it.
        blur: of the shot, pixels.
    """
    w, h = grid.size
    x = (np.arange(w * SCALE, dtype=np.float32) + 0.5) / SCALE - lip[0]
    y = (np.arange(h * SCALE, dtype=np.float32) + 0.5) / SCALE - lip[1]
    across, down = x[None] / grid.pixels, y[:, None] / grid.pixels
    turn = np.arcsin(np.clip(across / ARCH, -1, 1))
    ends = np.cumsum([0.0, *(c[0] for c in CROWNS)])
    along = np.minimum(np.abs(turn) * TURN, ends[-1] - 1e-4)
    tooth = np.searchsorted(ends, along, side="right") - 1
    width, rise, tone = np.array(CROWNS, np.float32)[tooth].transpose(2, 0, 1)
    inside = (along - ends[tooth]) / width
    side = np.abs(2 * inside - 1)
    edge = EDGE - rise - ROUND * side**4
    within = (np.abs(across) < ARCH) * (down < edge) * (down > edge - HEIGHT)

    gap = np.minimum(inside, 1 - inside) * width / GAP
    shade = tone * (1 - DARK * np.exp(-(gap**2))) * (1 - 0.12 * side**2)
    shade = shade * (CORNERS + (1 - CORNERS) * np.cos(turn) ** 2)
    reach, left = LIP_SHADOW
    above = (edge - down) / reach
    shade = shade * (1 - (1 - left) * smoothstep(above, 0, 1)) * (1 - 0.15 * np.exp(-((above / 0.15) ** 2)))
    tint = (light / light.mean()) ** TINT
    colour = BRIGHT * float(light.mean()) * tint / tint.mean()

    soft = float(np.hypot(blur, 0.6))
    small = [cv2.resize(v.astype(np.float32), (w, h), interpolation=cv2.INTER_AREA) for v in (within, within * shade)]
    teeth, lit = (cv2.GaussianBlur(v, (0, 0), soft) for v in small)
    shade = np.minimum(lit / np.maximum(teeth, 0.05), 1)[..., None]
    picture = np.clip(shade ** (1 - coloured(light) * REDDER) * colour + 0.5, 0, 255).astype(np.uint8)
    return Row(picture, teeth, np.asarray(light, np.float32), np.eye(2, 3, dtype=np.float32))
