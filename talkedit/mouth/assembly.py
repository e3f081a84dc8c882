"""One row of teeth put together from the few mouths of a shot that show most of it.

What belongs to the row is told from the other row, from lips and from highlights; it goes on a little under the lip and
to the corners of a smile.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from talkedit.geometry.openings import smoothstep
from talkedit.mouth.registration import find
from talkedit.mouth.rows import Row, brightness, coloured, toothness, with_stained

ENOUGH = 0.0025  # area of teeth, in squared eye distances, from which on a row is worth showing
UNDER = 0.07  # how far a row goes on under the lip, in eye distances
DARKER = 0.985  # by which it gets darker there, a pixel
# Crowns of the upper and of the lower row are so tall, over the eye distance; above them is gum, as bright as skin and
# pinker where smiles show it, from one to the other over that distance.
TALL, GUM, PASSES = (0.115, 0.1), np.float32([1.0, 0.82, 0.9]), 0.015
# A row goes on so far beyond its ends, in eye distances, that much lower an eye distance, and loses so much of its
# light on the way; a column with less of it than this share of the highest lies beyond. It goes on as it bends, but
# rises or falls no more than so far, in eye distances.
BACK, RECEDES, SHADED, SPARSE, RISES = 0.16, 1.2, (0.6, 0.95), 0.6, 0.06
# So dark beside the brightest of its column the line between the rows is, and so much brighter what lies beyond it.
LINE = (0.75, 1.1)
# Teeth further apart, over the eye distance, are none of one row; but upper front teeth may be, by so much, if the
# lesser group is so large beside the other, lies beside it by so much of its height, and is so wide, over the eye
# distance.
APART, GAP, SIDE, LEVEL, WIDE = 0.04, 0.1, 0.3, 0.6, 0.15
# Teeth end at most so far beyond the arch that so many of them end beyond, over the eye distance.
BEYOND, HANGING, STEPS = 0.01, 0.4, 10
AGREED = 0.3  # how surely, on average, others of the kept mouths must show the same row as the best
WHOLE = 0.5  # how much of what looks like teeth must turn out to be the row's
GLOSS = 1.1  # how much brighter than most of it a row may be
# How much of the lip's shadow on a row goes, as an exponent; how much lighter it may become at most; and how few pixels
# do not tell how light a row is so far from the lip.
UNSHADED, LIGHTER, FEW = 0.6, 1.8, 4
DULLS = 0.8  # how much of that is left, a pixel that it goes on: at once, it would be a line across
VAGUE = np.float32([[0.06, 0.88, 0.06]])  # of its neighbours' colours, sideways, a pixel that a row goes on
CLOSE = 2  # half the width of gaps between teeth, pixels


@dataclass(frozen=True)
class Kept:
    """A mouth that shows teeth, in the picture plane of `talkedit.mouth.grid.Grid`.

    Attributes:
        score: area of the row's teeth, squared eye distances, and how frontal.
        number: of the frame.
        picture: (h, w, 3) uint8.
        seen: (h, w) float32 0..1, what it shows of the row.
        light: (3,) colour of the skin around the mouth.
        loop: (20, 2) inner lips, pixels.
        jaws: (2,) how far the lower jaw lies from the upper, pixels, beside the mean face's.
    """

    score: float
    number: int
    picture: np.ndarray
    seen: np.ndarray
    light: np.ndarray
    loop: np.ndarray
    jaws: np.ndarray

    @property
    def teeth(self) -> np.ndarray:
        """(h, w) float32 0..1, what of the row looks like teeth."""
        return self.seen * toothness(self.picture, self.light)

    @property
    def row(self) -> Row:
        """The row as it alone shows it."""
        return Row(self.picture, self.teeth, self.light, np.eye(2, 3, dtype=np.float32))

    def height(self, pixels: float) -> float:
        """Of most of its teeth, as far as they show, over an eye distance of so many pixels."""
        tall = (self.teeth > 0.5).sum(0)
        return float(np.percentile(tall[tall > 0], 90)) / pixels if tall.any() else 0.0


def assemble(kept: list[Kept], pixels: float, is_lower: bool, fewest: int = 1) -> Row | None:
    """One picture of a row.

    Args:
        kept: mouths that show it, best first.
        pixels: of their pictures, per eye distance.
        is_lower: which row.
        fewest: so many of them must show the same row if others show something else.

    Returns:
        the row, its place still in these pictures; None where they show too little of it or not the same.
    """
    if not kept or kept[0].score < ENOUGH:
        return None
    if len(kept) > 1:
        kept = _same_row(kept, pixels, is_lower, fewest)
        if not kept:
            return None
    light = kept[0].light
    colour, total = np.zeros(kept[0].picture.shape, np.float32), np.zeros(kept[0].seen.shape, np.float32)
    h, w = kept[0].seen.shape
    still = np.eye(2, 3, dtype=np.float32)
    best, beside = kept[0].row, []
    for k in kept:  # the best first; the others, moved onto it, only add what it hides
        at, sure = _found(best, k, pixels, is_lower)
        moved = sure * at
        beside.append(moved)
        onto = np.float32([[1, 0, moved[0]], [0, 1, moved[1]]])
        seen, shown = (cv2.warpAffine(v, onto, (w, h), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                                      borderMode=cv2.BORDER_REPLICATE) for v in (k.seen, k.picture))  # fmt: skip
        new = cv2.GaussianBlur(seen, (0, 0), 1.0) * seen * (1 - total)
        colour += shown * (light / k.light) * new[..., None]
        total += new
    picture = np.where(total[..., None] > 0.02, colour / np.maximum(total, 0.02)[..., None], kept[0].picture)
    picture = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
    # The thin dark lines between teeth belong to the row.
    across = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * CLOSE + 1, 2 * CLOSE + 1))
    inside = (total > 0.5).astype(np.float32)
    teeth = with_stained(picture, toothness(picture, light) * inside, pixels) * inside
    like_teeth = (teeth > 0.5).sum()
    teeth *= _this_side(brightness(picture), teeth, is_lower)
    teeth = cv2.morphologyEx(teeth, cv2.MORPH_CLOSE, across)
    teeth = (np.clip(1.5 * cv2.GaussianBlur(teeth, (0, 0), 0.8), 0, 1) * total).astype(np.float32)
    teeth *= _together(teeth, pixels, APART if is_lower else GAP)
    teeth *= _above_arch(teeth, pixels) if not is_lower else _above_arch(teeth[::-1], pixels)[::-1]
    if (teeth > 0.5).sum() < max(WHOLE * like_teeth, 1):  # single bits of a row look like nothing
        return assemble(kept[:1], pixels, is_lower) if len(kept) > 1 else None
    # Highlights stay where the lamp is, not on the teeth.
    picture = np.minimum(picture, np.minimum(GLOSS * _matt(picture, teeth), 255)).astype(np.uint8)
    step, seen = 1 if is_lower else -1, teeth.copy()
    if not is_lower:
        picture = _without_shadow(picture, teeth * toothness(picture, light), round(UNDER * pixels))
    picture = _lengthen(picture, teeth, round(UNDER * pixels), step)
    picture = _end_in_gum(picture, seen, step, TALL[is_lower] * pixels, PASSES * pixels, _gum(light))
    picture, arch = _arch(picture, teeth, pixels, SHADED[is_lower])
    # Every one of them was put a little beside its place: their mean is nearer to it. The less teeth one shows, the
    # less sure it is.
    still[:, 2] = -np.average(beside, axis=0, weights=[k.score for k in kept])
    return Row(picture, teeth, light, still, arch)


def _same_row(kept: list[Kept], pixels: float, is_lower: bool, fewest: int) -> list[Kept]:
    """Those of several kept mouths that show one and the same row: lips and tongues look like teeth, too.

    All of them if most show what the best does. Else those that show the same as one of them; none if these are too
    few, or have less teeth than the others together.
    """

    def sure(one: Kept) -> list[float]:
        row = one.row
        return [1.0 if other is one else _found(row, other, pixels, is_lower)[1] for other in kept]

    best = sure(kept[0])
    if np.mean(best[1:]) >= AGREED:
        return kept
    found = np.array([best, *(sure(one) for one in kept[1:])]) >= AGREED
    both, scores = found & found.T, np.array([k.score for k in kept])
    seed = int((both @ scores).argmax())
    if both[seed].sum() < fewest or both[seed] @ scores <= scores.sum() / 2:
        return []
    return [k for k, same in zip(kept, both[seed], strict=True) if same]


def _found(row: Row, kept: Kept, pixels: float, is_lower: bool) -> tuple[np.ndarray, float]:
    """(2,) pixels that a row of another kept mouth lies beside its place in this one; 0..1, how sure that is."""
    return find(row, brightness(kept.picture), kept.seen, pixels, is_lower, np.zeros(2))


def _this_side(grey: np.ndarray, teeth: np.ndarray, is_lower: bool) -> np.ndarray:
    """(h, w) float32 0 or 1: what lies on this side of the dark line between the rows, where there is one.

    Args:
        grey: (h, w) float32 brightness.
        teeth: (h, w) float32 0..1 of the row, and perhaps of the other behind the line.
        is_lower: the other row lies above.
    """
    if is_lower:
        return _this_side(grey[::-1], teeth[::-1], False)[::-1]
    sure = teeth > 0.5
    if not sure.any():
        return np.ones_like(teeth)
    matt = np.minimum(grey, np.percentile(grey[sure], 70))
    most, least = np.zeros(grey.shape[1]), np.full(grey.shape[1], np.inf)
    ended, out = np.zeros(grey.shape[1], bool), np.ones_like(teeth)
    for y in range(len(grey)):
        most = np.where(sure[y], np.maximum(most, matt[y]), most)
        ended |= matt[y] > LINE[1] * least
        least = np.where(matt[y] < LINE[0] * most, np.minimum(least, matt[y]), np.inf)
        out[y] = ~ended
    return out


def _together(teeth: np.ndarray, pixels: float, gap: float = APART) -> np.ndarray:
    """(h, w) uint8 0 or 1: the largest group of what looks like teeth, and that across a gap between front teeth.

    Bits that lie apart are lips' and highlights.

    Args:
        teeth: (h, w) float32 0..1.
        pixels: per eye distance.
        gap: as wide as this at most, over the eye distance.
    """
    wide = 2 * round(APART * pixels / 2) + 1
    near = cv2.dilate((teeth > 0.5).astype(np.uint8), np.ones((1, wide), np.uint8))
    count, label, stats, _ = cv2.connectedComponentsWithStats(near)
    if count < 2:
        return np.ones_like(near)
    left, top, width, tall, area = stats[1:].T
    most = int(area.argmax())
    apart = np.maximum(left - left[most] - width[most], left[most] - left - width) + wide
    beside = np.minimum(top + tall, top[most] + tall[most]) - np.maximum(top, top[most])
    one = (apart >= 0) & (apart <= gap * pixels) & (area >= SIDE * area[most]) & (beside >= LEVEL * tall)
    one[most] = True
    return cv2.dilate(np.isin(label, 1 + np.flatnonzero(one)).astype(np.uint8), np.ones((3, 3), np.uint8))


def _above_arch(teeth: np.ndarray, pixels: float) -> np.ndarray:
    """(h, w) float32 0..1: what does not hang far below the parabola along which most teeth of a row end.

    Args:
        teeth: (h, w) float32 0..1.
        pixels: per eye distance.
    """
    y, sure = np.arange(len(teeth), dtype=np.float32)[:, None], teeth > 0.5
    x = np.flatnonzero(sure.any(0))
    if len(x) < 3:
        return np.ones_like(teeth)
    ends = np.where(sure[:, x], y, -1).max(0)
    at, weights = (x - x.mean()) / pixels, np.ones(len(x))
    for _ in range(STEPS):  # the least sum of distances, not of their squares, which some would rule
        arch = np.polyval(np.polyfit(at, ends, 2, w=np.sqrt(weights)), at)
        weights = np.where(ends > arch, HANGING, 1 - HANGING) / np.maximum(np.abs(ends - arch), 0.5)
    last = np.full(teeth.shape[1], len(teeth), np.float32)
    last[x] = arch + BEYOND * pixels
    return np.clip(last - y + 0.5, 0, 1)


def _matt(picture: np.ndarray, teeth: np.ndarray) -> np.ndarray:
    """(3,) the brightest colour that a row goes on with where it was not seen: a highlight does not."""
    return np.percentile(picture[teeth > 0.5], 70, axis=0)


def _without_shadow(picture: np.ndarray, teeth: np.ndarray, deep: int) -> np.ndarray:
    """(h, w, 3) uint8: an upper row without much of its lip's shadow, which goes along with the lip that bares it.

    Args:
        picture: (h, w, 3) uint8.
        teeth: (h, w) float32 0..1, of the row what looks like teeth: no gum that shines through, no lines.
        deep: how far below the lip shadow lies at most, pixels.
    """
    sure, level = teeth > 0.5, brightness(picture)
    below = np.arange(len(teeth))[:, None] - np.where(sure.any(0), sure.argmax(0), len(teeth))
    layers = [level[sure & (below == k)] for k in range(deep)]
    known = [k for k, layer in enumerate(layers) if len(layer) > FEW]
    if len(known) < 2:
        return picture
    lit = np.array([np.median(layers[k]) for k in known])
    gain = np.minimum(lit.max() / np.maximum(lit, 1), LIGHTER) ** UNSHADED
    gain[lit.argmax() :] = 1  # further down it gets darker as the row curves
    gain = np.maximum.accumulate(gain[::-1])[::-1]
    gain = 1 + teeth * (np.interp(np.clip(below, 0, deep), known, gain) - 1).astype(np.float32)
    return np.minimum(picture * cv2.GaussianBlur(gain, (0, 0), 1.0)[..., None] + 0.5, 255).astype(np.uint8)


def _lengthen(picture: np.ndarray, teeth: np.ndarray, pixels: int, step: int) -> np.ndarray:
    """(h, w, 3) uint8: the row goes on under the lip that hid its upper end; ``teeth`` grows with it, in place.

    Args:
        picture: (h, w, 3) uint8.
        teeth: (h, w) float32 0..1.
        pixels: how far.
        step: 1 downwards, -1 upwards.
    """
    out = picture.astype(np.float32)
    matt = _matt(picture, teeth)
    for away in range(pixels):
        more = np.roll(teeth, step, axis=0) * DARKER
        new = more > teeth
        # What was next to the lip grows vague, or lines between teeth would be bars.
        sure = cv2.filter2D((teeth > 0.5).astype(np.float32), -1, VAGUE)[..., None]
        shown = cv2.filter2D(out * (teeth[..., None] > 0.5), -1, VAGUE) / np.maximum(sure, 1e-3)
        shown = np.roll(np.where(sure > 0.1, shown, out), step, axis=0)
        out[new] = np.minimum(shown[new], matt * (1 + (GLOSS - 1) * DULLS**away)) * DARKER
        teeth[new] = more[new]
    return (out + 0.5).astype(np.uint8)


def _gum(light: np.ndarray) -> np.ndarray:
    """(3,) its colour beside skin of a (3,) colour; grey in pictures without colours."""
    return light * (GUM.mean() + coloured(light) * (GUM - GUM.mean()))


def _end_in_gum(
    picture: np.ndarray, seen: np.ndarray, step: int, tall: float, soft: float, colour: np.ndarray
) -> np.ndarray:
    """(h, w, 3) uint8: a row that goes on under the lip ends as its crowns do, and gum follows.

    Args:
        picture: (h, w, 3) uint8.
        seen: (h, w) float32 0..1, the teeth that were seen: these stay.
        step: 1 for a row that goes on downwards, -1 for one that does upwards.
        tall: height of crowns from their free ends on, pixels.
        soft: half the pixels over which gum begins.
        colour: (3,) of gum.
    """
    way = step * np.arange(len(seen), dtype=np.float32)[:, None]
    ends = np.where(seen > 0.5, way, np.inf).min(0)
    gum = smoothstep(np.where(np.isfinite(ends), way - ends, 0), tall - soft, tall + soft)
    gum *= (1 - seen) * (1 - cv2.GaussianBlur(seen, (0, 0), soft))  # from ragged edges it passes softly
    return (picture + (colour - picture) * gum[..., None] + 0.5).astype(np.uint8)


def _arch(
    picture: np.ndarray, teeth: np.ndarray, pixels: float, shaded: float = SHADED[0]
) -> tuple[np.ndarray, np.ndarray]:
    """The row goes on to the corners of a smile: mirrored at either end, ever lower and darker, as arches recede.

    Args:
        picture: (h, w, 3) uint8.
        teeth: (h, w) float32 0..1.
        pixels: per eye distance.
        shaded: how much of their light the last ones lose.

    Returns:
        (h, w, 3) uint8 and (h, w) float32 0..1 of the whole row.
    """
    height = teeth.sum(0)
    tall = height > SPARSE * np.percentile(height, 98)
    best = _run(tall, int(np.argmax(height)))
    full = np.concatenate([_beyond_gap(tall, best, -1, pixels), best, _beyond_gap(tall, best, 1, pixels)])
    if len(full) < 3 or not (teeth > 0.5).any():
        return picture, teeth
    out, arch, w = picture.copy(), teeth.copy(), teeth.shape[1]
    middle = (np.arange(len(teeth)) @ teeth) / np.maximum(height, 1e-6)
    bend = np.polynomial.Polynomial.fit(full, middle[full], 2)
    matt = _matt(picture, teeth)
    for end, step in ((full[0], -1), (full[-1], 1)):
        whole = len(_run(tall, end)) - 1  # none of it is mirrored across a gap
        for away in range(1, min(round(BACK * pixels), w - 1 - end if step > 0 else end, whole)):
            far, to, source = away / pixels, end + step * away, end - step * away
            there = bend(end) + np.clip(bend(to) - bend(end), -RISES * pixels, RISES * pixels)
            rows = middle[source] + (np.arange(len(teeth), dtype=np.float32) - there) / (1 - RECEDES * far)
            light = 1 - shaded * float(smoothstep(far, 0, BACK))
            shown = np.interp(rows, np.arange(len(teeth)), teeth[:, source], 0, 0) * float(
                1 - smoothstep(far, 0.7 * BACK, BACK)
            )
            more = shown > arch[:, to]
            column = np.stack([np.interp(rows, np.arange(len(teeth)), picture[:, source, c]) for c in range(3)], 1)
            out[more, to] = (np.minimum(column, matt) * light + 0.5).astype(np.uint8)[more]
            arch[more, to] = shown[more]
    return out, arch


def _run(columns: np.ndarray, at: int) -> np.ndarray:
    """(n,) the unbroken run of (w,) bool columns that one of them lies in."""
    others = np.flatnonzero(~columns)
    return np.arange(others[others < at].max(initial=-1) + 1, others[others > at].min(initial=len(columns)))


def _beyond_gap(tall: np.ndarray, part: np.ndarray, step: int, pixels: float) -> np.ndarray:
    """(n,) columns of teeth that stand beyond a gap, on the left (-1) or right (1) of a part of (w,) bool columns."""
    there = np.flatnonzero(tall)
    there = there[there < part[0]][::-1] if step < 0 else there[there > part[-1]]
    end = part[0] if step < 0 else part[-1]
    if len(there) and abs(there[0] - end) <= GAP * pixels and len(other := _run(tall, there[0])) >= WIDE * pixels:
        return other
    return part[:0]
