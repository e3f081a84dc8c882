"""Things before the face that come and go: cups, paper, microphones, hair that falls over a cheek.

Of every frame the face is kept as a small texture. When a shot is over, every fourth frame is compared with what the
face looks like in the rest of the shot; where a large patch of a frame fits no light on that face, the frames before
and after are gone through one by one until the patch has left. What never leaves, and what hides a single picture's
face, is seen by a network (`talkedit.track.cover_network`), which looks at every eighth.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from itertools import pairwise

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from talkedit.facemodel.model import FaceModel
from talkedit.texture.uv_map import LUMINANCE
from talkedit.track.cover_network import CoverNetwork, cover
from talkedit.track.skin import ShotSkin
from talkedit.track.texels import SIZE, Texels
from talkedit.track.topology import INNER_LIPS, LEFT_BROW, LEFT_EYE, RIGHT_BROW, RIGHT_EYE

# Frames between two looks at what is unlike the shot, and two of the network, which costs more; at least so many looks
# at a short shot; shots of fewer frames are no measure of a face.
EVERY, GLANCE_EVERY, LOOKS, FEWEST = 4, 8, 12, 8
# Frames of a shot its reference is made of.
SAMPLES = 24
# Cosine between normal and view from which on a texel is seen, and one that may tell of an occluder's presence.
FACING, UPRIGHT = 0.35, 0.45
# Texels from a silhouette, and around eyes, brows, nostrils and the inner lips, that tell nothing: these move, open and
# cast shadows.
MARGIN, AROUND = 2, 2.6
_NOSTRILS = np.array([2, 97, 99, 60, 75, 326, 328, 290, 305, 20, 250])
# A patch is further from the face than ``HIGH`` spreads, and so much in sum over its texels: if it is found by itself,
# and beside one that was found in the frame before or after.
HIGH, SURE, LIKELY = 2.8, 60.0, 15.0
# It reaches as far as ``LOW`` spreads.
LOW = 2.2
# The network is sure of a thing where at least so many texels in one piece are; beside one found in the frame before or
# after so many will do. Only those below the eyes count, or a fringe would stop the brows under it. A thing reaches as
# far as the network thinks it more likely than not.
CERTAIN, LARGE, SMALL, LOOKS_LIKE = 0.7, 20, 8, 0.5
# Frames that it sees at once.
AT_ONCE = 64
# What covers more of the face than this is no thing but a light that the model of it does not know.
LARGEST = 0.65
# Frames a thing is there at least, and for which it may be lost in between: it must not hold and free a mouth in turn.
SHORTEST, LOST = 4, 10
# Finds a mask in the frame with a number, given that of the frame before or after.
_Look = Callable[[int, "np.ndarray | None"], "np.ndarray | None"]


class OccluderWatch:
    """Masks of what hides a face, frame by frame.

    Args:
        model: the face model.
        network: sees things in a single frame.
    """

    def __init__(self, model: FaceModel, network: CoverNetwork) -> None:
        self._texels, self._network = Texels(model), network
        self._file = tempfile.TemporaryFile(prefix="talkedit-")  # noqa: SIM115 (lives as long as the watch)
        self._bytes = 3 * len(self._texels)
        self._seen: list[int] = []
        self._shape: tuple[int, ...] = (0, 0)
        self._found: dict[int, np.ndarray] = {}
        inside = self._texels.inside.astype(np.uint8)
        filled = cv2.morphologyEx(inside, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
        self._holes = (filled > 0) & (inside == 0)
        quiet = np.zeros((SIZE, SIZE), np.uint8)
        uv = model.uv[model.landmark_vertices] * SIZE - 0.5
        rings = (LEFT_EYE, RIGHT_EYE, LEFT_BROW, RIGHT_BROW, _NOSTRILS, INNER_LIPS)
        for ring in rings:
            hull = cv2.convexHull(np.round(uv[ring]).astype(np.int32))
            cv2.fillConvexPoly(quiet, hull, 1)
        side = 2 * round(AROUND) + 1
        quiet = cv2.dilate(quiet, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
        self._telling = (quiet == 0) & (inside > 0)
        lids = uv[np.r_[LEFT_EYE, RIGHT_EYE], 1].max()
        self._below_eyes = np.repeat(np.arange(SIZE)[:, None] > lids, SIZE, axis=1)

    def see(self, index: int, rgb: np.ndarray, landmarks: np.ndarray) -> None:
        """Keeps the face of the next frame.

        Args:
            index: number of the frame.
            rgb: (H, W, 3) uint8.
            landmarks: (≥468, ≥2) pixels.
        """
        self._file.seek(index * self._bytes)
        self._file.write(self._texels.sample(rgb, landmarks).tobytes())
        self._seen.append(index)
        self._shape = rgb.shape

    def solve(self, landmarks: Callable[[int], np.ndarray | None]) -> set[int]:
        """Ends a shot: finds what hides the face in the frames kept since the last one.

        Args:
            landmarks: of a frame by its number.

        Returns:
            Which of these frames show something before the face, counted from 1.
        """
        frames, self._seen = np.array(self._seen, int), []
        if not len(frames):
            return set()
        looks, glances = (frames[:: max(1, min(every, len(frames) // LOOKS))] for every in (EVERY, GLANCE_EVERY))
        self._landmarks = landmarks
        self._facing: dict[int, np.ndarray] = {}
        self._chances: dict[int, np.ndarray | None] = {}
        for part in np.split(glances, range(AT_ONCE, len(glances), AT_ONCE)):
            for i, chance in zip(part, self._cover(part), strict=True):  # most are bare, and need not be kept
                self._chances[i] = chance if (chance > LOOKS_LIKE).sum() >= SMALL else None
        ways = [(self._seen_by_network, glances)]
        if len(frames) >= FEWEST:
            some = looks[np.unique(np.linspace(0, len(looks) - 1, min(SAMPLES, len(looks))).astype(int))]
            self._facing = {i: self._faces(i) for i in some}
            seen = np.stack([self._facing[i] > FACING for i in some])
            skin = self._telling[self._texels.inside]
            self._skin = ShotSkin(self._texels.inside, skin, np.stack([self._kept(i) for i in some]), seen)
            ways.append((self._unlike_the_shot, looks))
        hidden: dict[int, np.ndarray] = {}
        for look, at in ways:
            for i, mask in self._lasting(look, at, frames).items():
                hidden[i] = hidden.get(i, False) | mask
        self._found |= {int(i): np.packbits(mask) for i, mask in hidden.items()}
        return {k for k, i in enumerate(frames, 1) if i in self._found}

    def at(self, index: int) -> np.ndarray | None:
        """(SIZE, SIZE) bool over the template, what is hidden in a frame; None where nothing is."""
        bits = self._found.get(index)
        return None if bits is None else np.unpackbits(bits).reshape(SIZE, SIZE).astype(bool)

    def _lasting(self, look: _Look, looks: np.ndarray, frames: np.ndarray) -> dict[int, np.ndarray]:
        """Masks by frame, found one way; what is there for a moment only does not count."""
        found: dict[int, np.ndarray] = {}
        for i in looks:
            if i not in found and (mask := look(i, None)) is not None:
                found[i] = mask
                self._follow(look, i, frames, found)
        shortest = min(SHORTEST, len(frames))
        found = {i: m for i, m in found.items() if sum(abs(k - i) <= SHORTEST for k in found) >= shortest}
        return _without_gaps(found, frames)

    def _follow(self, look: _Look, start: int, frames: np.ndarray, found: dict[int, np.ndarray]) -> None:
        """Goes on from a frame that shows a thing, both ways, to where it is gone."""
        at = int(np.searchsorted(frames, start))
        for way in (frames[at + 1 :], frames[:at][::-1]):
            near = found[start]
            for i in way:
                if i in found or (mask := look(i, near)) is None:
                    break
                found[i] = near = mask

    def _kept(self, index: int) -> np.ndarray:
        """(N, 3) uint8 of a frame."""
        self._file.seek(int(index) * self._bytes)
        return np.frombuffer(self._file.read(self._bytes), np.uint8).reshape(-1, 3)

    def _cover(self, indices: Sequence[int]) -> np.ndarray:
        """(B, N) 0..1, how surely the network sees something before the face in frames."""
        return cover(self._network, np.stack([self._kept(i) @ LUMINANCE for i in indices]), self._texels.inside)

    def _faces(self, index: int) -> np.ndarray:
        """(N,) cosine between normals and view in a frame, -1 beyond the picture."""
        if index in self._facing:
            return self._facing[index]
        landmarks = self._landmarks(int(index))
        return np.where(self._texels.within(landmarks, self._shape), self._texels.facing(landmarks), -1)

    def _within(self, seen: np.ndarray, margin: int) -> np.ndarray:
        """(SIZE, SIZE) bool: (N,) bool without a margin of texels at its rim."""
        solid = (self._texels.picture(seen.astype(np.uint8)) | self._holes).astype(np.uint8)
        side = 2 * margin + 1
        return cv2.erode(solid, np.ones((side, side), np.uint8), borderValue=0).astype(bool)

    def _seen_by_network(self, index: int, near: np.ndarray | None) -> np.ndarray | None:
        """(SIZE, SIZE) bool mask of a frame, None if the network sees nothing there; arguments as below."""
        chance = self._chances[index] if index in self._chances else self._cover([index])[0]
        if chance is None:
            return None
        chance, seen = self._texels.picture(chance), self._faces(index) > FACING
        inner = self._within(seen, 1)
        core = (chance > CERTAIN) & inner
        if near is not None:
            core |= (chance > LOOKS_LIKE) & inner & near
        count, labels = cv2.connectedComponents(core.astype(np.uint8), connectivity=4)
        sizes = np.bincount(labels.ravel(), self._below_eyes.ravel(), count)
        sizes[0] = 0
        large = (sizes >= (LARGE if near is None else SMALL))[labels]
        visible = self._texels.picture(seen)
        return self._mask(large, (chance > LOOKS_LIKE) & visible, visible, inner)

    def _unlike_the_shot(self, index: int, near: np.ndarray | None) -> np.ndarray | None:
        """(SIZE, SIZE) bool mask of a frame, None if all of it looks as in the rest of the shot.

        Args:
            index: of the frame.
            near: the mask of the frame before or after.
        """
        facing = self._faces(index)
        seen = facing > FACING
        distance = self._texels.picture(self._skin.distance(self._kept(index), seen))
        firm = self._within(facing > UPRIGHT, MARGIN)
        telling = firm & self._telling
        high = cv2.morphologyEx(
            ((distance > HIGH) & telling).astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)
        )
        count, labels = cv2.connectedComponents(high, connectivity=4)
        sums = np.bincount(labels.ravel(), (distance - HIGH).ravel(), count)
        sums[0] = 0
        sure = sums >= SURE
        if near is not None:
            touched = np.bincount(labels.ravel(), cv2.dilate(near.astype(np.uint8), np.ones((7, 7))).ravel(), count) > 0
            sure |= touched & (sums >= LIKELY)
        visible = self._texels.picture(seen)
        return self._mask(sure[labels], (distance > LOW) & visible, visible, firm)

    @staticmethod
    def _mask(seeds: np.ndarray, allowed: np.ndarray, visible: np.ndarray, firm: np.ndarray) -> np.ndarray | None:
        """(SIZE, SIZE) bool: the patches that hold seeds, and how they go on; None if there are none, or too much."""
        if not seeds.any():
            return None
        mask = _grown(seeds, allowed)
        return None if mask.sum() > LARGEST * visible.sum() else _continued(mask, firm)


def _without_gaps(found: dict[int, np.ndarray], frames: np.ndarray) -> dict[int, np.ndarray]:
    """Masks by frame, short gaps between two of them filled with the nearer one."""
    out, shown = dict(found), sorted(found)
    for before, after in pairwise(shown):
        if 1 < after - before <= LOST + 1:
            gap = frames[(frames > before) & (frames < after)]
            out |= {i: found[before if i - before <= after - i else after] for i in gap}
    return out


def _grown(seeds: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """(h, w) bool: the patches of ``allowed`` that hold a seed, without gaps and holes."""
    _, labels = cv2.connectedComponents((allowed | seeds).astype(np.uint8), connectivity=8)
    mask = np.isin(labels, np.unique(labels[seeds])).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    edges, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(mask, edges, -1, 1, cv2.FILLED).astype(bool)


def _continued(mask: np.ndarray, firm: np.ndarray) -> np.ndarray:
    """(h, w) bool: the mask, and how it goes on from the rim of what is seen well: as it is where that is nearest."""
    solid = np.zeros(mask.shape, np.uint8)
    edges, _ = cv2.findContours(firm.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(solid, edges, -1, 1, cv2.FILLED)
    y, x = distance_transform_edt(solid == 0, return_distances=False, return_indices=True)
    return mask | mask[y, x]
