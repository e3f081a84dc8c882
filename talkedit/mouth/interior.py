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
from talkedit.facemodel.align import similarity
from talkedit.geometry.openings import smoothstep
from talkedit.mouth.alignment import polygon
from talkedit.mouth.rows import (
    MIDDLE,
    SURE,
    Row,
    beside_lips,
    brightness,
    depth,
    gap_of,
    row_end,
    skin_around,
    split,
    toothness,
)

# Cavity colour as a share of the lips' mean colour where the source shows no cavity of its own.
CAVITY_SHARE = np.float32([0.24, 0.18, 0.18])
RIM = 0.012  # lips around the source's mouth that come along with its inside, over the eye distance
# Within this share of the eye distance from a lip, a row gives up its own width and moves as the lip does: what shows
# there is lip or gum, and a row that slid along the lip would bare the cavity between the two.
LIP_HOLD = 0.05
# Over which gaps of the source's lips, in eye distances, its mouth shows more and more. Below, they are closed.
OPEN = (0.01, 0.025)
SHOWS_TEETH = (0.015, 0.04)  # the same for hidden teeth: in a narrower gap all is shadow
LIP_EDGE = 0.011  # softness of the inner edge of lips that were closed, over the eye distance
LIP_MIDDLE = 0.5  # share of a lip, about, that hidden teeth move with
LIP_KEEPS = 0.025  # width of what belongs to a lip, not to the other lip's row, over the eye distance
SEAM = 0.7  # the same where the mouth showed, in pixels: its own rim already makes the edge
# Whole lips with both corners, from the same corner on.
_UPPER_LIP = np.arange(0, 11)
_LOWER_LIP = np.r_[0, np.arange(19, 9, -1)]
# How much of a mouth's widening its inside takes part in: cheeks stretch, teeth do not.
WIDENING = 0.5
GAIN = (0.6, 1.1)  # how far remembered teeth are made darker or lighter
SHADOW = (0.45, 0.8)  # own pixels this much darker than remembered teeth are the lips' shadow on them
LOWER_SHOWS = (0.002, 0.008)  # area of lower teeth that the source shows, in squared eye distances
OVERLAP = 0.003  # area of teeth, in squared eye distances, that tells as much about their light as the skin does


def fill_mouth(
    picture: np.ndarray,
    frame: np.ndarray,
    warp: Warp,
    source: np.ndarray,
    target: np.ndarray,
    eye: float,
    blur: float = CRISP,
    behind: tuple[Row | None, Row | None] = (None, None),
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
        behind: upper and lower row of teeth, what the source's lips may hide of them.
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
    inside = polygon(t_loop, shape, grow=1.0) * hole
    if not inside.any():
        return
    gap = gap_of(source)
    moved = np.abs(target - source).max()
    if moved < 0.25:
        return  # the source's own pixels are already right

    gx, gy = np.meshgrid(np.arange(x0, x1, dtype=np.float32), np.arange(y0, y1, dtype=np.float32))
    # The lips' inner rim comes along, so that they go on into the mouth without an edge.
    shows = smoothstep(gap / eye, *OPEN)
    known = polygon(s_loop, shape, grow=max(1.0, RIM * eye)) * np.float32(shows)
    s_depth = depth(gx - corner[0], gy - corner[1], s_loop)
    upper_row, lower_row = behind
    area = frame[y0:y1, x0:x1]
    grey = brightness(area)
    end = None
    clear = polygon(s_loop, shape, -1.0)
    if upper_row is not None and shows > 0:
        upper_row = upper_row.registered(grey, clear, gx, gy, eye)
        end = row_end(upper_row.sample(gx, gy)[1], s_depth, np.abs(gx - source[:, 0].mean()) < MIDDLE * eye)
    edge_at = split(area, known, s_depth, end, SURE * eye / max(gap, 1.0))
    feather = max(blur, 0.008 * eye)
    soft = max(0.08, 1.5 * feather / max(gap, 1.0))
    # A row of teeth belongs to one jaw: what lies above the mouth's dark line is the upper's, the rest the lower's.
    is_lower = np.clip((s_depth - edge_at) / soft + 0.5, 0, 1)
    # In the corners of a smile the lips' rims reach beyond that line; they stay with their lips.
    by_upper, by_lower = beside_lips(gx - corner[0], gy - corner[1], s_loop, LIP_KEEPS * eye)
    is_lower = is_lower + (1 - is_lower) * by_lower * (1 - by_upper)
    is_lower = is_lower * (1 - by_upper * (1 - by_lower))
    if lower_row is not None and shows > 0:
        lower_row = lower_row.registered(grey, clear * is_lower, gx, gy, eye)
    known = cv2.GaussianBlur(known, (0, 0), feather)

    cavity = _cavity_colour(frame, source, known, (x0, y0))
    # Lips and teeth shade the cavity: darkest under the upper row, lighter where the tongue lies.
    t_depth = depth(gx - corner[0], gy - corner[1], t_loop)
    mouth = cavity * (0.55 + 0.45 * smoothstep(t_depth, 0.1, 0.8))[..., None]
    light = skin_around(frame, source)
    layers = []
    for lip, mine, row in ((_UPPER_LIP, 1 - is_lower, upper_row), (_LOWER_LIP, is_lower, lower_row)):
        shift = _row_shift(gx, gy, source[lip], target[lip], LIP_HOLD * eye)
        moved_x, moved_y = gx - shift[0], gy - shift[1]
        colour = cv2.remap(frame, moved_x, moved_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        seen = cv2.remap(known * mine, moved_x - corner[0], moved_y - corner[1], cv2.INTER_LINEAR)
        hidden = None if row is None else row.sample(*_rigidly_back(gx, gy, source[lip], target[lip]))
        layers.append(_uncover(colour.astype(np.float32), seen, hidden, row, light, eye))
    # Lower teeth that show end where they end: nothing more of them is hidden behind the lip that moves with them.
    low, low_seen, *_ = layers[1]
    shown = float((low_seen * toothness(low, light)).sum()) / eye**2
    layers[1] = (*layers[1][:3], layers[1][3] * np.float32(1 - smoothstep(shown, *LOWER_SHOWS)))
    opened = np.float32(smoothstep(gap_of(target) / eye, *SHOWS_TEETH))
    for _, _, hidden, teeth in reversed(layers):  # the upper row lies before the lower
        mouth += (hidden - mouth) * (opened * teeth)[..., None]
    (upper, u_seen, *_), (lower, l_seen, *_) = layers
    total = (u_seen + l_seen)[..., None]
    shown = (upper * u_seen[..., None] + lower * l_seen[..., None]) / np.maximum(total, 1e-4)
    mouth += (shown - mouth) * np.clip(total * 1.3, 0, 1)
    edge = max(blur, shows * SEAM + (1 - shows) * LIP_EDGE * eye)
    alpha = np.minimum((1 + shows) * cv2.GaussianBlur(inside, (0, 0), edge), 1)[..., None]
    lips = _close(picture[rect], inside, 2 * edge)
    picture[rect] = np.clip(lips + (mouth - lips) * alpha + 0.5, 0, 255).astype(np.uint8)


def _uncover(
    own: np.ndarray,
    seen: np.ndarray,
    hidden: tuple[np.ndarray, np.ndarray] | None,
    row: Row | None,
    light: np.ndarray,
    eye: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What one row shows of itself, and what it hid.

    Args:
        own: (h, w, 3) float32, the source's own pixels.
        seen: (h, w) 0..1, where they are of this row.
        hidden: (h, w, 3) remembered colours and (h, w) how far they are teeth.
        row: where these come from; None where there are none.
        light: (3,) colour of the skin around the mouth.
        eye: outer-eye distance, pixels.

    Returns:
        own; seen, less where the source shows only the shadow that its lips throw on teeth; the remembered colours in
        this frame's light; how far they are teeth.
    """
    if row is None:
        return own, seen, own, np.zeros_like(seen)
    colour, teeth = hidden
    # The skin tells how bright the light is, not its colour: that is also make-up's and shadow's.
    lit = colour * np.clip(light.mean() / row.light.mean(), *GAIN)
    # Compared over a width of teeth, so that the lines between them do not count as shadow.
    mine, other = (cv2.GaussianBlur(brightness(v), (0, 0), 0.02 * eye) for v in (own, lit))
    bright = smoothstep(mine / np.maximum(other, 1), *SHADOW)
    # What both show tells more about the light between the lips than skin does.
    both = seen * bright * teeth * toothness(own, light)
    trust = OVERLAP * eye**2 * float(lit[teeth > 0.5].mean()) if (teeth > 0.5).any() else 1.0
    mine, other = (float((both * brightness(v)).sum()) for v in (own, lit))
    lit = np.minimum(lit * np.clip((mine + trust) / (other + trust), *GAIN), 255)
    return own, seen * (1 - teeth * (1 - bright)), lit, teeth


def _close(area: np.ndarray, hole: np.ndarray, sigma: float) -> np.ndarray:
    """(h, w, 3) float32: the lips continued into the hole, under which lies the unmoved source.

    Left there, it would show as a bright line along the lips wherever the mouth's edge is soft.
    """
    lips = 1 - hole
    near = cv2.GaussianBlur(lips, (0, 0), sigma)[..., None]
    spread = cv2.GaussianBlur(area * lips[..., None], (0, 0), sigma) / np.maximum(near, 1e-3)
    return area + (spread - area) * hole[..., None]


def _rigidly_back(
    x: np.ndarray, y: np.ndarray, source: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(h, w) where places of the edited frame lay in the source, for teeth: shifted and turned as the lip's middle is.

    Args:
        x, y: (h, w) pixel positions in the edited frame.
        source, target: (11, 2) one inner lip from corner to corner, before and after the edit.
    """
    weights = np.exp(-0.5 * (np.linspace(-1, 1, len(source)) / LIP_MIDDLE) ** 2)
    _, turn, _ = similarity(target, source, weights)
    share = (weights / weights.sum())[:, None]
    # In single precision, or NumPy works on whole pictures in double.
    t, s, turn = (np.asarray(v, np.float32) for v in ((share * target).sum(0), (share * source).sum(0), turn))
    back_x = (x - t[0]) * turn[0, 0] + (y - t[1]) * turn[1, 0] + s[0]
    back_y = (x - t[0]) * turn[0, 1] + (y - t[1]) * turn[1, 1] + s[1]
    return back_x, back_y


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
