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

from talkedit.composite.warp import bounds
from talkedit.mouth.alignment import polygon
from talkedit.mouth.grid import Grid, Rows
from talkedit.mouth.rows import (
    MIDDLE,
    SPLIT_SOFT,
    SURE,
    Row,
    brightness,
    depth,
    gap_of,
    row_end,
    skin_around,
    split,
    toothness,
)
from talkedit.reconstruct.pose import Pose
from talkedit.track.topology import INNER_LIPS, LANDMARKS

KEPT = 4  # mouths a row
SPACING = 5  # frames that two of them lie apart at least
LARGEST_YAW = 30.0  # degrees
OPEN = 0.03  # inner-lip gap over the eye distance from which on teeth can be seen
_LOWER_FACE = 0.8  # half the side of a still, in eye distances
_PIXELS = (70, 260)  # limits of the scale of a kept mouth, pixels per eye distance
# Upper teeth end so far below the lips of the mean face, give or take, in eye distances.
EDGE, ANATOMY = 0.02, 0.03
UNDER = 0.03  # how far a row goes on under the lip, in eye distances
DARKER = 0.985  # by which it gets darker there, a pixel
CLOSE = 2  # half the width of gaps between teeth, pixels
SHRINK = 1.5  # tracked inner lips lie up to so many pixels outside the real ones
ENOUGH = 0.0025  # area of teeth, in squared eye distances, from which on a row is worth showing


@dataclass(frozen=True)
class _Kept:
    # ``jaws``: how far the lower jaw lies from the upper, pixels, beside the mean face's.
    score: float
    number: int
    picture: np.ndarray
    seen: np.ndarray
    light: np.ndarray
    loop: np.ndarray
    jaws: np.ndarray


@dataclass(frozen=True)
class Still:
    """The lower face of one frame, to invent teeth in.

    Attributes:
        facing: 0..1, how frontal and calm it is.
        picture: (h, w, 3) uint8.
        landmarks: (468, 3) in it, pixels.
        pose: in it.
    """

    facing: float
    picture: np.ndarray
    landmarks: np.ndarray
    pose: Pose


@dataclass
class MouthMemory:
    """The mouths of one shot that show most teeth.

    Args:
        mean: (468, 3) mean landmarks in model units.
    """

    mean: np.ndarray
    grid: Grid | None = None
    upper: list[_Kept] = field(default_factory=list)
    lower: list[_Kept] = field(default_factory=list)
    still: Still | None = None
    frames: int = 0

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
        if abs(yaw) > LARGEST_YAW or not inside:
            return
        self._keep_still(frame, landmarks[:LANDMARKS], pose, yaw, eye, gap)
        if gap < OPEN * eye:
            return
        if self.grid is None:
            self.grid = Grid(self.mean, float(np.clip(eye, *_PIXELS)))
        light = skin_around(frame, loop)
        facing = 1 - (yaw / (2 * LARGEST_YAW)) ** 2
        shifts = self.grid.shifts(points)
        jaws = (shifts[1] - shifts[0]) * self.grid.scale
        for kept, shift, is_lower in ((self.upper, shifts[0], False), (self.lower, shifts[1], True)):
            place = self.grid.place(pose, shift)
            w, h = self.grid.size
            picture = cv2.warpAffine(frame, place, (w, h), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
            lips = loop @ place[:, :2].T + place[:, 2]
            seen = self._seen(picture, lips, is_lower, jaws)
            score = float((seen * toothness(picture, light)).sum()) * facing / self.grid.pixels**2
            if score > ENOUGH / 4:
                _keep(kept, _Kept(score, self.frames, picture, seen, light, lips, jaws))

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
        self.still = Still(facing, frame[y0:y1, x0:x1].copy(), landmarks - corner, there)

    def lacks_teeth(self) -> bool:
        """Whether no frame so far showed the upper row."""
        return not self.upper or self.upper[0].score < ENOUGH

    def _seen(
        self, picture: np.ndarray, loop: np.ndarray, is_lower: bool, jaws: np.ndarray, upper: np.ndarray | None = None
    ) -> np.ndarray:
        """(h, w) float32 0..1, what a kept picture shows of a row.

        Args:
            picture: (h, w, 3) uint8.
            loop: (20, 2) inner lips in it.
            is_lower: which row, and whose picture it is.
            jaws: (2,) how far the lower jaw lies from the upper, pixels, beside the mean face's.
            upper: (h, w) where the upper row's teeth lie in it, if that is known.
        """
        h, w = picture.shape[:2]
        inside = polygon(loop, (h, w), -SHRINK)
        gx, gy = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
        between, gap = depth(gx, gy, loop), gap_of(loop)
        middle, sure, end = loop.mean(0), SURE, None
        if upper is not None:
            end = row_end(upper, between, np.abs(gx - middle[0]) < MIDDLE * self.grid.pixels)
        if end is None:
            sure, lowest = ANATOMY, self.grid.lips_at + EDGE * self.grid.pixels - (jaws[1] if is_lower else 0)
            end = float(depth(middle[:1], np.array([lowest]), loop)[0])
        edge = split(picture, inside, between, end, sure * self.grid.pixels / gap)
        below = np.clip((between - edge) * gap / SPLIT_SOFT + 0.5, 0, 1)
        return inside * (below if is_lower else 1 - below)

    def forget(self, numbers: Container[int]) -> None:
        """Drops the mouths of frames, counted from 1 in the order they were observed: something hid them."""
        for kept in (self.upper, self.lower):
            kept[:] = [k for k in kept if k.number not in numbers]

    def solve(self) -> Rows | None:
        """One picture a row of all that was kept; None where no teeth were seen."""
        if self.grid is None:
            return None
        upper = self._merge(self.upper, self.grid.pixels, False)
        if upper is not None:
            h, w = upper.teeth.shape
            for i, k in enumerate(self.lower):  # where the upper row ends is known now
                move = np.float32([[1, 0, -k.jaws[0]], [0, 1, -k.jaws[1]]])
                seen = self._seen(k.picture, k.loop, True, k.jaws, cv2.warpAffine(upper.teeth, move, (w, h)))
                self.lower[i] = replace(k, seen=seen)
        lower = self._merge(self.lower, self.grid.pixels, True)
        self.upper, self.lower, self.still = [], [], None
        return None if upper is None and lower is None else Rows(upper, lower, self.grid)

    @staticmethod
    def _merge(kept: list[_Kept], pixels: float, is_lower: bool) -> Row | None:
        if not kept or kept[0].score < ENOUGH:
            return None
        light = kept[0].light
        colour, total = np.zeros(kept[0].picture.shape, np.float32), np.zeros(kept[0].seen.shape, np.float32)
        h, w = kept[0].seen.shape
        still = np.eye(2, 3, dtype=np.float32)
        best = Row(kept[0].picture, kept[0].seen * toothness(kept[0].picture, light), light, still)
        gx, gy = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
        beside = []
        for k in kept:  # the best first; the others, moved onto it, only add what it hides
            moved = -best.registered(brightness(k.picture), k.seen, gx, gy, pixels).place[:, 2]
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
        teeth = cv2.morphologyEx(toothness(picture, light) * (total > 0.5), cv2.MORPH_CLOSE, across)
        teeth = (np.clip(1.5 * cv2.GaussianBlur(teeth, (0, 0), 0.8), 0, 1) * total).astype(np.float32)
        # Every one of them was put a little beside its place: their mean is nearer to it.
        picture = _lengthen(picture, teeth, round(UNDER * pixels), 1 if is_lower else -1)
        still[:, 2] = -np.mean(beside, axis=0)
        return Row(picture, teeth, light, still)


def _lengthen(picture: np.ndarray, teeth: np.ndarray, pixels: int, step: int) -> np.ndarray:
    """(h, w, 3) uint8: the row goes on under the lip that hid its upper end; ``teeth`` grows with it, in place.

    Args:
        picture: (h, w, 3) uint8.
        teeth: (h, w) float32 0..1.
        pixels: how far.
        step: 1 downwards, -1 upwards.
    """
    out = picture.astype(np.float32)
    for _ in range(pixels):
        more = np.roll(teeth, step, axis=0) * DARKER
        new = more > teeth
        out[new] = (np.roll(out, step, axis=0) * DARKER)[new]
        teeth[new] = more[new]
    return (out + 0.5).astype(np.uint8)


def _keep(kept: list[_Kept], new: _Kept) -> None:
    """Puts a mouth among the kept, best first; of neighbours in time, which show the same, only the best stays."""
    near = [k for k in kept if new.number - k.number < SPACING]
    if any(k.score >= new.score for k in near):
        return
    kept[:] = sorted([k for k in kept if all(k is not n for n in near)] + [new], key=lambda k: -k.score)[:KEPT]
