"""The inside of an edited mouth: teeth move as rigid rows, never as rubber, and lips slide over them.

The mesh has a hole between the lips. What shows there is layered. At the back is a dark cavity in the colour of this
mouth; before it each row of teeth, the frame's own pixels and remembered ones as one rigid piece; before these the rims
of the lips, which come along with them.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numba
import numpy as np

from talkedit.composite.softness import CRISP
from talkedit.composite.warp import Warp, around
from talkedit.geometry.openings import smoothstep
from talkedit.mouth.alignment import polygon
from talkedit.mouth.cavity import cavity
from talkedit.mouth.inside import TELLS, TOLD, Inside, Part
from talkedit.mouth.lips import beside_lips, between_lips
from talkedit.mouth.rows import across_lips, along_lips, brightness, depth, gap_of

# Gaps, in eye distances, over which hidden teeth come out unless the frame shows some: in a narrower one all is shadow.
SHOWS_TEETH = (0.02, 0.06)
# So much of their light teeth lose between lips that are hardly apart, over such gaps in eye distances, unless the
# frame shows how bright they are. Real ones lose more, but light that changes with every word looks like teeth that
# move.
DIM, DIMMED = 0.28, (0.02, 0.07)
# Remembered teeth lie in the dark of a mouth's corners, where lips are less than such a share as far apart as in the
# middle, and keep so much of their light at last.
CORNERS, LEFT_LIT = (0.1, 1.0), 0.1
LIP_EDGE = 0.011  # softness of the inner edge of lips that were closed, over the eye distance
SEAM = 0.7  # the same where the mouth showed, in pixels: its own rim already makes the edge
# But not of a lower lip that teeth touched: from so deep on its edge is as soft as one that was closed.
LOWER_LIP = (0.5, 0.8)
RIM = 0.02  # lips around the source's mouth that come along with its inside, over the eye distance
# Teeth in a lip's rim stay behind where what lies behind is so dark beside them; evenly over such a way along the lip,
# over the eye distance.
BEHIND, ALONG = (0.6, 0.85), 0.012
LIP_MIDDLE = 0.5  # share of a lip, about, that counts as its middle
# How much of the way from its jaw's movement to its lip's a row goes: it reaches under the lip for a while only, and a
# lip that slid all the way would bare the dark behind it.
RIDES = 0.35
# A lower lip that goes further down than its jaw, by so much over the eye distance, takes its row along so much of the
# way: mouths drop open with their lower teeth hidden.
FOLLOWS, DROPS = 0.7, (0.0, 0.02)
# A lower row that frames do not show where it should lie is deeper under its lip, by so much over the eye distance if
# it shows nowhere; and it fades only where it hardly does, for teeth that the dark shines through look like a film.
SINKS, FADES = 0.08, (0.1, 0.4)
# Rows that touch stay together where an edit would part them by less, over the eye distance, and part as it says where
# by more: smiles are made with clenched teeth, and what looks like the line between them may not be it.
TOUCH = (0.026, 0.036)
# Gaps over which rows part as their jaws do, not only as lips do, over the eye distance.
WIDE_OPEN = (0.1, 0.2)
# Of what opens such a mouth further than that, over the eye distance, the share that its lower row sinks behind its
# lip: a jaw that drops leaves the grin that bared it.
DROPPED, COVERS = 0.03, 0.6
WIDENING = 0.5  # how much of a mouth's widening its inside takes part in where it shows no teeth
# So much wider, over the eye distance, a smile shows its row of teeth up to the corners, where the source has shadow.
SMILES = (0.02, 0.1)
BARES = (0.02, 0.06)  # so much further open, over the eye distance, a mouth bares all of its row above what was seen
# So much further open, over the eye distance, a mouth leaves behind the crumbs below its upper teeth, while frames show
# little of the dark (``TOLD``).
OPENS = (0.005, 0.02)
# So much further open, over the eye distance, what lies behind both rows beside the line between them is dark: it would
# be torn into a light band that hangs from either. Of a mouth that never shows the dark it is teeth in shadow.
TEARS = (0.015, 0.05)
# A mouth open so far, over the eye distance, and full of what is no row, with nothing dark beside it, stays full as it
# opens so little further: it is stretched as skin is. So is one whose teeth stay clenched, between so little less and
# more: what opened beside them was a drawn line. Lips that close further slide over them.
FILLED, FULL, CLENCHED, SLIT = (0.045, 0.065), (0.02, 0.05), ((-0.03, -0.02), (0.022, 0.03)), (0.02, 0.035)
LIP_HOLD = 0.05  # so near to a lip, about, that moves just as the lip does, over the eye distance
MARGIN = 3.0  # pixels; the mesh is finer than the loop, so that its hole reaches beyond it in places
# Share of a mouth's widening that its rows of teeth take part in, or the corners would be all dark; and the width at
# rest, in eye distances, that it is measured on: not the present one, or teeth would breathe as the mouth speaks.
WIDER, WIDTH = 0.5, 0.6
FAINT = 0.3  # pixels; a frame that is no softer than that counts as crisp
PINHOLE, TOUCHED = 0.8, 3.0  # sigma, pixels, that closes such holes; so many times the share of lips near by counts
STILL = 0.25  # pixels; lips that move less leave the source's own pixels right
# Whole lips with both corners, from the same corner on.
_LIPS = (np.arange(0, 11), np.r_[0, np.arange(19, 9, -1)])
_WEIGHTS = np.exp(-0.5 * (np.linspace(-1, 1, 11) / LIP_MIDDLE) ** 2)
_WEIGHTS = (_WEIGHTS / _WEIGHTS.sum())[:, None]


Insides = Sequence[tuple[Inside, float]]
"""What lies between the lips, in views whose shares add up to 1."""


def fill_mixed(
    picture: np.ndarray, frame: np.ndarray, warp: Warp, insides: Insides, target: np.ndarray, jaws: np.ndarray
) -> None:
    """Paints the mouth's inside as :func:`fill_mouth` does, as the mean of one or two views of it."""
    pictures = [picture, *(picture.copy() for _ in insides[1:])]
    for one, (inside, _) in zip(pictures, insides, strict=True):
        fill_mouth(one, frame, warp, inside, target, jaws)
    if len(insides) == 2:
        cv2.addWeighted(picture, insides[0][1], pictures[1], insides[1][1], 0, picture)


def fill_mouth(
    picture: np.ndarray, frame: np.ndarray, warp: Warp, inside: Inside, target: np.ndarray, jaws: np.ndarray
) -> None:
    """Paints the mouth's inside into the warped rectangle, in place.

    Args:
        picture: (h, w, 3) uint8, the warped rectangle.
        frame: (H, W, 3) uint8 source.
        warp: the rectangle's place and hits.
        inside: of the source's mouth.
        target: (20, 2) inner lips after the edit, pixels.
        jaws: (2, 2) how the edit moves the bone of the upper and of the lower teeth, pixels.
    """
    source, eye, shows = inside.loop, inside.eye, inside.shows
    target = np.asarray(target, np.float32)
    moved = target - source
    if np.abs(moved).max() < STILL:
        return
    pad = 4 + round(3 * LIP_EDGE * eye)
    x0, y0 = np.maximum(np.floor(target.min(0)).astype(int) - pad, [warp.x0, warp.y0])
    h, w = warp.shape
    x1, y1 = np.minimum(np.ceil(target.max(0)).astype(int) + pad + 1, [warp.x0 + w, warp.y0 + h])
    if x1 - x0 < 3 or y1 - y0 < 3:
        return
    rect = np.s_[y0 - warp.y0 : y1 - warp.y0, x0 - warp.x0 : x1 - warp.x0]
    hole = (warp.hit[rect] < 0).astype(np.float32)
    corner, shape = np.array([x0, y0]), hole.shape
    loop = target - corner.astype(np.float32)
    hole *= polygon(loop, shape, grow=MARGIN)
    if not hole.any():
        return

    edge = max(inside.blur, shows * SEAM + (1 - shows) * LIP_EDGE * eye)
    alpha = np.minimum(np.float32(1 + shows) * cv2.GaussianBlur(hole, (0, 0), edge), 1)
    x, y = np.arange(shape[1], dtype=np.float32)[None], np.arange(shape[0], dtype=np.float32)[:, None]
    parted = _parted(x, y, loop)
    alpha *= np.minimum(parted, 1)  # or lips less than a pixel apart would show a row of dots
    opened = np.float32(smoothstep(gap_of(target) / eye, *SHOWS_TEETH))
    mouth = cavity(inside, loop, shape)
    to_x, to_y = (corner - inside.corner).astype(np.float32)
    wider = (np.linalg.norm(loop[10] - loop[0]) - np.linalg.norm(source[10] - source[0])) / eye
    wide = np.float32(smoothstep(wider, *SMILES))
    further = (gap_of(loop) - gap_of(source)) / eye
    whole = max(wide, np.float32(smoothstep(further, *BARES)))
    lit = np.float32(LEFT_LIT) + np.float32(1 - LEFT_LIT) * smoothstep(
        parted / max(float(parted.max()), 1e-6), *CORNERS
    )
    untold = np.float32(1 - smoothstep(inside.dark, *TOLD))
    bared = untold * np.float32(smoothstep(further, *OPENS))
    tears = np.float32((1 - inside.clenched) * smoothstep(further, *TEARS))
    stretched = max(np.float32(inside.rounded), _full(inside, further))
    moves = _ways(jaws, moved, source, inside.shut, further, eye)
    drawn = np.zeros(shape, np.float32)
    if inside.guess is not None:  # behind all that was seen
        row, gain = inside.guess
        at = corner - moves[0]
        drawn = row.where(at, shape) * (alpha > 0) * opened
        mouth += (np.minimum(row.colours(at, shape) * np.float32(gain), 255) - mouth) * drawn[..., None]
    for k in (1, 0):  # the upper row lies before the lower
        part, lip = inside.parts[k], _LIPS[k]
        if part.row is not None:
            move = moves[k]
            from_row = corner - move - _sunk(part.trust, source, eye)
            teeth = part.row.where(from_row, shape)
            if whole > 0:
                teeth += whole * (part.row.where(from_row, shape, wide=True) - teeth)
            told = smoothstep(part.lit, *TELLS)
            # Lower teeth alone, under the dark where nobody knows any others, are a bar unless the frame shows them.
            alone = k == 1 and inside.parts[0].row is None and inside.guess is None
            out = (told if alone else max(opened, told)) * smoothstep(part.trust, *FADES)
            teeth *= (alpha > 0) * np.float32(out) * (1 - drawn)
            colours = np.zeros((*shape, 3), np.uint8)
            there = around(teeth > 0)
            if there is not None:
                first = from_row + np.array([there[1].start, there[0].start])
                colours[there] = part.row.colours(first, teeth[there].shape)
            own, dx, dy = _shifted(_along(part, wide, tears), inside.corner + move - corner)
            shade = 1 - (1 - part.lit) * DIM * (1 - float(smoothstep(gap_of(target) / eye, *DIMMED)))
            gain, dark = np.float32(part.gain * shade), inside.cavity.astype(np.float32)
            _lay(mouth, own, part.beyond, dx, dy, colours, teeth, gain, lit, dark)
        elif shows > 0:
            shift_x, shift_y = _bent(x + np.float32(x0), y + np.float32(y0), source[lip], target[lip], LIP_HOLD * eye)
            back_x, back_y = x + to_x - shift_x, y + to_y - shift_y
            shown = (_along(part, bared, tears), part.beyond)
            own, beyond = (cv2.remap(pixels, back_x, back_y, cv2.INTER_LINEAR) for pixels in shown)
            both = own + beyond * (1 - own[..., 3:])
            mouth *= 1 - both[..., 3:]
            mouth += both[..., :3]
    if shows > 0:
        mouth = _widened(mouth, source, loop, WIDTH * eye)
        near, back_x, back_y = beside_lips(loop, moved, alpha, max(RIM * eye, 4 * edge + 2))
        share = np.clip(1.5 - 1.5 * near / (RIM * eye), 0, 1)
        if stretched > 0:
            between_lips(loop, moved, back_x, back_y, polygon(loop, shape) * (1 - share))
            share += (1 - share) * stretched
        lips = cv2.remap(
            frame, back_x + np.float32(x0), back_y + np.float32(y0), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        pale = cv2.remap(inside.pale, back_x + to_x, back_y + to_y, cv2.INTER_LINEAR)
        share *= 1 - (1 - stretched) * _left_behind(pale, lips, mouth, ALONG * eye)
        share *= np.float32(shows)
        behind, mouth = mouth, mouth + (lips - mouth) * share[..., None]
    lips = _close(picture[rect], hole, 2 * edge)
    painted = lips + (mouth - lips) * alpha[..., None]
    unseen = np.float32(1 - inside.dark)
    if shows > 0 and unseen > 0 and inside.parts[0].row is not None and inside.parts[1].row is None:
        hard = np.float32(shows) * unseen * opened * smoothstep(depth(x, y, loop), *LOWER_LIP)
        painted = _soften(painted, behind, 1 - alpha * (1 - share), hard, LIP_EDGE * eye)
    soft = float(np.sqrt(max(inside.blur**2 - CRISP**2, 0.0)))
    if soft > FAINT:
        painted = _as_soft(painted, hole, soft)
    picture[rect] = np.clip(painted + 0.5, 0, 255).astype(np.uint8)


def _along(part: Part, wide: np.float32, tears: np.float32) -> np.ndarray:
    """(h, w, 4) a row's own pixels that come along with it, given 0..1 how far others stay behind or are torn."""
    if wide == 0 and tears == 0:
        return part.own
    return part.own * ((1 - wide * part.shaded) * (1 - tears * part.torn))[..., None]


def _full(inside: Inside, further: float) -> np.float32:
    """0..1: a mouth that shows teeth or a tongue, but no dark, and opens only a little ``further``, eye distances."""
    gap = gap_of(inside.loop) / inside.eye
    if all(part.row is None for part in inside.parts):
        untold = 1 - smoothstep(inside.dark, *TOLD)
        return np.float32(untold * smoothstep(gap, *FILLED) * (1 - smoothstep(further, *FULL)))
    closes, opens = CLENCHED
    held = smoothstep(further, *closes) * (1 - smoothstep(further, *opens))
    return np.float32(inside.clenched * smoothstep(gap, *SLIT) * held)


def _as_soft(painted: np.ndarray, hole: np.ndarray, soft: float) -> np.ndarray:
    """(h, w, 3) a painted mouth whose edge is no sharper than the frame, be it of lips, of rims or of what lies behind.

    Args:
        painted: (h, w, 3) float32.
        hole: (h, w) float32 0..1, what lies between the lips.
        soft: how much softer than a crisp frame, as a blur, pixels.
    """
    edge = 1 - (2 * cv2.GaussianBlur(hole, (0, 0), 2 * soft) - 1) ** 2
    return painted + (cv2.GaussianBlur(painted, (0, 0), soft) - painted) * edge[..., None]


def _ways(
    jaws: np.ndarray, moved: np.ndarray, source: np.ndarray, shut: float, further: float, eye: float
) -> np.ndarray:
    """(2, 2) pixels that each row goes: with its jaw, some of the way with its lip, and together where they touch.

    They part no further than lips do that are not wide open.

    Args:
        jaws: (2, 2) ways of the jaws, pixels.
        moved: (20, 2) ways of the inner lips, pixels.
        source: (20, 2) where these were.
        shut: 0..1, the rows touch.
        further: how much wider apart the lips are than they were, eye distances.
        eye: outer-eye distance, pixels.
    """
    lips = np.stack([(_WEIGHTS * moved[lip]).sum(0) for lip in _LIPS])
    beside = lips - jaws
    down = across_lips(source)
    rides = np.array([RIDES, RIDES + (FOLLOWS - RIDES) * smoothstep(beside[1] @ down / eye, *DROPS)])
    ways = jaws + rides[:, None] * beside
    # A jaw that drops behind lips which stay parts its teeth unseen; wide open ones show it.
    unseen = max(float((ways[1] - ways[0]) @ down) - max(further, 0.0) * eye, 0.0)
    ways[1] -= unseen * (1 - smoothstep(gap_of(source) / eye, *WIDE_OPEN)) * down
    apart = ways[1] - ways[0]
    ways[1] -= shut * apart * (1 - smoothstep(np.linalg.norm(apart) / eye, *TOUCH))
    ways[1] += shut * COVERS * max(further - DROPPED, 0.0) * eye * down
    return ways


def _sunk(trust: float, source: np.ndarray, eye: float) -> np.ndarray:
    """(2,) pixels that a row lies below its place, given 0..1 how far frames show it there.

    Args:
        trust: 0..1.
        source: (20, 2) inner lips, pixels.
        eye: outer-eye distance, pixels.
    """
    return (1 - trust) * SINKS * eye * across_lips(source)


def _parted(x: np.ndarray, y: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """(h, w) float32 how far lips lie apart along the mouth, pixels.

    Args:
        x, y: (1, w) and (h, 1) pixel positions.
        loop: (20, 2) inner lips.
    """
    along, across = along_lips(loop), across_lips(loop)
    at = [np.maximum.accumulate(loop[lip] @ along) for lip in _LIPS]
    knots = np.linspace(at[0][0], at[0][-1], 33)
    upper, lower = (np.interp(knots, a, loop[lip] @ across) for a, lip in zip(at, _LIPS, strict=True))
    apart = np.maximum(lower - upper, 0)
    return np.interp(x * along[0] + y * along[1], knots, apart, 0, 0).astype(np.float32)


def _widened(mouth: np.ndarray, source: np.ndarray, target: np.ndarray, width: float) -> np.ndarray:
    """(h, w, 3) the mouth's inside, stretched along the lips about their middle.

    Args:
        mouth: (h, w, 3) float32.
        source, target: (20, 2) inner lips before the edit, and after it in ``mouth``; pixels.
        width: of a mouth at rest, pixels.
    """
    before, after = (loop[_LIPS[0][-1]] - loop[_LIPS[0][0]] for loop in (source, target))
    wide = float(np.linalg.norm(after))
    stretch = 1 + WIDER * (wide - float(np.linalg.norm(before))) / width
    if stretch < 1.01:  # teeth are not pressed together: narrower lips cover them
        return mouth
    axis = after / wide
    back = np.eye(2) + (1 / stretch - 1) * np.outer(axis, axis)
    middle = target.mean(0)
    place = np.c_[back, middle - back @ middle]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(mouth, place, mouth.shape[1::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _left_behind(pale: np.ndarray, lips: np.ndarray, mouth: np.ndarray, along: float) -> np.ndarray:
    """(h, w) float32 0..1: teeth that a lip's rim would take along from their row, as a light line around the mouth.

    Args:
        pale: (h, w) 0..1, how much the rim looks like teeth.
        lips, mouth: (h, w, 3) the rim, and what lies behind it.
        along: pixels over which a rim is one or the other.
    """
    dark = 1 - smoothstep(brightness(mouth) / np.maximum(brightness(lips), 1), *BEHIND)
    return np.minimum(2 * cv2.GaussianBlur((pale * dark).astype(np.float32), (0, 0), along), 1)


def _soften(painted: np.ndarray, behind: np.ndarray, lips: np.ndarray, hard: np.ndarray, sigma: float) -> np.ndarray:
    """(h, w, 3) a painted mouth whose lips pass softly, on their own side of the edge, into what lies behind.

    Args:
        painted, behind: (h, w, 3) float32 with lips, and without.
        lips: (h, w) float32 0..1, where they are.
        hard: (h, w) float32 0..1, how hard their edge is.
        sigma: of the passage, pixels.
    """
    clear = 1 - smoothstep(cv2.GaussianBlur(lips, (0, 0), sigma), 0.5, 1)
    return painted + (behind - painted) * (hard * clear)[..., None]


def _bent(
    x: np.ndarray, y: np.ndarray, source: np.ndarray, target: np.ndarray, hold: float
) -> tuple[np.ndarray, np.ndarray]:
    """(h, w) x and y displacement of what shows no teeth: up and down with its lip along the mouth, sideways less.

    Args:
        x, y: (h, w) pixel positions in the edited frame.
        source, target: (11, 2) one inner lip from corner to corner, before and after the edit.
        hold: distance from the lip, pixels, over which it lets go of the lip's own sideways movement.
    """
    axis = along_lips(target)
    across = across_lips(target)
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


def _shifted(part: np.ndarray, by: np.ndarray) -> tuple[np.ndarray, int, int]:
    """A (h, w, 4) picture shifted by the fractions of a pixel in (2,) x and y, bicubic; the whole pixels left."""
    dx, dy = np.floor(by).astype(int)
    x, y = (_cubic(float(1 - (v - np.floor(v)))) for v in by)
    return cv2.sepFilter2D(part, cv2.CV_32F, x, y, borderType=cv2.BORDER_CONSTANT), int(dx), int(dy)


def _cubic(t: float) -> np.ndarray:
    """(5,) weights of the pixels -2..2 for a place ``t`` after pixel -1 (Keys 1981, a = -0.75 as in OpenCV)."""
    a = -0.75
    far = ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a
    before, after = (((a + 2) * v - (a + 3)) * v * v + 1 for v in (t, 1 - t))
    return np.float32([far, before, after, 1 - far - before - after, 0])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _lay(
    mouth: np.ndarray,
    own: np.ndarray,
    beyond: np.ndarray,
    dx: int,
    dy: int,
    colours: np.ndarray,
    teeth: np.ndarray,
    gain: float,
    lit: np.ndarray,
    dark: np.ndarray,
) -> None:
    """Lays one row over (h, w, 3) float32 ``mouth``, in place: own pixels, remembered ones, what continues them.

    Args:
        own, beyond: this row's, see `talkedit.mouth.inside.Inside`.
        dx, dy: where in the mouth these lie.
        colours: (h, w, 3) uint8 remembered.
        teeth: (h, w) 0..1, how far these are teeth that may show.
        gain: that the remembered colours are multiplied by.
        lit: (h, w) float32 0..1, the light there: what the frame shows has its own.
        dark: (3,) float32 colour of what lies in no light.
    """
    zero, one, full = np.float32(0), np.float32(1), np.float32(255)
    height, width = beyond.shape[:2]
    for y in range(mouth.shape[0]):
        for x in range(mouth.shape[1]):
            i, j = y - dy, x - dx
            there = 0 <= i < height and 0 <= j < width
            seen = own[i, j, 3] if there else zero
            hidden = teeth[y, x] * max(one - seen, zero)
            clear, rest = max(one - seen - hidden, zero), zero
            if there and beyond[i, j, 3] > zero:
                rest = min(one, clear / beyond[i, j, 3])
                clear -= beyond[i, j, 3] * rest
            elif seen + hidden <= zero:
                continue
            unlit = (one - lit[y, x]) * (hidden + (beyond[i, j, 3] * rest if there else zero))
            for c in range(3):
                row = min(colours[y, x, c] * gain, full) * hidden
                if there:
                    row += beyond[i, j, c] * rest
                row = row * lit[y, x] + dark[c] * unlit
                if there:
                    row += own[i, j, c]
                mouth[y, x, c] = mouth[y, x, c] * clear + row


def _close(area: np.ndarray, hole: np.ndarray, sigma: float) -> np.ndarray:
    """(h, w, 3) float32: the lips continued into the hole, under which lies the unmoved source.

    Left there, it would show as a bright line along the lips wherever the mouth's edge is soft.
    """
    lips = (1 - hole)[..., None]
    out, known = area * lips, lips
    for width in (PINHOLE, sigma):  # single pixels between closed lips are filled with what touches them
        near = cv2.GaussianBlur(known, (0, 0), width)[..., None]
        spread = cv2.GaussianBlur(out, (0, 0), width) / np.maximum(near, 1e-3)
        found = np.minimum(TOUCHED * near, 1) * (1 - known)
        out, known = out + spread * found, known + found
    return out + area * (1 - known)
