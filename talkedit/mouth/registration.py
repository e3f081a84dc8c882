"""Rows of teeth laid onto what a frame shows of them.

The pose puts a row up to a few hundredths of the eye distance beside its place, and differently from frame to frame.
Where a frame shows teeth, the row is moved to where both agree best: normalised cross-correlation of what is finer than
a tooth, over translations only, so that a row stays rigid. What was found in the frame before is the guess, and counts
more the less the frame shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from talkedit.composite.warp import around
from talkedit.geometry.openings import smoothstep
from talkedit.mouth.rows import Row

_REACH = (0.03, 0.05)  # how far rows are looked for beside the guess, sideways and up and down, in eye distances
# How far they usually are from it, and from where the pose puts them, and the correlation that so much is worth.
_ASTRAY, _HELD = (0.015, 0.025), (0.05, 0.03)
# The pose is hardly ever, and never, further off: a row that seems to be lies over the other one; in eye distances.
_FAR, _FARTHEST = 0.035, 0.04
_FINE = 0.02  # what is coarser is light and shadow, in eye distances
_EDGE = 0.015  # the dark that is compared beyond the edge of a row, in eye distances
_DARK = 0.3  # brightness there, over that of the teeth
_TEETH = 0.4  # from which on a place is one of teeth
_FEWEST = 12  # pixels that a frame must show, and a row must have, to be compared
_SURE = (0.25, 0.55)  # correlation of rows that were hardly, and surely, found
# Area of the inside, in squared eye distances, that tells hardly and surely: in a slit anything fits. And how much of
# its way back to where the pose puts it a row goes in a frame that does not tell.
_ENOUGH, _BACK = (0.002, 0.005), 0.15

_NEWS = 0.5  # share of what a frame tells of rows that touch
# Share of a row's places that look like teeth, beside how much its own picture does, over which it is believed; and
# the least that this counts as.
_AGREE, _LEAST = (0.2, 0.6), 0.4
# How fast doubt is learned (teeth in sight end it at once), and from what area, in squared eye distances, on.
_LEARNS, _TELLS = 0.6, 0.001


def find(
    row: Row, grey: np.ndarray, seen: np.ndarray, eye: float, is_lower: bool, guess: np.ndarray
) -> tuple[np.ndarray, float]:
    """How far a row lies beside its place.

    Args:
        row: placed in the frame's rectangle.
        grey: (h, w) float32 brightness of the rectangle.
        seen: (h, w) 0..1, where it shows what lies between the lips.
        eye: outer-eye distance, pixels.
        is_lower: the row's free edge is its upper one.
        guess: (2,) x and y, pixels.

    Returns:
        (2,) x and y, pixels; 0..1, how sure that is. The guess and 0 where nothing can be compared.
    """
    rect = around(seen > 0.2)
    if rect is None:
        return guess, 0.0
    grey, seen = grey[rect], seen[rect]
    (h, w), whole = grey.shape, np.round(guess).astype(int)
    rx, ry = (max(2, round(share * eye)) for share in _REACH)
    corner = np.array([rect[1].start - rx, rect[0].start - ry]) - whole
    window = (h + 2 * ry, w + 2 * rx)
    teeth = (row.where(corner, window) > _TEETH).astype(np.float32)
    if min(float(seen.sum()), float(teeth.sum())) < _FEWEST:
        return guess, 0.0
    # What a row's own picture shows beyond its edge is another frame's mouth: here it is dark.
    level = row.level(corner, window)
    level = np.where(teeth > 0, level, np.float32(_DARK * cv2.mean(level, teeth.astype(np.uint8))[0]))
    beyond = max(2, round(_EDGE * eye))
    share = cv2.dilate(teeth, np.ones((beyond + 1, 1), np.uint8), anchor=(0, 0 if is_lower else beyond))
    fine = level - cv2.GaussianBlur(level, (0, 0), _FINE * eye)
    light = cv2.GaussianBlur(grey * seen, (0, 0), _FINE * eye)
    mine = seen * (grey - light / np.maximum(cv2.GaussianBlur(seen, (0, 0), _FINE * eye), 1e-3))
    both = _correlate(share * fine, mine)
    norm = _correlate(share * fine * fine, seen) * _correlate(share, mine * mine)
    overlap = _correlate(share, seen)
    found = both / np.sqrt(np.maximum(norm, 1e-3)) * np.sqrt(np.clip(overlap / max(float(overlap.max()), 1.0), 0, 1))
    y, x = ry - np.arange(2 * ry + 1)[:, None] + whole[1], rx - np.arange(2 * rx + 1) + whole[0]
    held = found
    for place, usual, worth in zip((guess, np.zeros(2)), _ASTRAY, _HELD, strict=True):
        held = held - worth * ((y - place[1]) ** 2 + (x - place[0]) ** 2) / (usual * eye) ** 2
    held = np.where(np.maximum(np.abs(x), np.abs(y)) > _FARTHEST * eye, -np.inf, held)
    i, j = np.unravel_index(held.argmax(), held.shape)
    at = np.array([x[j] - _between(held[i], j), y[i, 0] - _between(held[:, j], i)])
    low, high = _SURE
    sure = float(np.clip((found[i, j] - low) / (high - low), 0, 1) * smoothstep(seen.sum() / eye**2, *_ENOUGH))
    return at, sure * (1 - float(smoothstep(np.abs(at).max() / eye, _FAR, _FARTHEST)))


def _correlate(picture: np.ndarray, part: np.ndarray) -> np.ndarray:
    return cv2.matchTemplate(picture.astype(np.float32), part.astype(np.float32), cv2.TM_CCORR)


def _between(values: np.ndarray, at: int) -> float:
    """Offset of the top of the parabola through a maximum and its neighbours, -0.5..0.5."""
    if not 0 < at < len(values) - 1 or not np.isfinite(values[at - 1 : at + 2]).all():
        return 0.0
    before, top, after = values[at - 1 : at + 2]
    return float(np.clip((before - after) / min(2 * (before - 2 * top + after), -1e-9), -0.5, 0.5))


@dataclass
class Registration:
    """What the frames of a shot tell of its mouth: where both rows lie beside where the pose puts them, in what light.

    Attributes:
        offsets: (2, 2) of the upper and the lower row, in eye distances.
        trust: (2,) 0..1, how far frames show teeth where these offsets put the rows.
        touch: 0..1, the rows touch; None where no frame of the shot told yet.
        rounded: 0..1, the last frame's mouth was, see `talkedit.mouth.inside.Inside`.
        cavity: (3,) colour of the mouth's dark over the lips'; None where no frame of the shot told yet.
        dark: 0..1, how much of that dark any frame showed.
        light: (2,) brightness of the rows over what the skin tells of their light, in the frames so far.
        last: index of the frame that they were found in; they count for the next one only.
    """

    offsets: np.ndarray = field(default_factory=lambda: np.zeros((2, 2)))
    trust: np.ndarray = field(default_factory=lambda: np.ones(2))
    touch: float | None = None
    rounded: float = 0.0
    cavity: np.ndarray | None = None
    dark: float = 0.0
    light: np.ndarray = field(default_factory=lambda: np.ones(2))
    last: int = -1

    def follow(self, index: int) -> None:
        """Forgets what was found if the frame with this index does not follow the last one."""
        if index != self.last + 1:
            vars(self).update(vars(Registration()))
        self.last = index

    def place(self, row: Row, grey: np.ndarray, seen: np.ndarray, eye: float, which: int) -> Row:
        """The row where this frame shows it, or nearer to the pose's place the less it does.

        Args:
            row, grey, seen, eye: see :func:`find`.
            which: 1 for the lower row.
        """
        guess = self.offsets[which] * eye
        at, sure = find(row, grey, seen, eye, which == 1, guess)
        self.offsets[which] = (sure * at + (1 - sure) * (1 - _BACK) * guess) / eye
        return self.hold(row, eye, which)

    def hold(self, row: Row, eye: float, which: int) -> Row:
        """The row where it was last, as closed lips do not show it."""
        return row.moved(self.offsets[which] * eye)

    def together(self, touch: float) -> float:
        """0..1, the rows touch, given what a frame shows: all of it at first, then half of what is new."""
        self.touch = touch if self.touch is None else self.touch + _NEWS * (touch - self.touch)
        return self.touch

    def compare(self, overlap: np.ndarray, like_teeth: np.ndarray, usual: np.ndarray, eye: float, which: int) -> None:
        """Trusts a row less if the frame shows no teeth where it should lie: it is further under the lip then.

        Args:
            overlap: (h, w) 0..1, how far the frame shows a place of the row.
            like_teeth: (h, w) 0..1, what it shows there looks like teeth.
            usual: (h, w) 0..1, how much the row itself does there: teeth in a lip's light do less.
            eye: outer-eye distance, pixels.
            which: 1 for the lower row.
        """
        area = float(overlap.sum())
        expected = max(float((overlap * usual).sum()), _LEAST * area, 1e-6)
        agree = smoothstep(float((overlap * like_teeth).sum()) / expected, *_AGREE)
        trust = self.trust.copy()
        share = (_LEARNS if agree < trust[which] else 1.0) * area / (area + _TELLS * eye**2)
        trust[which] += share * (agree - trust[which])
        self.trust = trust
