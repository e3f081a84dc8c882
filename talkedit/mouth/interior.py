"""A first mouth: teeth move as rigid rows, never as rubber, and what was never seen is a plausible dark cavity.

The mesh has a hole between the lips. What shows there is layered: the upper row travels with the upper lip, the lower
row with the lower lip and jaw, each taken from the source's own open mouth and moved, hardly widened; where neither
reaches, a dark cavity in the colour of this mouth closes the gap.
"""

from __future__ import annotations

import cv2
import numpy as np

from talkedit.composite.softness import CRISP
from talkedit.composite.warp import Warp
from talkedit.geometry.openings import smoothstep

# Cavity colour as a share of the lips' mean colour where the source shows no cavity of its own.
CAVITY_SHARE = np.float32([0.34, 0.24, 0.24])
RIM = 0.012  # lips around the source's mouth that come along with its inside, over the eye distance
# Within this share of the eye distance from a lip, a row gives up its own width and moves as the lip does: what shows
# there is lip or gum, and a row that slid along the lip would bare the cavity between the two.
LIP_HOLD = 0.05
# Over which gaps of the source's lips, in eye distances, its mouth shows more and more. Below, they are closed.
OPEN = (0.01, 0.025)
LIP_EDGE = 0.011  # softness of the inner edge of lips that were closed, over the eye distance
SEAM = 0.7  # the same where the mouth showed, in pixels: its own rim already makes the edge
_UPPER = slice(3, 8)  # the middle of the upper inner lip in the loop's order (corner, upper lip, corner, lower lip)
_LOWER = slice(13, 18)
# Whole lips with both corners, from the same corner on.
_UPPER_LIP = np.arange(0, 11)
_LOWER_LIP = np.r_[0, np.arange(19, 9, -1)]
# How much of a mouth's widening its inside takes part in: cheeks stretch, teeth do not.
WIDENING = 0.5


def _polygon(points: np.ndarray, shape: tuple[int, int], grow: float = 0.0) -> np.ndarray:
    """(h, w) float32 0..1 anti-aliased mask of a closed (N, 2) polygon, grown or shrunk by some pixels."""
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    out = mask.astype(np.float32) / 255
    if grow:
        size = max(1, round(abs(grow)))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * size + 1, 2 * size + 1))
        out = cv2.dilate(out, kernel) if grow > 0 else cv2.erode(out, kernel)
    return out


def fill_mouth(
    picture: np.ndarray,
    frame: np.ndarray,
    warp: Warp,
    source: np.ndarray,
    target: np.ndarray,
    eye: float,
    blur: float = CRISP,
) -> None:
    """Paints the mouth's inside into the warped rectangle, in place.

    Args:
        picture: (h, w, 3) uint8, the warped rectangle.
        frame: (H, W, 3) uint8 source.
        warp: the rectangle's place and hits.
        source: (20, 2) inner-lip loop in the source frame, pixels.
        target: (20, 2) the same loop after the edit.
        eye: outer-eye distance in pixels, the scale of everything.
        blur: of the source, pixels; no painted edge is sharper.
    """
    pad = 4 + round(3 * LIP_EDGE * eye)
    both = np.concatenate([source, target])
    x0, y0 = np.maximum(np.floor(both.min(0)).astype(int) - pad, [warp.x0, warp.y0])
    h, w = warp.shape
    x1, y1 = np.minimum(np.ceil(both.max(0)).astype(int) + pad + 1, [warp.x0 + w, warp.y0 + h])
    if x1 - x0 < 3 or y1 - y0 < 3:
        return
    rect = np.s_[y0 - warp.y0 : y1 - warp.y0, x0 - warp.x0 : x1 - warp.x0]
    hole = (warp.hit[rect] < 0).astype(np.float32)
    shape = hole.shape
    corner = np.array([x0, y0], np.float32)
    t_loop, s_loop = target - corner, source - corner
    inside = _polygon(t_loop, shape, grow=1.0) * hole
    if not inside.any():
        return
    gap = np.linalg.norm(source[_UPPER].mean(0) - source[_LOWER][::-1].mean(0))
    moved = np.abs(target - source).max()
    if moved < 0.25:
        return  # the source's own pixels are already right

    gx, gy = np.meshgrid(np.arange(x0, x1, dtype=np.float32), np.arange(y0, y1, dtype=np.float32))
    # The lips' inner rim comes along, so that they go on into the mouth without an edge.
    shows = smoothstep(gap / eye, *OPEN)
    known = _polygon(s_loop, shape, grow=max(1.0, RIM * eye)) * np.float32(shows)
    s_depth = _depth(gx - corner[0], gy - corner[1], s_loop)
    split = _split(frame[y0:y1, x0:x1], known, s_depth)
    feather = max(blur, 0.008 * eye)
    soft = max(0.08, 1.5 * feather / max(gap, 1.0))
    # A row of teeth belongs to one jaw: what lies above the mouth's dark line is the upper's, the rest the lower's.
    is_lower = np.clip((s_depth - split) / soft + 0.5, 0, 1)
    known = cv2.GaussianBlur(known, (0, 0), feather)

    cavity = _cavity_colour(frame, source, known, (x0, y0))
    layers = []
    for lip, mine in ((_UPPER_LIP, 1 - is_lower), (_LOWER_LIP, is_lower)):
        shift = _row_shift(gx, gy, source[lip], target[lip], LIP_HOLD * eye)
        moved_x, moved_y = gx - shift[0], gy - shift[1]
        colour = cv2.remap(frame, moved_x, moved_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        seen = cv2.remap(known * mine, moved_x - corner[0], moved_y - corner[1], cv2.INTER_LINEAR)
        layers.append((colour.astype(np.float32), seen[..., None]))

    (upper, u_seen), (lower, l_seen) = layers
    depth = _depth(gx - corner[0], gy - corner[1], t_loop)
    total = u_seen + l_seen
    shown = (upper * u_seen + lower * l_seen) / np.maximum(total, 1e-4)
    share = np.clip(total * 1.3, 0, 1)
    # The lips shade the cavity: darker right under the upper lip than in its middle.
    shade = 0.8 + 0.2 * np.clip(depth * 2, 0, 1)[..., None]
    mouth = shown * share + cavity * shade * (1 - share)
    edge = max(blur, shows * SEAM + (1 - shows) * LIP_EDGE * eye)
    alpha = np.minimum((1 + shows) * cv2.GaussianBlur(inside, (0, 0), edge), 1)[..., None]
    area = _close(picture[rect], inside, 2 * edge)
    picture[rect] = np.clip(area + (mouth - area) * alpha + 0.5, 0, 255).astype(np.uint8)


def _close(area: np.ndarray, hole: np.ndarray, sigma: float) -> np.ndarray:
    """(h, w, 3) float32: the lips continued into the hole, under which lies the unmoved source.

    Left there, it would show as a bright line along the lips wherever the mouth's edge is soft.
    """
    lips = 1 - hole
    near = cv2.GaussianBlur(lips, (0, 0), sigma)[..., None]
    spread = cv2.GaussianBlur(area * lips[..., None], (0, 0), sigma) / np.maximum(near, 1e-3)
    return area + (spread - area) * hole[..., None]


def _row_shift(
    x: np.ndarray, y: np.ndarray, source: np.ndarray, target: np.ndarray, hold: float
) -> tuple[np.ndarray, np.ndarray]:
    """(h, w) x and y displacement of a row of teeth: up and down with its lip along the mouth, sideways as one piece.

    Args:
        x, y: (h, w) pixel positions in the edited frame.
        source, target: (11, 2) one inner lip from corner to corner, before and after the edit.
        hold: distance from the lip, pixels, over which the row lets go of the lip's own sideways movement.
    """
    axis = target[-1] - target[0]
    axis = axis / max(float(np.linalg.norm(axis)), 1e-6)
    across = np.array([-axis[1], axis[0]])
    moved = target - source
    along_lip = np.maximum.accumulate((target - target[0]) @ axis + np.arange(len(target)) * 1e-4)
    along, over = moved @ axis, moved @ across
    u = (x - target[0, 0]) * axis[0] + (y - target[0, 1]) * axis[1]
    v = (x - target[0, 0]) * across[0] + (y - target[0, 1]) * across[1]
    away = (v - np.interp(u, along_lip, (target - target[0]) @ across)) / hold
    taken = WIDENING + (1 - WIDENING) * np.exp(-(away**2))
    a, o = np.interp(u, along_lip, along), np.interp(u, along_lip, over)
    a = along.mean() + taken * (a - along.mean())
    shift_x, shift_y = a * axis[0] + o * across[0], a * axis[1] + o * across[1]
    return shift_x.astype(np.float32), shift_y.astype(np.float32)


def _depth(x: np.ndarray, y: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """Position between the lips: 0 at the upper inner lip's middle, 1 at the lower's."""
    upper, lower = loop[_UPPER].mean(0), loop[_LOWER].mean(0)
    axis = lower - upper
    length = max(float(np.linalg.norm(axis)), 1.0)
    axis = axis / length
    return (((x - upper[0]) * axis[0] + (y - upper[1]) * axis[1]) / length).astype(np.float32)


def _split(area: np.ndarray, known: np.ndarray, depth: np.ndarray) -> float:
    """Depth of the dark line between the rows of teeth; late where all is bright, as upper teeth show most.

    A soft minimum of the brightness over depth, so that it does not jump from frame to frame.
    """
    inside = known > 0.5
    if inside.sum() < 12:
        return 0.5
    level = area[inside].astype(np.float32).mean(1)
    bins = np.linspace(0.15, 0.95, 9)
    near = np.exp(-0.5 * ((depth[inside][:, None] - bins) / 0.08) ** 2)
    profile = (near * level[:, None]).sum(0) / np.maximum(near.sum(0), 1e-3)
    contrast = profile / max(float(profile.max()), 1.0)
    weight = np.exp(-8 * contrast) * np.linspace(0.5, 1.5, len(bins))
    return float((weight * bins).sum() / weight.sum())


def _cavity_colour(frame: np.ndarray, source: np.ndarray, known: np.ndarray, origin: tuple[int, int]) -> np.ndarray:
    """(3,) float32 colour of the dark inside: this mouth's own where it shows, else a share of the lip colour."""
    ring = np.round(source + (source - source.mean(0)) * 0.12).astype(int)
    ring[:, 0] = np.clip(ring[:, 0], 0, frame.shape[1] - 1)
    ring[:, 1] = np.clip(ring[:, 1], 0, frame.shape[0] - 1)
    guess = frame[ring[:, 1], ring[:, 0]].astype(np.float32).mean(0) * CAVITY_SHARE
    x0, y0 = origin
    area = frame[y0 : y0 + known.shape[0], x0 : x0 + known.shape[1]].astype(np.float32)
    inside = area[known > 0.6]
    if len(inside) < 12:
        return guess
    level = inside.mean(1)
    own = inside[level <= np.percentile(level, 25)].mean(0)
    trust = min(len(inside) / 120, 0.8)
    return np.minimum(own * trust + guess * (1 - trust), guess * 1.8)
