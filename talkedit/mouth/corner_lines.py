"""The line between closed lips goes on beyond the tracked corners, where an edit that opens them would leave it behind.

A real mouth opens all along that line. An edited one opens between the tracked corners, and what lies beyond would
stay on the cheek, spread to a dark smudge. There the line, and what crosses it, is filled with the skin around, as far
as the edit parts the lips or draws their corners in.
"""

from __future__ import annotations

import cv2
import numpy as np

from talkedit.composite.warp import bounds
from talkedit.geometry.openings import smoothstep
from talkedit.mouth.rows import along_lips, gap_of, width_of

# So much further apart, and so much narrower, over the eye distance, an edit must make lips for their line to go; and
# how much of it goes from lips that stay shut, and how much further out: their ends are as dark and thin as it is.
PARTS, NARROWS, SHUT, FURTHER = (0.015, 0.07), (0.01, 0.05), 0.6, 0.025
# Over the eye distance: where beyond the corner the filling begins and ends, how far to either side the line may lie,
# and how thick it may be.
BEGINS, ENDS, ASIDE, THICK = (-0.02, 0.015), (0.13, 0.18), (0.06, 0.09), 0.1
EVEN = 0.015  # the skin that closes over it is even over such a way, over the eye distance
GRAIN = 12.0  # and has the grain of what lies beside it, up to so many levels
AROUND = 0.035  # as much as is filled on average over such a way around a place is stubble there
# The line may rise or fall by so much.
SLOPE = 0.6
# A thin line is so much deeper than softened.
DEEPER = 2.4
# Softness of the picture that the line is told in, and of the filling, over the eye distance.
_SOFT, _SMOOTH = 0.006, 0.008
_HELD = 0.1  # a darkness that a line must outweigh to count as other than level
_FROM, _ACROSS = -0.06, 0.18  # what is looked at, over the eye distance: from here on outwards, and so far across


def without_lines(rgb: np.ndarray, loop: np.ndarray, target: np.ndarray, eye: float) -> np.ndarray:
    """A frame whose lips' line ends at the tracked corners, as far as an edit parts or narrows the lips.

    Args:
        rgb: (H, W, 3) uint8.
        loop: (20, 2) inner lips, pixels: a corner, the upper lip, the other corner, the lower lip.
        target: (20, 2) the same after the edit.
        eye: outer-eye distance, pixels.

    Returns:
        (H, W, 3) uint8; ``rgb`` itself where there is nothing to do.
    """
    parted = float(smoothstep((gap_of(target) - gap_of(loop)) / eye, *PARTS))
    before, after = (width_of(lips) for lips in (loop, target))
    shut = 1 - float(smoothstep(gap_of(loop) / eye, *PARTS))
    share = max(parted, (1 - (1 - SHUT) * shut) * float(smoothstep((before - after) / eye, *NARROWS)))
    if share <= 0:
        return rgb
    out = rgb.copy()
    along = along_lips(loop)
    for corner, outwards in ((loop[0], -along), (loop[10], along)):
        _fill(out, corner, outwards, eye, share, FURTHER * shut * (1 - parted))
    return out


def _fill(rgb: np.ndarray, corner: np.ndarray, outwards: np.ndarray, eye: float, share: float, further: float) -> None:
    """Fills the dark line that leaves a corner, in place.

    Args:
        rgb: (H, W, 3) uint8.
        corner: (2,) pixels.
        outwards: (2,) unit vector away from the mouth.
        eye: outer-eye distance, pixels.
        share: 0..1, how much of it.
        further: how much further out than usual the filling begins, over the eye distance.
    """
    width, half = round((ENDS[1] - _FROM) * eye), round(_ACROSS * eye)
    if min(width, half) < 3:
        return
    out = _FROM + np.arange(width, dtype=np.float32) / eye
    across = np.arange(-half, half + 1, dtype=np.float32) / eye
    # Columns of the patch go outwards, its rows across the line.
    turn = np.array([[outwards[0], -outwards[1]], [outwards[1], outwards[0]]])
    place = np.c_[turn, corner + turn @ [_FROM * eye, -half]]
    size = width, len(across)
    patch = cv2.warpAffine(
        rgb, place, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    patch = patch.astype(np.float32)
    soft = cv2.GaussianBlur(patch, (0, 0), max(_SOFT * eye, 0.5))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(THICK * eye / 2) + 1,) * 2)
    skin = cv2.morphologyEx(soft, cv2.MORPH_CLOSE, disc)
    skin = cv2.GaussianBlur(skin, (0, 0), EVEN * eye)
    fullest, filling = (np.maximum(skin - level, 0) for level in (patch, soft))
    # Closing fills something everywhere in beards and noise; what is to go is more than that.
    filling = np.maximum(filling - filling[np.abs(across) > ASIDE[1]].mean(0), 0)
    filling = np.maximum(filling - cv2.GaussianBlur(filling, (0, 0), AROUND * eye), 0)
    aside = across[:, None] - _slope(filling.mean(2), out, across) * np.maximum(out, 0)
    filling = np.maximum(filling, cv2.GaussianBlur(filling, (0, 0), max(_SMOOTH * eye, 0.5)))
    filling = np.minimum(DEEPER * filling, fullest)  # or what is beside the line becomes lighter than skin
    where = smoothstep(out - further, *BEGINS) * (1 - smoothstep(out, *ENDS))
    grain = np.clip(np.roll(patch - soft, -half // 2, axis=0), -GRAIN, GRAIN)
    filling += grain * np.minimum(filling / GRAIN, 1)
    filling *= (share * where * (1 - smoothstep(np.abs(aside), *ASIDE))).astype(np.float32)[..., None]
    ends = np.array([[0, 0], [width, 0], [0, len(across)], size]) @ turn.T + place[:, 2]
    x0, y0, x1, y1 = bounds(ends, rgb.shape)
    if x1 <= x0 or y1 <= y0:
        return
    place[:, 2] -= x0, y0
    area = rgb[y0:y1, x0:x1]
    change = cv2.warpAffine(filling, place, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    area[:] = np.clip(area + change + 0.5, 0, 255).astype(np.uint8)


def _slope(filling: np.ndarray, out: np.ndarray, across: np.ndarray) -> float:
    """How far a line moves across for each step outwards from the corner, -SLOPE..SLOPE.

    Args:
        filling: (h, w) how dark it is.
        out: (w,) outwards from the corner, over the eye distance.
        across: (h,) across the line.
    """
    near = np.abs(across)[:, None] <= ASIDE[1] + SLOPE * np.maximum(out, 0)
    weight = filling * (near & (out > 0) & (out < ENDS[0]))
    held = _HELD * float((out > 0).sum())
    return float(np.clip((weight * out * across[:, None]).sum() / ((weight * out**2).sum() + held), -SLOPE, SLOPE))
