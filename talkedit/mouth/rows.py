"""One row of teeth: how it is told from the other and from lips, and its picture, placed and lit as in a frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from talkedit.geometry.openings import smoothstep

# Means of the middles of the inner lips, in the loop's order: corner, upper lip, corner, lower lip.
_MIDDLES = np.zeros((2, 20), np.float32)
_MIDDLES[0, 3:8] = _MIDDLES[1, 13:18] = 1 / 5
MIDDLE = 0.12  # half the width of the middle of a mouth, in eye distances
SURE = 0.015  # how surely a row is placed, in eye distances
SPLIT_SOFT = 3.0  # pixels over which one row passes into the other
# Teeth are less red than lips and skin, and not much darker than skin.
_PALE, _BRIGHT = (0.42, 0.22), (0.35, 0.7)
# Skin that is hardly red is that of a black-and-white picture, where lips are told by being darker than teeth alone.
_COLOURED, _GREY_BRIGHT = (0.03, 0.08), (0.8, 1.05)
# The uppermost depths that may be a shadow; and how much, beside a black line, it counts that all teeth are upper ones.
SHADED, UPPER = 2, 0.015
# A column of the mouth shows one row if teeth fill so much of it and are nowhere darker between, by such a share; over
# which shares of the columns that counts.
_FILLED, _DIP, _MOST = 0.65, 0.9, (0.5, 0.8)
_LAYERS = 100  # thin layers between the lips
_COARSE, _BARED = 32, 0.5  # thicker ones; and how much of one must look like teeth where a row shows
_EVENLY = np.full((1, 3), 1 / 3, np.float32)
# A stained tooth stands between pale ones no further apart than this, over the eye distance; over their brightness it
# is no darker than so; and over its red it is less red than lips, beside green.
_STAINED, _DARKER, _LIPS_RED = 0.11, (0.5, 0.65), (0.2, 0.3)
_RING = 1.75  # where the skin around the mouth is read: inner lips enlarged by so much


def middles(loop: np.ndarray) -> np.ndarray:
    """(2, 2) the middles of the upper and of the lower one of (20, 2) inner lips."""
    return _MIDDLES @ loop


def gap_of(loop: np.ndarray) -> float:
    """How far the middles of the (20, 2) inner lips lie apart."""
    upper, lower = middles(loop)
    return float(np.hypot(*(lower - upper)))


def width_of(loop: np.ndarray) -> float:
    """How far the corners of the (20, 2) inner lips lie apart."""
    return float(np.linalg.norm(loop[10] - loop[0]))


def along_lips(lip: np.ndarray) -> np.ndarray:
    """(2,) unit vector from corner to corner of an (11, 2) inner lip, or of (20, 2) ones."""
    along = lip[10] - lip[0]
    return along / max(float(np.linalg.norm(along)), 1e-6)


def across_lips(lip: np.ndarray) -> np.ndarray:
    """(2,) unit vector square to :func:`along_lips`, from the upper lip towards the lower."""
    along = along_lips(lip)
    return np.array([-along[1], along[0]])


def depth(x: np.ndarray, y: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """Position between the lips: 0 at the upper inner lip's middle, 1 at the lower's, the same along the mouth.

    Across it, that is: from one middle to the other is another direction in mouths pulled aside.
    """
    upper, lower = middles(loop)
    axis = across_lips(loop)
    length = max(float((lower - upper) @ axis), 1.0)
    return (((x - upper[0]) * axis[0] + (y - upper[1]) * axis[1]) / length).astype(np.float32)


def in_middle(x: np.ndarray, loop: np.ndarray, eye: float, shape: tuple[int, int]) -> np.ndarray:
    """(h, w) bool: the columns around the middle of the mouth, given their (1, w) places and an eye distance."""
    return np.broadcast_to(np.abs(x - loop[:, 0].mean()) < MIDDLE * eye, shape)


def split(
    area: np.ndarray, known: np.ndarray, between: np.ndarray, expected: float | None = None, sure: float = 0.2,
    smiles: bool = False,
) -> float:  # fmt: skip
    """Depth of the dark line between the rows of teeth; late where all is bright, as upper teeth show most.

    A soft minimum of the brightness over depth, so that it does not jump from frame to frame.

    Args:
        area: (h, w, 3) picture.
        known: (h, w) 0..1, where it shows the mouth's inside.
        between: (h, w) depth of each pixel.
        expected: depth at which the upper row should end, where that is known.
        sure: how far from there it may really end.
        smiles: nothing is expected, but bright teeth are taken for the upper ones, also under a narrow dark line, which
            is their lip's shadow.
    """
    inside = known > 0.5
    if inside.sum() < 12:
        return 0.5 if expected is None else expected
    level = area[inside].astype(np.float32).mean(1)
    bins = np.linspace(0.15, 0.95, 9)
    # Summed over thin layers first, which are as good as single pixels here.
    layer = np.clip(between[inside] * _LAYERS, -_LAYERS, 2 * _LAYERS).astype(np.int64) + _LAYERS
    sums = [np.bincount(layer, weights, 3 * _LAYERS + 1) for weights in (None, level)]
    depths = (np.arange(3 * _LAYERS + 1) - _LAYERS + 0.5) / _LAYERS
    counts, levels = np.stack(sums) @ np.exp(-0.5 * ((depths[:, None] - bins) / 0.08) ** 2)
    profile = levels / np.maximum(counts, 1e-3)
    contrast = profile / max(float(profile.max()), 1.0)
    if smiles:
        contrast[:SHADED] = np.maximum.accumulate(contrast[SHADED::-1])[:0:-1]
    weight = np.exp(-8 * contrast) * np.linspace(0.5, 1.5, len(bins))
    if smiles:
        weight[-1] += UPPER
    if expected is None:
        return float((weight * bins).sum() / weight.sum())
    weight = weight / weight.max() * np.exp(-0.5 * ((bins - expected) / sure) ** 2)
    # Where no dark line is found near, the expectation counts.
    return float(((weight * bins).sum() + 0.1 * expected) / (weight.sum() + 0.1))


def row_end(teeth: np.ndarray, between: np.ndarray, middle: np.ndarray, is_lower: bool = False) -> float | None:
    """Depth at which a row ends: where its teeth lie lowest, or highest for the lower row, but for a few pixels.

    Args:
        teeth: (h, w) 0..1.
        between: (h, w) depth of each pixel.
        middle: (h, w) bool, around the middle of the mouth.
        is_lower: which row.

    Returns:
        the depth, None where hardly any teeth are.
    """
    found = between[middle & (teeth > 0.5)]
    return float(np.percentile(found, 8 if is_lower else 92)) if len(found) > 8 else None


def teeth_end(teeth: np.ndarray, between: np.ndarray, clear: float) -> float | None:
    """Depth at which upper teeth that a mouth bares end, with what is no teeth below them.

    Args:
        teeth: (N,) 0..1 how much single pixels look like teeth.
        between: (N,) their depth.
        clear: what must be free of teeth below, as a depth.

    Returns:
        the depth; None where no upper teeth are seen or something that looks like teeth touches them.
    """
    layer = np.floor(between * _COARSE).astype(np.int64)
    inside = (layer >= 0) & (layer < _COARSE)
    counts, sums = (np.bincount(layer[inside], w, _COARSE) for w in (None, teeth[inside]))
    known = np.flatnonzero(counts)
    if not len(known):
        return None
    share = np.interp(np.arange(_COARSE), known, sums[known] / counts[known])  # small mouths leave some empty
    top = int(share[: _COARSE // 2].argmax())
    if share[top] < _BARED:
        return None
    below = np.flatnonzero(share[top:] < share[top] / 2)
    if not len(below):
        return None
    end = top + int(below[0])
    free = share[end + 1 : end + 1 + max(1, round(clear * _COARSE))]
    if end + 1 + len(free) > _COARSE or not len(free) or free.max() > share[top] / 4:
        return None
    before = share[end - 1]
    return float((end - 1 + (before - share[top] / 2) / max(before - share[end], 1e-6) + 0.5) / _COARSE)


def undivided(grey: np.ndarray, teeth: np.ndarray, middle: np.ndarray) -> float:
    """0..1: what looks like teeth goes on from lip to lip, with nothing dark across that would part two rows.

    Args:
        grey: (h, w) float32 brightness.
        teeth: (h, w) 0..1, how much it looks like teeth between the lips.
        middle: (h, w) 0..1, the middle of the mouth's inside.
    """
    sure, columns = teeth > 0.5, (middle > 0.5).any(0)
    if not sure[:, columns].any():
        return 0.0
    matt = np.minimum(grey, np.percentile(grey[sure], 60))  # no highlight makes its surroundings dark
    shown = np.where(sure, matt, 0)
    either = np.minimum(np.maximum.accumulate(shown, 0), np.maximum.accumulate(shown[::-1], 0)[::-1])
    least = np.where(either > 0, matt / np.maximum(either, 1), 1).min(0)
    filled = (sure & (middle > 0.5)).sum(0) / np.maximum((middle > 0.5).sum(0), 1)
    return float(smoothstep(((least > _DIP) & (filled > _FILLED))[columns].mean(), *_MOST))


def brightness(picture: np.ndarray) -> np.ndarray:
    """(h, w) float32 mean of the channels of a (h, w, 3) picture; NumPy's own mean over so short an axis is slow."""
    return cv2.transform(np.ascontiguousarray(picture, np.float32), _EVENLY)


def redness(picture: np.ndarray) -> np.ndarray:
    """(...) float32 of (..., 3): how much more red than green and blue on average, over red; yellow is half as red."""
    red, green, blue = np.moveaxis(np.asarray(picture, np.float32), -1, 0)
    return (red - (green + blue) / 2) / np.maximum(red, 8)


def coloured(light: np.ndarray) -> float:
    """0..1: how far a picture has colours, given that of skin in it, (3,)."""
    return float(smoothstep(float(redness(light)), *_COLOURED))


def toothness(picture: np.ndarray, light: np.ndarray) -> np.ndarray:
    """(h, w) float32 0..1: how much a colour looks like teeth beside skin of the colour ``light`` (3,)."""
    rgb = picture.astype(np.float32)
    red = redness(rgb)
    # Tinted light colours skin and teeth alike.
    limits = np.minimum(_PALE, max(float(redness(light)), 0.12) * np.array([1.0, 0.6]))
    pale = 1 - smoothstep(red, limits[1], limits[0])
    bright = np.float32(_BRIGHT) + (1 - coloured(light)) * (np.float32(_GREY_BRIGHT) - _BRIGHT)
    return pale * smoothstep(brightness(rgb) / max(float(light.mean()), 8), *bright)


def with_stained(picture: np.ndarray, teeth: np.ndarray, eye: float) -> np.ndarray:
    """(h, w) float32 0..1: teeth, and what stands between them too yellow to look like teeth itself.

    Args:
        picture: (h, w, 3).
        teeth: (h, w) float32 0..1, what of the mouth's inside looks like teeth.
        eye: outer-eye distance, pixels.
    """
    sure = teeth > 0.5
    if not sure.any():
        return teeth
    rgb = np.asarray(picture, np.float32)
    between = cv2.morphologyEx(teeth, cv2.MORPH_CLOSE, np.ones((1, 2 * round(_STAINED * eye / 2) + 1), np.uint8))
    level = brightness(rgb)
    bright = smoothstep(level / max(float(level[sure].mean()), 1), *_DARKER)
    yellow = 1 - smoothstep((rgb[..., 0] - rgb[..., 1]) / np.maximum(rgb[..., 0], 8), *_LIPS_RED)
    return np.maximum(teeth, between * bright * yellow)


def skin_around(frame: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """(3,) float32 mean colour of the skin around the mouth.

    Args:
        frame: (H, W, 3) uint8.
        loop: (20, 2) inner lips, pixels.
    """
    centre, width = loop.mean(0), width_of(loop)
    out = loop - centre
    # Away from the lips in every direction, also from those of a shut mouth.
    out = out * _RING + out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6) * 0.2 * width
    at = np.round(centre + out).astype(int)
    at = np.clip(at, 0, [frame.shape[1] - 1, frame.shape[0] - 1])
    return np.maximum(np.median(frame[at[:, 1], at[:, 0]].astype(np.float32), axis=0), 4)


@dataclass(frozen=True)
class Row:
    """One row of teeth in a picture of its own.

    Attributes:
        picture: (h, w, 3) uint8.
        teeth: (h, w) float32 0..1, where teeth were seen.
        light: (3,) float32 colour of the skin around the mouth in the same light.
        place: (2, 3) float32 affine map from the frame to this picture.
        arch: (h, w) float32 0..1, where a mouth wider than any that was seen shows the row; None where that is unknown.
    """

    picture: np.ndarray
    teeth: np.ndarray
    light: np.ndarray
    place: np.ndarray
    arch: np.ndarray | None = None

    @property
    def brightness(self) -> float:
        """Of its teeth, over the skin's."""
        sure = self.teeth > 0.5
        return float(np.median(brightness(self.picture)[sure]) / self.light.mean()) if sure.any() else 1.0

    def colours(self, corner: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """(h, w, 3) uint8 picture in a rectangle of the frame, given its (2,) top left pixel and (h, w)."""
        return _cut(self.picture, self.place, corner, shape, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE)

    def level(self, corner: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """(h, w) float32 brightness of the same."""
        return _cut(brightness(self.picture), self.place, corner, shape, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)

    def where(self, corner: np.ndarray, shape: tuple[int, int], wide: bool = False) -> np.ndarray:
        """(h, w) float32 how far that is teeth, or the whole ``arch``."""
        shown = self.arch if wide and self.arch is not None else self.teeth
        return _cut(shown, self.place, corner, shape, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)

    def at(self, place: np.ndarray) -> Row:
        """The row in a frame, given the (2, 3) map from the frame to the pictures of its grid."""
        moved = place.copy()
        moved[:, 2] += self.place[:, 2]
        return replace(self, place=moved)

    def moved(self, by: np.ndarray) -> Row:
        """The row moved by (2,) x and y pixels of the frame."""
        place = self.place.copy()
        place[:, 2] -= place[:, :2] @ by
        return replace(self, place=place)


def _cut(
    picture: np.ndarray, place: np.ndarray, corner: np.ndarray, shape: tuple[int, int], how: int, border: int
) -> np.ndarray:
    there = place.astype(np.float64)
    there[:, 2] += there[:, :2] @ corner
    return cv2.warpAffine(picture, there, shape[::-1], flags=how | cv2.WARP_INVERSE_MAP, borderMode=border)
