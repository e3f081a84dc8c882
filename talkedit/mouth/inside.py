"""What one frame shows between the lips, taken apart: what belongs to the upper row of teeth, to the lower, to neither.

All of it is in the frame's own place; an edit moves each part as one piece (`talkedit.mouth.interior`).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from talkedit.composite.warp import bounds
from talkedit.geometry.openings import smoothstep
from talkedit.mouth.alignment import polygon
from talkedit.mouth.lips import beside_lips
from talkedit.mouth.parting import parting
from talkedit.mouth.registration import Registration
from talkedit.mouth.rows import (
    MIDDLE,
    SURE,
    Row,
    brightness,
    depth,
    gap_of,
    in_middle,
    redness,
    row_end,
    skin_around,
    split,
    toothness,
    width_of,
    with_stained,
)

# Over which gaps of the lips, in eye distances, a mouth shows more and more. Below, they are closed.
OPEN = (0.01, 0.025)
# Cavity colour as a share of the lips' mean colour where the source shows no cavity of its own; and how much redder it
# is from such a redness of the lips on: in grey pictures it is grey.
CAVITY_SHARE, CAVITY_RED, RED_LIPS = 0.27, np.float32([0.06, 0, 0]), 0.2
# Brightness of the darkest quarter of a mouth over its lips', over which that is no dark.
SHOWS_DARK = (0.35, 0.55)
FEW = 30  # pixels of the inside that tell its dark as well as the usual one does
RING = 0.12  # lips are looked at so far outside their inner edge, over the distance to the mouth's middle
# What lies nearer to the lips than that is theirs, not a row's, over the eye distance, and at most such a share of the
# gap; up to the last distance what looks like lips is.
RIM, THIN, NEAR = 0.013, 0.2, (0.012, 0.028)
REDDER, BRIGHTER = (0.65, 0.9), (0.4, 0.65)  # redness and brightness that look like lips, over theirs
# Over which gaps, over their width, tracked lips are those of a rounded mouth, which lie far outside the real ones; and
# how much the share of lips in the rim between them, beside a half, counts for that. Teeth that fill such shares of it
# keep it from being stretched as skin. A mouth that was rounded in the frame before stays it with a gap that is less by
# the first of the last two, and with teeth that are more by the second, or it would be now this, now that.
ROUNDED, RIMMED, TOOTHED, STAYS = (0.36, 0.4), 0.4, (0.2, 0.26), (0.14, 0.06)
# Near the lips, what is so much redder than the teeth that are remembered there is the lips' light on them.
TINGED = (0.05, 0.12)
DIMMED = (0.7, 0.9)  # and what is so much darker is their shadow
# Tracked lips may lie inside the real ones, with teeth up to so far beyond them, over the eye distance.
UNDER = 0.02
# Over which area of the teeth that show, in squared eye distances, their line bends: in a slit it is any dark line.
BENDS = (0.01, 0.02)
SIDE = 0.08  # softness of the line between the rows, over the gap
# Within that distance of the line, over the eye distance, what is no tooth lies more and more behind both rows.
TORN = 0.06
BENT = (0.02, 0.04)  # how far from their line rows end where it is not seen, over the eye distance
BELIEVED = (0.4, 0.8)  # trust in a lower row that surely shows
# What shows between upper teeth and a lower lip so near below them, over the eye distance, is no part of a lower row
# that was never seen: crumbs of teeth and gaps, that would go down with the lip.
CRUMBS = 0.03
# What looks like teeth further below the remembered upper ones than that, over the eye distance, hangs from them as a
# crumb of others as the mouth opens; frames that show so much of the dark tell what it is.
HANGS, TOLD = 0.008, (0.0, 0.3)
# So near to a lip, over the eye distance, own upper teeth pass into the remembered ones, which have neither highlights
# nor a ragged edge where the lip covers them.
MELTS = (0.012, 0.05)
TELLS = (0.05, 0.35)  # how far own teeth tell the light of a row, over which it shows however narrow an edit's mouth is
FEATHER = 0.008  # softness of what is cut out, over the eye distance
GOES_ON = 0.03  # how far the inside is continued under the lips, about, over the eye distance
# Over which shares of the inside around it that fades, and darkens to what share of its brightness.
FADES, DARKENS, UNLIT = (0.02, 0.25), (0.05, 0.35), 0.2
# Rows touch where little is as dark between them, over their brightness, so near to the line, over the eye distance;
# how much of it, over what is bright, there is where they do and where they do not; and how much of either's height
# must show, clear of the line, to tell.
BETWEEN, NIGH, PARTED, BARED, CLEAR = (0.35, 0.6), 0.05, (0.1, 0.3), (0.004, 0.01), 0.008
# What is brighter than so much of the way from a mouth's darkest to its brightest (than more of it where the mouth is
# lit up behind them), and reaches up over the line from lower teeth, by less than that over the eye distance and than
# half their height, is their upper edge.
EDGES, SLIVER = (0.2, 0.5), 0.03
GAIN = (0.6, 1.1)  # how far remembered teeth are made darker or lighter
SHADOW = (0.45, 0.8)  # own pixels this much darker than remembered teeth are the lips' shadow on them
TOOTH = 0.02  # brightness of teeth is compared over such a width, over the eye distance
OVERLAP = 0.003  # area of teeth, in squared eye distances, that tells as much about their light as the skin does


@dataclass(frozen=True)
class Part:
    """What a frame's mouth shows of one row of teeth, and what is remembered of that.

    Attributes:
        own: (h, w, 4) float32, the row's own pixels times the share of the pixel that is the row's, and that share.
        beyond: the same of what the row's colours are continued with under its lip; all zero between the lips.
        shaded: (h, w) float32 0..1, own pixels that do not come along: those too dark for teeth where a wider mouth
            would show the row; without a lower row, crumbs below the upper one as the mouth opens.
        torn: (h, w) float32 0..1, own pixels that are no teeth, so near to the line between the rows that they would be
            torn apart as the mouth opens.
        row: remembered teeth, laid onto the own ones; None where there are none.
        gain: what the remembered colours are multiplied by.
        lit: 0..1, how far its own teeth tell the light that it lies in.
        trust: 0..1, how far the remembered teeth may show.
    """

    own: np.ndarray
    beyond: np.ndarray
    shaded: np.ndarray
    torn: np.ndarray
    row: Row | None
    gain: float
    lit: float
    trust: float


@dataclass(frozen=True)
class Inside:
    """The inside of a frame's mouth.

    Attributes:
        loop: (20, 2) float32 inner lips in the frame, pixels.
        eye: outer-eye distance, pixels.
        blur: of the source, pixels.
        shows: 0..1, the lips are open.
        rounded: 0..1, so rounded that its lips reach far into ``loop`` and cannot be told from its inside.
        corner: (2,) where the rectangle of the parts lies in the frame.
        parts: of the upper and of the lower row.
        shut: 0..1, the rows of teeth touch.
        cavity: (3,) float32 colour of the dark.
        dark: 0..1, how much of it this or an earlier frame shows: it is as light as it looks then, nothing shades it.
        pale: (h, w) float32 0..1, what looks like teeth in the rectangle.
        guess: a drawn upper row, where none was ever seen, and the gain of its colours.
        clenched: 0..1, no frame of the shot shows the dark.
    """

    loop: np.ndarray
    eye: float
    blur: float
    shows: float
    rounded: float
    corner: np.ndarray
    parts: tuple[Part, Part]
    shut: float
    cavity: np.ndarray
    dark: float
    pale: np.ndarray
    guess: tuple[Row, float] | None = None
    clenched: float = 0.0


@dataclass(frozen=True)
class _Look:
    """What a rectangle of the frame shows between the lips.

    Attributes:
        area, grey: (h, w, 3) uint8 and (h, w) float32.
        seen, like_teeth: (h, w) 0..1, the mouth's inside and what looks like teeth.
        between: (h, w) depth of each pixel, see `talkedit.mouth.rows.depth`.
        loop: (20, 2) inner lips in it.
        corner: (2,) of it in the frame.
        eye, feather: outer-eye distance and softness of edges, pixels.
    """

    area: np.ndarray
    grey: np.ndarray
    seen: np.ndarray
    like_teeth: np.ndarray
    between: np.ndarray
    loop: np.ndarray
    corner: np.ndarray
    eye: float
    feather: float


def look_inside(
    frame: np.ndarray,
    loop: np.ndarray,
    eye: float,
    blur: float,
    behind: tuple[Row | None, Row | None],
    registration: Registration,
    guess: Row | None = None,
    smiles: bool = False,
    clenched: float = 0.0,
) -> Inside:
    """Takes a mouth apart.

    Args:
        frame: (H, W, 3) uint8.
        loop: (20, 2) inner lips, pixels.
        eye: outer-eye distance, pixels.
        blur: of the frame, pixels.
        behind: upper and lower row of teeth where the pose puts them.
        registration: of these rows in this shot, told of this frame's index.
        guess: a drawn upper row where the pose puts it.
        smiles: without rows behind, bright teeth are taken for the upper ones.
        clenched: 0..1, no frame of the shot shows the dark behind teeth.
    """
    loop = np.asarray(loop, np.float32)
    x0, y0, x1, y1 = bounds(loop, frame.shape, 4 + round(2.5 * GOES_ON * eye))
    corner, area = np.array([x0, y0]), np.ascontiguousarray(frame[y0:y1, x0:x1])
    gap, light, lips = gap_of(loop), skin_around(frame, loop), _lip_colour(frame, loop)
    shows = float(smoothstep(gap / eye, *OPEN))
    # The skin tells how bright the light is, not its colour: that is also make-up's and shadow's.
    gains = [1.0 if row is None else float(np.clip(light.mean() / row.light.mean(), *GAIN)) for row in (*behind, guess)]
    drawn = None if guess is None else (guess, gains[2])
    if shows == 0 or min(area.shape[:2]) < 3:
        registration.rounded = 0.0
        gains[:2] = [gain * usual for gain, usual in zip(gains[:2], registration.light, strict=True)]
        rows = tuple(row and registration.hold(row, eye, k) for k, row in enumerate(behind))
        none, share = np.zeros((1, 1, 4), np.float32), np.zeros((1, 1), np.float32)
        kept = zip(rows, gains[:2], registration.trust, strict=True)
        return Inside(
            loop=loop,
            eye=eye,
            blur=blur,
            shows=0.0,
            rounded=0.0,
            corner=corner,
            parts=tuple(Part(none, none, share, share, row, gain, 0.0, float(trust)) for row, gain, trust in kept),
            shut=0.0,
            cavity=_known_cavity(lips, registration),
            dark=registration.dark,
            pale=share,
            guess=drawn,
        )

    feather = max(blur, FEATHER * eye)
    rgb, grey, here = area.astype(np.float32), brightness(area), loop - corner.astype(np.float32)
    red = redness(rgb)
    x, y = np.arange(area.shape[1], dtype=np.float32)[None], np.arange(area.shape[0], dtype=np.float32)[:, None]
    between = depth(x, y, here)
    seen, like_lips, away, near, rimmed = _seen(red, grey, here, eye, feather, lips)
    melts = 1 - smoothstep(away, *MELTS)
    like_teeth = toothness(rgb, light)
    like_teeth = np.maximum(like_teeth, seen * with_stained(rgb, like_teeth * seen, eye))
    look = _Look(area, grey, seen, like_teeth, between, here, corner, eye, feather)
    rows, teeth, lower, down, shut = _part(look, behind, registration, smiles)
    cavity = _cavity_colour(rgb, grey, seen, lips, registration)
    beyond = _continued(rgb, seen * np.float32(shows), lower, _side(look, down), eye)
    by_line = 1 - smoothstep(np.abs(down), 0, TORN)
    torn = [((1 - np.maximum(like_teeth, row)) * by_line).astype(np.float32) for row in teeth]
    broad = cv2.GaussianBlur(grey, (0, 0), TOOTH * eye)
    own, shaded, told = [], [], [0.0, 0.0]
    for k, share in enumerate((1 - lower, lower)):
        mine = seen * share
        if rows[k] is None:  # without teeth all moves as the lip does
            crumbs = _right_below(teeth[0], CRUMBS * eye) if k == 1 and rows[0] is not None else np.zeros_like(mine)
            shaded.append(crumbs * mine / np.maximum(mine + like_lips * share, 1e-3))
            mine += like_lips * share
            mine *= 1 - near * crumbs
        else:
            lit = rows[k].level(corner, grey.shape) * np.float32(gains[k])
            bright, more, told[k] = _relight(broad, mine * like_teeth, grey, lit, teeth[k], eye, registration.light[k])
            registration.light[k] = more
            gains[k] *= more
            remembered = rows[k].colours(corner, grey.shape)
            tinged = smoothstep(red - redness(remembered), *TINGED)
            dimmed = 1 - smoothstep(grey / np.maximum(lit * np.float32(more), 1), *DIMMED)
            theirs = near * teeth[k] * np.maximum(tinged, dimmed) * bright
            mine *= 1 - cv2.dilate(theirs.astype(np.float32), np.ones((3, 3), np.uint8))
            shaded.append(rows[k].where(corner, grey.shape, wide=True) * (1 - bright))
            if k == 0:  # only the shadow that the upper lip throws on teeth is seen there, not the teeth
                hangs = like_teeth * _beyond(teeth[0], eye)
                mine *= 1 - hangs * (1 - float(smoothstep(registration.dark, *TOLD)))
                mine *= (1 - teeth[k] * (1 - bright)) * (1 - melts * teeth[k] * float(smoothstep(told[k], *TELLS)))
            else:
                usual = toothness(remembered, rows[k].light)
                registration.compare(mine * teeth[k], like_teeth, usual, eye, k)
        mine *= np.float32(shows)
        own.append(_premultiplied(rgb, mine))
    tall = gap / max(width_of(loop), 1.0) + RIMMED * (rimmed - 0.5)
    rounded = _rounded(tall, float((seen * like_teeth).sum() / max(seen.sum(), 1e-6)), registration.rounded)
    registration.rounded = rounded
    shown = zip(own, beyond, shaded, torn, rows, gains[:2], told, map(float, registration.trust), strict=True)
    return Inside(
        loop=loop,
        eye=eye,
        blur=blur,
        shows=shows,
        rounded=rounded,
        corner=corner,
        parts=tuple(Part(*of_row) for of_row in shown),
        shut=shut,
        cavity=cavity,
        dark=registration.dark,
        pale=like_teeth,
        guess=drawn,
        clenched=clenched,
    )


def _right_below(teeth: np.ndarray, reach: float) -> np.ndarray:
    """(h, w) 0..1: no more than so many pixels below (h, w) upper teeth, or among them."""
    reach = max(1, round(reach))
    return cv2.dilate(teeth, np.ones((reach + 1, 1), np.uint8), anchor=(0, reach))


def _beyond(teeth: np.ndarray, eye: float) -> np.ndarray:
    """(h, w) 0..1: further than ``HANGS`` below the last of (h, w) upper teeth of a column."""
    below = np.maximum.accumulate(teeth, axis=0) - teeth
    return below * (1 - _right_below(teeth, HANGS * eye))


def _premultiplied(rgb: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(h, w, 4) float32 colours times the share that shows, and that share."""
    return cv2.merge([*(channel * share for channel in cv2.split(rgb)), share])


def _lip_colour(frame: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """(3,) float32 mean colour of the lips around their (20, 2) inner edges."""
    ring = np.round(loop + (loop - loop.mean(0)) * RING).astype(int)
    ring = np.clip(ring, 0, [frame.shape[1] - 1, frame.shape[0] - 1])
    return np.maximum(frame[ring[:, 1], ring[:, 0]].astype(np.float32).mean(0), 1)


def _seen(
    red: np.ndarray, grey: np.ndarray, loop: np.ndarray, eye: float, feather: float, lips: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """What is between the lips and not the lips themselves, and what is but looks like lips.

    Args:
        red, grey: (h, w) float32 redness and brightness.
        loop: (20, 2) inner lips in it.
        eye: outer-eye distance, pixels.
        feather: softness of the edge, pixels.
        lips: (3,) their colour.

    Returns:
        (h, w) 0..1 each; (h, w) how far from the lips, over the eye distance; (h, w) 0..1, so near to them that it may
        be their rim; 0..1, how much of that looks like lips.
    """
    inside = polygon(loop, grey.shape)
    away, _, _ = beside_lips(loop, np.zeros_like(loop), inside, MELTS[1] * eye)
    body = inside * np.clip((away - max(1.0, min(RIM * eye, THIN * gap_of(loop)))) / feather + 0.5, 0, 1)
    # Tracked lips may lie outside the real ones, most of all in the corners.
    red = smoothstep(red / max(float(redness(lips)), 0.05), *REDDER)
    away = away / eye
    near = 1 - smoothstep(away, *NEAR)
    like = red * smoothstep(grey / float(lips.mean()), *BRIGHTER) * near
    rimmed = float((body * like).sum() / max(float((body * near).sum()), 1e-6))
    like = cv2.dilate(like.astype(np.float32), np.ones((3, 3), np.uint8))  # with the pixels that lips shine through
    return (body * (1 - like)).astype(np.float32), (body * like).astype(np.float32), away, near, rimmed


def _part(
    look: _Look, behind: tuple[Row | None, Row | None], registration: Registration, smiles: bool
) -> tuple[tuple[Row | None, Row | None], list[np.ndarray], np.ndarray, np.ndarray, float]:
    """The rows laid onto what the frame shows of them, where their teeth lie, and how far a place is the lower's.

    A row of teeth belongs to one jaw: what lies above the mouth's dark line is the upper's, the rest the lower's; but
    near where that line should be and is not seen, what looks like teeth is the remembered row's that lies there.

    Args:
        look: what the frame shows.
        behind: the rows where the pose puts them.
        registration: of the rows.
        smiles: see `talkedit.mouth.rows.split`.

    Returns:
        both rows; (h, w) 0..1 for each; (h, w) 0..1; (h, w) how far below the dark line, over the eye distance; 0..1,
        the rows touch.
    """
    grey, seen, like_teeth, between = look.grey, look.seen, look.like_teeth, look.between
    corner, eye = look.corner, look.eye
    gap, (h, w) = max(gap_of(look.loop), 1.0), grey.shape
    upper, lower = behind
    end, teeth = None, [np.zeros((h, w), np.float32), np.zeros((h, w), np.float32)]
    middle = in_middle(np.arange(w, dtype=np.float32)[None], look.loop, eye, (h, w))
    if upper is not None:
        upper = registration.place(upper.moved(-corner), grey, seen, eye, 0).moved(corner)
        teeth[0] = upper.where(corner, (h, w))
    if lower is not None:
        lower = registration.place(lower.moved(-corner), grey, seen * (1 - teeth[0]), eye, 1).moved(corner)
        teeth[1] = lower.where(corner, (h, w))
    if upper is not None:
        end = row_end(teeth[0], between, middle)
    elif lower is not None:
        end = row_end(teeth[1], between, middle, is_lower=True)
    edge = split(look.area, seen, between, end, SURE * eye / gap, smiles)
    line, told = _line(look, edge)
    down = (between - line) * np.float32(gap / eye)
    below = _side(look, down)
    bent = like_teeth * (1 - smoothstep(np.abs(down), *BENT)) * (1 - told)
    if lower is not None:
        below = below + (1 - below) * teeth[1] * bent
    touch = 0.0
    if upper is not None and lower is not None:
        touch = _touch(grey, seen * middle, like_teeth, down, teeth[1], eye)
    if upper is not None:
        # Teeth that end a little lower than they were seen are still the upper ones where no lower ones show.
        shows = 0.0 if lower is None else smoothstep(registration.trust[1], *BELIEVED)
        shows = np.maximum(shows, _behind_dark(grey, seen, like_teeth))
        bent = bent * np.maximum(teeth[0], 1 - shows)
    else:
        bent = bent * teeth[0]
        below = np.maximum(below, _upper_edge(grey, seen, like_teeth, below, SLIVER * eye))
    return (upper, lower), teeth, (below * (1 - bent)).astype(np.float32), down, registration.together(touch)


def _line(look: _Look, depth: float) -> tuple[np.ndarray | float, np.ndarray | float]:
    """Depth of the line between rows that part at such a ``depth`` on the whole, and 0..1 how surely it is seen.

    Of single columns, (w,), where teeth enough show.
    """
    bends = smoothstep(float((look.seen * look.like_teeth).sum()) / look.eye**2, *BENDS)
    if bends == 0:
        return depth, 0.0
    near = cv2.dilate(look.seen, np.ones((2 * max(1, round(UNDER * look.eye)) + 1, 3), np.uint8))
    known = np.maximum(look.seen, near * look.like_teeth)
    line, told = parting(look.grey, known, look.between, depth, look.eye)
    return depth + bends * (line - depth), bends * told


def _side(look: _Look, down: np.ndarray) -> np.ndarray:
    """(h, w) 0..1: below the line between the rows, given (h, w) how far below it, over the eye distance."""
    soft = max(SIDE * gap_of(look.loop), 1.5 * look.feather)
    return np.clip(down * (look.eye / soft) + 0.5, 0, 1)


def _upper_edge(
    grey: np.ndarray, seen: np.ndarray, like_teeth: np.ndarray, below: np.ndarray, most: float
) -> np.ndarray:
    """(h, w) bool: above the line between the rows, the edge of what is the lower row's; left there it is a light line.

    Args:
        grey: (h, w) float32 brightness.
        seen, like_teeth: (h, w) 0..1, the mouth's inside and what looks like teeth.
        below: (h, w) 0..1, below the line.
        most: pixels that it may reach above that.
    """
    inside, lower = seen > 0.5, below > 0.5
    if not inside.any():
        return inside
    dark, light = np.percentile(grey[inside], (5, 90))
    out, top = np.zeros_like(inside), (inside.argmax(0), np.arange(inside.shape[1]))
    for share in EDGES:
        bright = (grey > dark + share * (light - dark)) & inside
        edge = np.minimum.accumulate((bright | lower)[::-1], axis=0)[::-1] & ~lower
        under = np.minimum.accumulate(bright | ~lower, axis=0) & lower
        tall, taller = edge.sum(0), (under & (like_teeth > 0.5)).sum(0)
        out |= edge & (tall < most) & (2 * tall < taller) & ~edge[top]  # what reaches the upper lip is the upper row
    # Dark lines between two teeth go with them, and no lines of what is lit up above do.
    tooth, out = np.ones((1, 2 * round(most / 2) + 1), np.uint8), out.astype(np.uint8)
    for how in (cv2.MORPH_CLOSE, cv2.MORPH_OPEN):
        out = cv2.morphologyEx(out, how, tooth)
    return (out > 0) & inside & ~lower


def _touch(
    grey: np.ndarray, middle: np.ndarray, like_teeth: np.ndarray, down: np.ndarray, lower: np.ndarray, eye: float
) -> float:
    """0..1: both rows show in the middle of the mouth, and no dark between them.

    Args:
        grey: (h, w) float32 brightness.
        middle, like_teeth: (h, w) 0..1, the middle of the mouth's inside, and what looks like teeth.
        down: (h, w) how far below the line between the rows, over the eye distance.
        lower: (h, w) 0..1 where the lower row's teeth lie.
        eye: outer-eye distance, pixels.
    """
    if not (middle > 0.5).any():
        return 0.0
    bright = max(float(np.percentile(grey[middle > 0.5], 90)), 1.0)
    dark = middle * (1 - smoothstep(grey / bright, *BETWEEN)) * (np.abs(down) < NIGH)
    teeth = middle * like_teeth
    out = 1 - smoothstep(float(dark.sum()) / max(float(teeth.sum()), 1.0), *PARTED)
    for row in (middle * (down < -CLEAR), teeth * lower):  # upper teeth may lie in shadow
        out = out * smoothstep(float(row.sum()) / (2 * MIDDLE * eye**2), *BARED)
    return float(out)


def _behind_dark(grey: np.ndarray, seen: np.ndarray, like_teeth: np.ndarray) -> np.ndarray:
    """(h, w) float32 0..1: below teeth, and below some dark under these; upper teeth do not go on there.

    Args:
        grey: (h, w) float32 brightness.
        seen, like_teeth: (h, w) 0..1, the mouth's inside and what looks like teeth.
    """
    teeth = seen * like_teeth
    above = np.maximum.accumulate(teeth * grey, axis=0)
    dark = seen * (1 - smoothstep(grey / np.maximum(above, 1), *BETWEEN)) * (above > 0)
    return np.maximum.accumulate(dark, axis=0).astype(np.float32)


def _continued(rgb: np.ndarray, seen: np.ndarray, lower: np.ndarray, side: np.ndarray, eye: float) -> list[np.ndarray]:
    """Colours of both rows go on around the inside, each on its own side, ever darker and fainter.

    Lips that move from teeth bare what was never seen; this is soft enough to pass for it. Upper teeth that reach down
    to the lower lip do not go on below it.

    Args:
        rgb: (h, w, 3) float32.
        seen: (h, w) 0..1, the inside.
        lower: (h, w) 0..1, how far a place of it is the lower row's.
        side: (h, w) 0..1, how far a place lies below the line between the rows.
        eye: outer-eye distance, pixels.

    Returns:
        two (h, w, 4) float32: colours times how far they go on, and how far.
    """

    def spread(part: np.ndarray) -> np.ndarray:
        small = cv2.resize(part, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        return cv2.GaussianBlur(small, (0, 0), max(0.5 * GOES_ON * eye, 0.5))

    small, whose = spread(_premultiplied(rgb, seen)), spread(seen * lower)
    whose /= np.maximum(small[..., 3], 1e-3)
    share, bright = (smoothstep(small[..., 3:], *over).astype(np.float32) for over in (FADES, DARKENS))
    small[..., :3] *= share * (UNLIT + (1 - UNLIT) * bright) / np.maximum(small[..., 3:], 1e-3)
    small[..., 3:] = share
    small, whose = (cv2.resize(part, seen.shape[::-1], interpolation=cv2.INTER_LINEAR) for part in (small, whose))
    whose = np.clip(whose, 0, 1)
    return [small * ((1 - seen) * part)[..., None] for part in ((1 - whose) * (1 - side), whose * side)]


def _rounded(tall: float, toothed: float, before: float) -> float:
    """0..1, how rounded a mouth is, given its height over its width, its share of teeth, and what it was before."""
    low, high = (limit - STAYS[0] * before for limit in ROUNDED)
    few, many = (limit + STAYS[1] * before for limit in TOOTHED)
    return float(smoothstep(tall, low, high) * (1 - smoothstep(toothed, few, many)))


def _relight(
    broad: np.ndarray,
    own: np.ndarray,
    grey: np.ndarray,
    lit: np.ndarray,
    teeth: np.ndarray,
    eye: float,
    usual: float,
) -> tuple[np.ndarray, float, float]:
    """How far own pixels are as bright as teeth, and the gain of the remembered ones.

    Args:
        broad: (h, w) brightness of the frame over the width of a tooth, so that lines between them are no shadow.
        own: (h, w) 0..1 where it shows teeth of this row.
        grey: (h, w) brightness of the frame.
        lit: (h, w) brightness of the remembered row in the light that the skin tells of.
        teeth: (h, w) 0..1 where that is teeth.
        eye: outer-eye distance, pixels.
        usual: the gain beside the skin's of the frames before.

    Returns:
        (h, w) 0..1; the gain beside the skin's, within ``GAIN`` together with it; 0..1, how far own teeth tell it.
    """
    bright = smoothstep(broad / np.maximum(cv2.GaussianBlur(lit, (0, 0), TOOTH * eye), 1), *SHADOW)
    # What both show tells more about the light between the lips than skin does.
    both = own * bright * teeth
    sure = teeth > 0.5
    trust = OVERLAP * eye**2 * float(lit[sure].mean()) if sure.any() else 1.0
    gain = (float((both * grey).sum()) + usual * trust) / (float((both * lit).sum()) + trust)
    told = float(both.sum())
    return bright, float(np.clip(gain, *GAIN)), told / (told + OVERLAP * eye**2)


def _usual_cavity(lips: np.ndarray) -> np.ndarray:
    """(3,) float32 colour of the dark inside between lips of a (3,) colour, where nobody sees it."""
    return lips * (CAVITY_SHARE + CAVITY_RED * np.clip((lips[0] - lips[2]) / lips[0] / RED_LIPS, 0, 1))


def _known_cavity(lips: np.ndarray, registration: Registration) -> np.ndarray:
    """(3,) colour of the dark between lips of a (3,) colour, as earlier frames showed it, else the usual one."""
    return _usual_cavity(lips) if registration.cavity is None else registration.cavity * lips


def _cavity_colour(
    rgb: np.ndarray, grey: np.ndarray, seen: np.ndarray, lips: np.ndarray, registration: Registration
) -> np.ndarray:
    """(3,) float32 colour of the dark inside, which ``registration`` is told of.

    It is this mouth's own where that shows, else what earlier frames showed, else a share of the lips' colour: behind
    teeth that touch, the darkest there is are the lines between them.
    """
    usual, inside = _usual_cavity(lips), seen > 0.6
    level = grey[inside]
    before = _known_cavity(lips, registration)
    if len(level) < 12:
        return before
    own = rgb[inside][level <= np.percentile(level, 25)].mean(0)
    trust = len(level) / (len(level) + FEW)
    dark = trust * (1 - float(smoothstep(own.mean() / lips.mean(), *SHOWS_DARK)))
    cavity = np.minimum(own * dark + before * (1 - dark), usual * 1.25)
    if dark > 0:
        registration.cavity = cavity / lips
    registration.dark = max(registration.dark, dark)
    return cavity
