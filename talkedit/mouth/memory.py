"""What a shot shows of the speaker's teeth, kept for frames in which an edit opens lips that hide them.

A few mouths are kept of the frames of a shot that show most teeth, upright and to one scale: the upper row where it
lies on the skull, the lower row where it lies on the jaw. At the end they become one picture a row, so that teeth never
change from frame to frame.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from talkedit.composite.warp import around, bounds
from talkedit.mouth.alignment import polygon
from talkedit.mouth.assembly import ENOUGH, Kept, assemble
from talkedit.mouth.dentition import upper_row, whole_crowns
from talkedit.mouth.grid import Grid, Rows
from talkedit.mouth.parting import parting
from talkedit.mouth.registration import find
from talkedit.mouth.rows import (
    SPLIT_SOFT,
    SURE,
    Row,
    brightness,
    depth,
    gap_of,
    in_middle,
    middles,
    row_end,
    skin_around,
    split,
    teeth_end,
    toothness,
    undivided,
)
from talkedit.mouth.widths import lower_like
from talkedit.reconstruct.pose import Pose
from talkedit.track.topology import INNER_LIPS, LANDMARKS

KEPT = 4  # mouths a row
SPACING = 5  # frames that two of them lie apart at least
LARGEST_YAW = 30.0  # degrees
OPEN = 0.02  # inner-lip gap over the eye distance from which on teeth can be seen
_LOWER_FACE = 0.8  # half the side of a still, in eye distances
_PIXELS = (70, 260)  # limits of the scale of a kept mouth, pixels per eye distance
# A first look at a frame is taken at about so many pixels per eye distance; it may be so far from the truth.
_GLANCE, _UNSURE = 100.0, 1.1
_UPPER_ABOVE, _LOWER_BELOW = 0.8, 0.3  # where each row can be between the lips
# Upper teeth end so far below the lips of the mean face, give or take, in eye distances.
EDGE, ANATOMY = 0.02, 0.03
# Tracked inner lips lie up to so many pixels outside the real ones, and at most such a share of the gap.
SHRINK, THIN = 1.5, 0.2
# Inner-lip gap over the eye distance that bares most people's upper teeth: who shows none in most such frames, so far
# below the upper lip, hides them.
GAPES, BARED = 0.08, 0.05
UPPER_LIP = 13  # the landmark in the middle of the upper lip's inner edge
# Resting, it lies so far below the lips of the mean face at most, over the eye distance: what is lower is pushed down.
LOWEST_REST = 0.02
# Where upper teeth end is known from so many mouths that gape, with so much free below them, over the eye distance. The
# base of the nose rises as mouths open, so that it says nothing of where the jaw is: lower rows do without.
TOLD, CLEAR = 5, 0.03
AGREE = 4, 0.008  # or from so many that are no further apart than that, as their standard deviation
# Teeth that fill lips so far apart, over the eye distance, are the upper ones alone unless a line divides them, or so
# many mouths, one other at least, showed where these end; their row ends at such a depth then.
ALONE, ENDS, OTHER = (0.05, 0.2), 1.3, 2
LOOSE = 0.12  # lower teeth come from behind their lip: what lies that far above it, over the eye distance, is others
# Teeth that show less than this, over the eye distance, are a strip: of upper ones, too little to make a row of; below
# upper ones, what shows between these and the lip.
STRIP = (0.04, 0.033)
# Area of the middle of a mouth, in squared eye distances, that is so dark beside skin, from which on its dark shows:
# smiles with teeth that touch have up to 0.003, speech soon shows 0.006. One or the other: half clenched, an edit would
# show both ways of it over each other.
DARK, GAPED = 0.4, 0.004
OTHERS = 0.05  # how much better, on average, lower teeth's widths fit an upper row that is none: see `lower_like`
# Teeth that were kept as both rows, found so surely and as so much of the lower one, are the lower ones if the widths
# of upper ones do not fit them better by this.
BOTH, NEITHER = (0.5, 0.6), 0.1


@dataclass(frozen=True)
class Still:
    """The lower face of one frame, to invent teeth in.

    Attributes:
        facing: 0..1, how frontal and calm it is.
        eye: outer-eye distance, pixels.
        picture: (h, w, 3) uint8.
        landmarks: (468, 3) in it, pixels.
        pose: in it.
    """

    facing: float
    eye: float
    picture: np.ndarray
    landmarks: np.ndarray
    pose: Pose


@dataclass
class MouthMemory:
    """The mouths of one shot that show most teeth.

    Args:
        mean: (468, 3) mean landmarks in model units.

    Attributes:
        grid: of the pictures.
        upper, lower: what is kept of each row.
        still: the frame to invent teeth in.
        frames: how many were observed.
        toothless: of each that opens the mouth wide, whether it shows no upper teeth.
        ends: of each of those that shows where these end, the row of the grid's pictures.
        rests: of each not turned aside, the (2,) middle of the upper lip's inner edge in the grid's pictures.
        dark: the largest area of the mouth's dark in any of them, squared eye distances.
    """

    mean: np.ndarray
    grid: Grid | None = None
    upper: list[Kept] = field(default_factory=list)
    lower: list[Kept] = field(default_factory=list)
    still: Still | None = None
    frames: int = 0
    toothless: list[bool] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    rests: list[np.ndarray] = field(default_factory=list)
    dark: float = 0.0

    @property
    def gaped(self) -> bool:
        """Whether any frame so far showed the dark behind the teeth, and not teeth or lips alone."""
        return self.dark > GAPED

    def observe(self, frame: np.ndarray, landmarks: np.ndarray, pose: Pose, yaw: float) -> None:
        """Keeps the mouth of a frame if it shows more teeth than another.

        Args:
            frame: (H, W, 3) uint8.
            landmarks: (≥468, 3) pixels.
            pose: of the frame.
            yaw: of the head, degrees.
        """
        self.frames += 1
        loop, points = landmarks[INNER_LIPS, :2], pose.to_model(landmarks[:LANDMARKS])
        eye = float(np.linalg.norm(points[33] - points[263])) * pose.scale
        gap = gap_of(loop)
        x0, y0, x1, y1 = bounds(loop, frame.shape)
        inside = x0 <= loop[:, 0].min() and x1 >= loop[:, 0].max() and y0 <= loop[:, 1].min() and y1 >= loop[:, 1].max()
        if not inside:
            return
        if abs(yaw) <= LARGEST_YAW:
            if self.grid is None:
                self.grid = Grid(self.mean, _scale(eye))
            self.rests.append(self.grid.at(points[UPPER_LIP, :2] - self.grid.shifts(points)[0]))
            self._keep_still(frame, landmarks[:LANDMARKS], pose, yaw, eye, gap)
        if gap < OPEN * eye:
            return
        light = skin_around(frame, loop)
        # Most frames show no more than a neighbour or than all that are kept; a glance tells that.
        step = max(1, round(eye / _GLANCE))
        area, lips = frame[y0:y1:step, x0:x1:step], (loop - [x0, y0]) / step
        x, y = np.arange(area.shape[1])[None], np.arange(area.shape[0])[:, None]
        between, hole = depth(x, y, lips), polygon(lips, area.shape[:2])
        near = in_middle(x, lips, eye / step, hole.shape)
        unlit = hole * near * (brightness(area) < DARK * light.mean())
        self.dark = max(self.dark, float(unlit.sum()) * (step / eye) ** 2)
        if abs(yaw) > LARGEST_YAW:
            return
        facing = 1 - (yaw / (2 * LARGEST_YAW)) ** 2
        shown = hole * toothness(area, light)
        teeth = shown * (_UNSURE * facing * (step / eye) ** 2)
        most = [float(teeth[between < _UPPER_ABOVE].sum()), float(teeth[between > _LOWER_BELOW].sum())]
        shifts = self.grid.shifts(points)
        if gap > GAPES * eye:
            bared = float(teeth[between * gap < BARED * eye].sum())
            self.toothless.append(bared < ENOUGH / 4)
            end = teeth_end(shown[near], between[near], CLEAR * eye / gap)
            if end is not None:
                upper, lower = middles(loop)
                place = self.grid.place(pose, shifts[0])
                self.ends.append(float(place[1, :2] @ (upper + end * (lower - upper)) + place[1, 2]))
        if most[0] <= self._least(self.upper) and most[1] <= self._least(self.lower):
            return
        jaws = (shifts[1] - shifts[0]) * self.grid.scale
        for kept, shift, is_lower in ((self.upper, shifts[0], False), (self.lower, shifts[1], True)):
            if most[is_lower] <= self._least(kept):
                continue
            place = self.grid.place(pose, shift)
            w, h = self.grid.size
            picture = cv2.warpAffine(frame, place, (w, h), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
            lips = loop @ place[:, :2].T + place[:, 2]
            seen = self._seen(picture, lips, is_lower, jaws)
            rect = around(seen > 0)
            if rect is None:
                continue
            score = float((seen[rect] * toothness(picture[rect], light)).sum()) * facing / self.grid.pixels**2
            if score > self._least(kept):
                _keep(kept, Kept(score, self.frames, picture, seen, light, lips, jaws))

    def _least(self, kept: list[Kept]) -> float:
        """The score that the current frame needs to be kept."""
        near = [k.score for k in kept if self.frames - k.number < SPACING]
        full = [kept[-1].score] if len(kept) - len(near) >= KEPT else []
        return max([ENOUGH / 4, *near, *full])

    def _keep_still(
        self, frame: np.ndarray, landmarks: np.ndarray, pose: Pose, yaw: float, eye: float, gap: float
    ) -> None:
        facing = 1 - abs(yaw) / LARGEST_YAW - min(gap / eye, 0.5)
        if self.still is not None and facing <= self.still.facing:
            return
        centre = landmarks[INNER_LIPS, :2].mean(0)
        x0, y0, x1, y1 = bounds(centre + np.array([[-1, -1], [1, 1]]) * _LOWER_FACE * eye, frame.shape)
        corner = np.float32([x0, y0, 0])
        there = replace(pose, translation=pose.translation - corner * np.float32([1, -1, 0]))
        self.still = Still(facing, eye, frame[y0:y1, x0:x1].copy(), landmarks - corner, there)

    def lacks_teeth(self) -> bool:
        """Whether no frame so far showed the upper row."""
        return not self.upper or self.upper[0].score < ENOUGH

    def _seen(
        self,
        picture: np.ndarray,
        loop: np.ndarray,
        is_lower: bool,
        jaws: np.ndarray,
        upper: np.ndarray | None = None,
        told: bool = False,
    ) -> np.ndarray:
        """(h, w) float32 0..1, what a kept picture shows of a row.

        Args:
            picture: (h, w, 3) uint8.
            loop: (20, 2) inner lips in it.
            is_lower: which row, and whose picture it is.
            jaws: (2,) how far the lower jaw lies from the upper, pixels, beside the mean face's.
            upper: (h, w) where the upper row's teeth lie in it, if that is known.
            told: where upper teeth end is known from few mouths.
        """
        out = np.zeros(picture.shape[:2], np.float32)
        x0, y0, x1, y1 = bounds(loop, picture.shape)
        if x0 >= x1 or y0 >= y1:
            return out
        rect, lips = np.s_[y0:y1, x0:x1], loop - [x0, y0]
        inside = polygon(lips, out[rect].shape, -min(SHRINK, THIN * gap_of(lips)))
        x, y = np.arange(x1 - x0, dtype=np.float32)[None], np.arange(y1 - y0, dtype=np.float32)[:, None]
        between, gap = depth(x, y, lips), gap_of(loop)
        middle, sure, end = loop.mean(0), SURE, None
        near = in_middle(x, lips, self.grid.pixels, between.shape)
        if upper is not None:
            end = row_end(upper[rect], between, near)
        surely = len(self.ends) >= TOLD
        told = told or surely
        guessed = end is None and not told
        if end is None:
            known = told and not is_lower
            sure = SURE if surely and not is_lower else ANATOMY
            lowest = float(np.median(self.ends)) if known else self.grid.lips_at + EDGE * self.grid.pixels
            end = float(depth(middle[:1], np.array([lowest - (jaws[1] if is_lower else 0)]), loop)[0])
        grey = brightness(picture[rect])
        edge = split(picture[rect], inside, between, end, sure * self.grid.pixels / gap)
        if guessed and len(self.ends) < OTHER and ALONE[0] < gap / self.grid.pixels < ALONE[1]:
            teeth = inside * toothness(picture[rect], skin_around(picture, loop))
            edge += undivided(grey, teeth, inside * near) * max(ENDS - edge, 0)
        line, _ = parting(grey, inside, between, edge, self.grid.pixels)
        below = np.clip((between - line) * gap / SPLIT_SOFT + 0.5, 0, 1)
        out[rect] = inside * (below if is_lower else 1 - below)
        return out

    def _agree(self) -> bool:
        """Whether the few mouths that show where upper teeth end agree on it."""
        some, apart = AGREE
        return len(self.ends) >= some and float(np.std(self.ends)) < apart * self.grid.pixels

    def _again(self, kept: Kept) -> Kept:
        """The mouth of an upper row with what is known by now."""
        again = replace(kept, seen=self._seen(kept.picture, kept.loop, False, kept.jaws, told=self._agree()))
        return replace(again, score=kept.score * float(again.teeth.sum()) / max(float(kept.teeth.sum()), 1e-6))

    def _shows_lower_only(self) -> bool:
        """Whether what was kept of the upper row are lower teeth, as of a speaker who never bares upper ones."""
        like = [lower_like(k.picture, k.teeth, self.grid.pixels) for k in self.upper if k.score >= ENOUGH]
        told = [v for v in like if v is not None]
        return bool(told) and float(np.mean(told)) > OTHERS

    def _are_lower(self, upper: Row) -> bool:
        """Whether an upper row are the teeth that the best lower mouth shows, split off on the other side there."""
        if not self.lower:
            return False
        best, (h, w) = self.lower[0], upper.teeth.shape
        there = upper.at(np.float32([[1, 0, best.jaws[0]], [0, 1, best.jaws[1]]]))
        inside = polygon(best.loop, (h, w))
        by, sure = find(there, brightness(best.picture), inside, self.grid.pixels, False, np.zeros(2))
        shared = np.minimum(there.moved(by).where(np.zeros(2), (h, w)), best.teeth)
        if sure < BOTH[0] or shared.sum() < BOTH[1] * best.teeth.sum():
            return False
        like = lower_like(self.upper[0].picture, self.upper[0].teeth, self.grid.pixels)
        return like is not None and like > -NEITHER

    def _off_lip(self, kept: Kept) -> float:
        """How far above the lower lip a kept lower row ends, over the eye distance; 0 where it shows no teeth."""
        h, w = kept.seen.shape
        x, y = np.arange(w, dtype=np.float32)[None], np.arange(h, dtype=np.float32)[:, None]
        end = row_end(kept.teeth, depth(x, y, kept.loop), in_middle(x, kept.loop, self.grid.pixels, (h, w)))
        return 0.0 if end is None else (1 - end) * gap_of(kept.loop) / self.grid.pixels

    def _resting_lip(self) -> np.ndarray:
        """(2,) where the middle of the upper lip's inner edge rests in the grid's pictures, pixels."""
        x, y = np.median(self.rests, 0)
        return np.float32([x, min(y, self.grid.lips_at + LOWEST_REST * self.grid.pixels)])

    def forget(self, numbers: Container[int]) -> None:
        """Drops the mouths of frames, counted from 1 in the order they were observed: something hid them."""
        for kept in (self.upper, self.lower):
            kept[:] = [k for k in kept if k.number not in numbers]

    def solve(self, blur: float) -> Rows | None:
        """One picture a row of all that was kept, and a drawn one for an upper row that had no chance to show.

        Args:
            blur: of the shot, pixels.

        Returns:
            the rows; None where no frame showed the mouth.
        """
        still = self.still
        if self.grid is None:
            return None
        if len(self.ends) >= OTHER:  # where the upper row ends was not known yet when some were kept
            self.upper = [self._again(k) for k in self.upper]
            self.upper.sort(key=lambda k: -k.score)
        unseen = self.lacks_teeth()
        if self._shows_lower_only():
            self.upper = []
        # Clenched teeth are cut off by the lips, differently in every frame; others show where their row ends.
        upper = assemble(self.upper, self.grid.pixels, False, 2 if self.gaped else 1)
        if upper is not None and self._are_lower(upper):
            upper = None
        if upper is not None:
            h, w = upper.teeth.shape
            for i, k in enumerate(self.lower):  # where the upper row ends is known now
                move = np.float32([[1, 0, -k.jaws[0]], [0, 1, -k.jaws[1]]])
                seen = self._seen(k.picture, k.loop, True, k.jaws, cv2.warpAffine(upper.teeth, move, (w, h)))
                self.lower[i] = replace(k, seen=seen)
        self.lower = [k for k in self.lower if self._off_lip(k) < LOOSE and k.height(self.grid.pixels) > STRIP[1]]
        # What looks like lower teeth may be a tongue, where the upper row does not tell.
        lower = assemble(self.lower, self.grid.pixels, True, KEPT if upper is None else 1)
        if upper is not None and lower is not None:  # of highlights a lower row is brighter than that it lies behind
            lower = replace(lower, light=lower.light * max(1.0, lower.brightness / upper.brightness))
        if upper is not None and lower is None and self.upper[0].height(self.grid.pixels) < STRIP[0]:
            upper = whole_crowns(upper, self.upper[0].teeth, self.upper[0].loop, self.grid)
        self.upper, self.lower, self.still = [], [], None
        guess = None
        if unseen and still is not None and not (self.toothless and np.mean(self.toothless) > 0.5):
            light = skin_around(still.picture, still.landmarks[INNER_LIPS, :2])
            guess = upper_row(self.grid, self._resting_lip(), light, blur * self.grid.pixels / still.eye)
        return None if upper is lower is guess is None else Rows(upper, lower, self.grid, guess)


def _scale(eye: float) -> float:
    """Scale of kept mouths, pixels per eye distance, for one of so many pixels."""
    return float(np.clip(eye, *_PIXELS))


def _keep(kept: list[Kept], new: Kept) -> None:
    """Puts a mouth among the kept, best first; of neighbours in time, which show the same, only the best stays."""
    far = [k for k in kept if new.number - k.number >= SPACING]
    kept[:] = sorted([*far, new], key=lambda k: -k.score)[:KEPT]
