"""Eyes that an edit widens: what the lids bare is eyeball, drawn anew instead of stretched.

The mesh stretches the strip under a rising lid, and a round iris comes out oval. The eyeball itself does not move, so
the frame's own pixels stay where they are; where a lid hid it, the iris goes on as its own rings and the white as its
own colour. The lid's edge with its lashes is the mesh's and lies over it.
"""

from __future__ import annotations

import cv2
import numpy as np

from talkedit.composite.warp import Warp, bounds
from talkedit.geometry.openings import smoothstep
from talkedit.mouth.alignment import polygon
from talkedit.track.topology import IRISES, LEFT_EYE, RIGHT_EYE

# Over which growth of the opening this sets in, and from which height of it, over the eye's width, on.
WIDENED, OPEN = (1.04, 1.14), (0.1, 0.18)
# The edge of the upper lid, with its lashes and their shade, and of the lower, over the eye's width: in the source, and
# what of it lies over the eyeball after the edit.
EDGES, KEPT = (0.06, 0.01), (0.03, 0.03)
# An iris nearer to a corner of the eye than that, over the eye's width, hardly shows that it is stretched, and all that
# is drawn beside it is a guess: it is left to the mesh.
ASIDE = (0.25, 0.34)
BESIDE = (0.8, 1.2)  # how far beside the iris's middle, in radii, the iris ends
CORNER = (0.08, 0.24)  # an iris nearer to a corner of the eye than that, over the eye's width, lies under lashes too
SOFT = 0.8  # pixels, of all edges
SMALLEST = 14.0  # pixels; smaller eyes show no iris to speak of
# Nor do eyes in pictures that are so soft, over the iris's radius: what is drawn would be of but a few colours.
VAGUE = (0.085, 0.12)
# Rings of an iris up to so many of its radii, and where it passes into the white.
RINGS, REACH, LIMBUS = 14, 1.12, (0.9, 1.1)
# A highlight is so much brighter, over white's or skin's brightness, than the iris and what lies within so many of the
# iris's radii. It lies that near to the iris's middle, and so many radii at most above the tracked lid.
GLEAM, AROUND, INNER, HIGHER = (0.4, 0.7), 0.9, 0.8, 0.8
# What lies around it is so dark on average, over the same: lids that shine are no highlights.
DIM = (0.45, 0.65)
# Where the white, its brighter quarter, is so little lighter than the iris, over skin's brightness, the mesh does less
# harm than what would be drawn.
LIGHTER = (0.25, 0.38)
SIDES = 0.45  # its sides are that far away, over the iris's radius
FEW = 6  # pixels of the white that do not tell its colour
UNLIT = (0.15, 0.4)  # how much lighter than the iris they are, over all of the white, where no light falls on them
SIDE = (-0.5, 0.5)  # from where to where, in radii beside the iris's middle, one side of it passes into the other
# How much light is left right under the lid, and how deep its shadow falls, over the iris's radius.
SHADED, SHADOW = 0.6, 0.9
# More of it is left, but no more than the last, where so many pixels within such a share of that depth show it.
TELLS, WITHIN, LEAST_SHADED = 6, 0.6, 0.88


def widen_eyes(
    picture: np.ndarray,
    frame: np.ndarray,
    warp: Warp,
    landmarks: np.ndarray,
    edited: np.ndarray,
    strength: float = 1.0,
    blur: float = 0.0,
) -> None:
    """Redraws eyeballs between lids that the edit opened further, in place.

    Args:
        picture: (h, w, 3) uint8, the warped rectangle.
        frame: (H, W, 3) uint8 source.
        warp: the rectangle's place.
        landmarks: (478, 3) tracked, pixels of the frame.
        edited: (468, ≥2) where the edit puts the first of them.
        strength: 0..1; less where glasses mirror and bend what is behind them.
        blur: of the frame, pixels.
    """
    for ring, iris in zip((RIGHT_EYE, LEFT_EYE), IRISES, strict=True):
        radius = float(np.linalg.norm(landmarks[iris[1], :2] - landmarks[iris[3], :2])) / 2
        lids, middle = (landmarks[ring, :2], edited[ring, :2]), landmarks[iris[0], :2]
        shown = strength * float(1 - smoothstep(blur / max(radius, 1e-6), *VAGUE))
        _widen(picture, frame, warp, *lids, middle, radius, shown)


def _widen(
    picture: np.ndarray,
    frame: np.ndarray,
    warp: Warp,
    before: np.ndarray,
    after: np.ndarray,
    centre: np.ndarray,
    radius: float,
    strength: float,
) -> None:
    """One eye, given its (16, 2) lids before and after, and its iris."""
    width = float(np.linalg.norm(before[8] - before[0]))
    areas = [cv2.contourArea(np.ascontiguousarray(lids, np.float32)) for lids in (before, after)]
    if width < SMALLEST or radius < 0.15 * width or areas[0] <= 0:
        return
    strength *= float(smoothstep(areas[1] / areas[0], *WIDENED) * smoothstep(areas[0] / width**2, *OPEN))
    along = (centre - before[0]) @ (before[8] - before[0]) / width**2
    strength *= float(smoothstep(min(along, 1 - along), *ASIDE))
    x0, y0, x1, y1 = bounds(np.concatenate([before, after]), frame.shape, 3)
    x0, y0 = max(x0, warp.x0), max(y0, warp.y0)
    x1, y1 = min(x1, warp.x0 + warp.shape[1]), min(y1, warp.y0 + warp.shape[0])
    if strength == 0 or x1 - x0 < 4 or y1 - y0 < 4:
        return
    rect = np.s_[y0 - warp.y0 : y1 - warp.y0, x0 - warp.x0 : x1 - warp.x0]
    corner, shape = np.array([x0, y0]), (y1 - y0, x1 - x0)
    own = frame[y0:y1, x0:x1].astype(np.float32)
    known, beneath = _between(before - corner, shape, width, EDGES)
    x, y = np.arange(x0, x1, dtype=np.float32)[None], np.arange(y0, y1, dtype=np.float32)[:, None]
    # Over the iris the lid has nothing but iris to take along.
    beside = smoothstep(np.abs(x - centre[0]) / radius, *BESIDE)
    ends = np.minimum(np.abs(x - before[0, 0]), np.abs(x - before[8, 0]))
    beside = np.maximum(beside, 1 - smoothstep(ends / width, *CORNER))
    bared, under = _between(after - corner, shape, width, (KEPT[0] * beside, KEPT[1]))
    away, side = np.hypot(x - centre[0], y - centre[1]) / radius, smoothstep((x - centre[0]) / radius, *SIDE)
    if ((known > 0.5) & (away < 1)).sum() < 12:
        return
    level = own.min(2)
    dark = float(np.median(level[(known > 0.5) & (away < 1)]))
    white = (known > 0.5) & (away > LIMBUS[1])
    strength *= _told_apart(level, polygon(before - corner, shape) < 0.5, white, dark)
    # Highlights stay with the eyeball: known right up to the lid, and not taken along by it.
    gleam = _gleam(level, before - corner, white, dark, away, radius)
    known = np.maximum(known, gleam)
    source = warp.source[rect] - np.float32([x0, y0])
    taken = cv2.remap(gleam, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    plain = cv2.morphologyEx(picture[rect], cv2.MORPH_OPEN, _disc(radius))
    left = _left_under_lid(own.mean(2), white, beneath / radius)
    light = left + (1 - left) * smoothstep(under / radius, 0, SHADOW)
    ball = known[..., None] * own + (1 - known[..., None]) * _eyeball(own, known > 0.5, away, side, light)
    taken, share = strength * taken[..., None], strength * bared[..., None]
    around = picture[rect] * (1 - taken) + plain * taken
    picture[rect] = (around * (1 - share) + ball * share + 0.5).astype(np.uint8)


def _told_apart(level: np.ndarray, skin: np.ndarray, white: np.ndarray, dark: float) -> float:
    """0..1: the white is brighter than the iris; a pale iris that hardly is cannot be drawn on without its white.

    Args:
        level: (h, w) brightness of the darkest channel.
        skin, white: (h, w) bool, where that is skin's around the eye, and the white's.
        dark: brightness of the iris.
    """
    if white.sum() <= FEW or not skin.any():
        return 1.0
    lighter = float(np.percentile(level[white], 75)) - dark
    return float(smoothstep(lighter / max(float(np.median(level[skin])), 1.0), *LIGHTER))


def _disc(radius: float) -> np.ndarray:
    """Structuring element that no highlight of an iris of this radius, pixels, is as large as."""
    size = 2 * round(AROUND * radius / 2) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def _gleam(
    level: np.ndarray, lids: np.ndarray, white: np.ndarray, dark: float, away: np.ndarray, radius: float
) -> np.ndarray:
    """(h, w) float32 0..1, how far a pixel is one of a small highlight on the iris.

    Args:
        level: (h, w) brightness of the darkest channel: highlights have no colour.
        lids: (16, 2) tracked.
        white: (h, w) bool, where that is the white's.
        dark: brightness of the iris.
        away: (h, w) distance from the iris's middle, in radii.
        radius: of the iris, pixels.
    """
    # The white in shadow says less of how bright highlights are than the skin around the eye does.
    beside = level[white], level[polygon(lids, level.shape) < 0.5]
    bright = max([dark, 1.0, *(float(np.median(v)) for v in beside if len(v))])
    disc = _disc(radius)
    around = cv2.morphologyEx(level, cv2.MORPH_OPEN, disc)
    out = smoothstep((level - np.maximum(around, dark)) / bright, *GLEAM)
    out = out * (away < INNER) * polygon(lids, level.shape, HIGHER * radius)
    least = np.minimum(cv2.blur(level, disc.shape), _beside(level, radius))
    out = out * (1 - smoothstep(least / bright, *DIM))
    return cv2.GaussianBlur(cv2.dilate(out.astype(np.float32), np.ones((3, 3), np.uint8)), (0, 0), SOFT)


def _beside(level: np.ndarray, radius: float) -> np.ndarray:
    """(h, w) the brighter of what lies on both sides of a place, other highlights left out.

    Between lids nearly shut a highlight has lids above and below it, but iris there; where a lid shines, lid is there.
    """
    off = max(1, round(SIDES * radius))
    level = cv2.morphologyEx(level, cv2.MORPH_OPEN, np.ones((1, off), np.uint8))
    sides = np.zeros((1, 2 * off + 1), np.uint8)
    sides[0, [0, -1]] = 1
    return cv2.dilate(cv2.blur(level, (3, 3)), sides, borderType=cv2.BORDER_REPLICATE)


def _between(
    lids: np.ndarray, shape: tuple[int, int], width: float, edges: tuple[np.ndarray | float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """(h, w) float32 0..1, how far a pixel lies between (16, 2) lids and clear of their edges; how far under the upper.

    Args:
        width: of the eye, pixels.
        edges: of the upper and the lower lid, over the width; the first may differ from column to column, (1, w).
    """
    inside, under = polygon(lids, shape), None
    for lid, edge in zip((lids[:9], np.concatenate([lids[8:], lids[:1]])), edges, strict=True):
        line = np.ones(shape, np.uint8)
        cv2.polylines(line, [np.round(lid * 16).astype(np.int32)], False, 0, 1, cv2.LINE_8, 4)
        away = cv2.distanceTransform(line, cv2.DIST_L2, 5)
        inside = inside * np.clip((away - edge * width) / np.maximum(edge * width, 1.0), 0, 1)
        under = away if under is None else under
    return cv2.GaussianBlur(inside, (0, 0), SOFT), under


def _left_under_lid(level: np.ndarray, white: np.ndarray, under: np.ndarray) -> float:
    """How much of the white's light is left right under the lid: tracked lids may lie below the real one.

    Args:
        level: (h, w) brightness.
        white: (h, w) bool, where that is the white's.
        under: (h, w) depth under the lid, in radii.

    Returns:
        ``SHADED`` to ``LEAST_SHADED``.
    """
    near, deep = white & (under < WITHIN * SHADOW), white & (under > SHADOW)
    if min(near.sum(), deep.sum()) < TELLS:
        return SHADED
    lost = 1 - float(np.median(level[near]) / max(np.median(level[deep]), 1.0))
    share = 1 - float(np.median(smoothstep(under[near], 0, SHADOW)))
    return float(np.clip(1 - lost / share, SHADED, LEAST_SHADED))


def _eyeball(own: np.ndarray, known: np.ndarray, away: np.ndarray, side: np.ndarray, light: np.ndarray) -> np.ndarray:
    """(h, w, 3) float32 the eyeball where it was not seen: rings of the iris, and the white, on either side its own.

    In an eye that looks aside the white is bright on one side of the iris and hardly there on the other.

    Args:
        own: (h, w, 3) float32 frame.
        known: (h, w) bool, where it shows the eyeball.
        away: (h, w) distance from the iris's middle, in radii.
        side: (1, w) 0..1, how far a column lies on the second side of the iris.
        light: (h, w) 0..1 share of its light that the upper lid leaves it after the edit.
    """
    white = known & (away > LIMBUS[1])
    shown = []
    for here in (side < 0.5, side >= 0.5):
        if (white & here).sum() > FEW:
            shown.append(_seen_rings(own, known, away, here))
        else:
            shown.append(_seen_rings(own, known, away, np.ones_like(here), _light_left(own, known, away, white & here)))
    first, second = shown
    return ((first + (second - first) * side[..., None]) * light[..., None]).astype(np.float32)


def _light_left(own: np.ndarray, known: np.ndarray, away: np.ndarray, few: np.ndarray) -> float:
    """0..1, the share of the white's light on a side of the eye that shows but a few, (h, w) bool, pixels of it.

    They do not tell its colour, but that no light falls on it: then they are as dark as the iris.
    """
    if not few.any():
        return 1.0
    there, white, iris = (
        float(np.median(own[where].mean(1))) for where in (few, known & (away > LIMBUS[1]), known & (away < LIMBUS[0]))
    )
    lit = float(smoothstep((there - iris) / max(white - iris, 1.0), *UNLIT))
    return lit + (1 - lit) * min(1.0, there / max(white, 1.0))


def _seen_rings(
    own: np.ndarray, known: np.ndarray, away: np.ndarray, here: np.ndarray, left: float = 1.0
) -> np.ndarray:
    """(h, w, 3) the eyeball of `_eyeball`, unshaded, as one side of it shows it: (1, w) bool ``here``.

    So much is ``left`` of the white's light.
    """
    ring = np.minimum(away / REACH * RINGS, RINGS - 1).astype(int)
    iris, white = known & (away < REACH) & (here | (away < LIMBUS[0])), known & (away > LIMBUS[1]) & here
    rings = np.full((RINGS, 3), np.nan, np.float32)
    for k in np.unique(ring[iris]):  # the median leaves highlights out
        rings[k] = np.median(own[iris & (ring == k)], axis=0)
    found = np.flatnonzero(np.isfinite(rings[:, 0]))
    if not len(found):
        return own
    place = (np.arange(RINGS) + 0.5) / RINGS * REACH
    colours = np.stack([np.interp(away, place[found], rings[found, c]) for c in range(3)], 2)
    sclera = rings[found[-1]]
    if white.sum() > FEW:  # the brighter half: corners and what lies in shadow are not its colour
        level = own[white].mean(1)
        sclera = np.median(own[white][level >= np.median(level)], axis=0)
    outside = smoothstep(away, *LIMBUS)[..., None]
    return (1 - outside) * colours + outside * sclera * left
