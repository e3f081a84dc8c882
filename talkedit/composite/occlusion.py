"""Hands and other things in front of the face stay in front: neither moved nor painted over.

A hand is drawn from its landmarks as fingers and palm of flesh, another thing where it hides the face's texels. The
edit's displacement fades to nothing towards it, so that it keeps its shape and the skin beside it does not tear, and
the source's own pixels are laid over what is left.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.spatial import cKDTree

from talkedit.facemodel.model import FaceModel
from talkedit.geometry.openings import smoothstep
from talkedit.render import attribute_map
from talkedit.track.topology import LEFT_BROW, LEFT_EYE, OUTER_LIPS, RIGHT_BROW, RIGHT_EYE

# Longer side of the mask, pixels.
SIDE = 192
# Breadth of a finger and of the forearm over the hand's length from wrist to middle knuckle.
FINGER, FOREARM = 0.36, 0.75
# A hand seen from the side is shorter than it is broad.
BROAD = 1.1
# From this share of the window's middle frame on, another one's things are still in their places.
NOW = 0.7
# How far the displacement and the picture fade beside a hand (sigma), over the eye distance.
FADE, EDGE = 0.09, 0.025
_FINGERS = ((0, 1, 2, 3, 4), (0, 5, 6, 7, 8), (0, 9, 10, 11, 12), (0, 13, 14, 15, 16), (0, 17, 18, 19, 20))
_PALM = (0, 1, 2, 5, 9, 13, 17)
# A mouth moves as one, and so does an eye with its brow: landmarks of each, and how far from them, in eye distances of
# the mean face, the skin goes along fully and not at all.
_TOGETHER = (
    (OUTER_LIPS, 0.2, 0.7),
    (np.r_[LEFT_EYE, LEFT_BROW], 0.1, 0.35),
    (np.r_[RIGHT_EYE, RIGHT_BROW], 0.1, 0.35),
)


class Together:
    """What moves as one fades as one: half a smile beside a cup would be a grimace.

    Args:
        model: the face model.
    """

    def __init__(self, model: FaceModel) -> None:
        mean, rows = model.mean, model.landmark_vertices
        eye = float(np.linalg.norm(mean[rows[33]] - mean[rows[263]]))
        self._parts = []
        for landmarks, near, far in _TOGETHER:
            distance = cKDTree(mean[rows[landmarks]]).query(mean)[0] / eye
            self._parts.append((rows[landmarks], 1 - smoothstep(distance, near, far)[:, None].astype(np.float32)))

    def __call__(self, free: np.ndarray) -> np.ndarray:
        """(V, 1) float32 how much of the edit is left at each vertex, if (V, 1) ``free`` were by itself."""
        out = free
        for rows, share in self._parts:
            out = np.minimum(out, 1 - share * (1 - free[rows].min()))
        return out


class Hidden:
    """Where hands and other things hide one frame's face.

    Args:
        mesh: (V, ≥2) the face's mesh in the frame, pixels; what lies outside its bounds is never edited.
        around: hands of the frames from half a window before to half a window after, each (H, 21, 2) pixels or None:
            masks grow and shrink over time with their distance from the middle.
        eye: outer-eye distance in pixels.
        model: the mesh's face model, needed for ``masks``.
        masks: of the same frames, (T, T) bool where other things hide the model's template, or None.
    """

    def __init__(
        self,
        mesh: np.ndarray,
        around: Sequence[np.ndarray | None],
        eye: float,
        model: FaceModel | None = None,
        masks: Sequence[np.ndarray | None] = (),
    ) -> None:
        self._low = mesh[:, :2].min(0) - 2
        size = mesh[:, :2].max(0) + 2 - self._low
        self._scale = min(1.0, SIDE / float(size.max()))
        width, height = np.ceil(size * self._scale).astype(int) + 1
        points = np.c_[(mesh[:, :2] - self._low) * self._scale, mesh[:, 2]].astype(np.float32)
        fade, edge = np.zeros((2, height, width), np.float32)
        for share, hands, thing in zip(_shares(len(around)), around, masks or [None] * len(around), strict=True):
            drawn = np.zeros_like(fade)
            if hands is not None:
                drawn = _drawn((hands - self._low) * self._scale, drawn.shape)
            if model is not None and thing is not None:
                drawn = np.maximum(drawn, _laid(thing, model, points, drawn.shape))
            fade = np.maximum(fade, share * drawn)
            if share > NOW:  # before and after it, what it hid is seen, and was edited
                edge = np.maximum(edge, drawn)
        self._fade, self._edge = (
            _softened(mask, sigma * eye * self._scale) for mask, sigma in ((fade, FADE), (edge, EDGE))
        )

    @property
    def any(self) -> bool:
        """Whether anything reaches the mesh's bounds at all."""
        return bool(self._fade.max() > 0.01)

    def free(self, points: np.ndarray) -> np.ndarray:
        """(N, 1) float32 how much of the edit is left at (N, ≥2) points in the frame: 0 on a thing, 1 far from it."""
        at = ((points[:, :2] - self._low) * self._scale).astype(np.float32)
        return 1 - cv2.remap(self._fade, at[:, None, 0], at[:, None, 1], cv2.INTER_LINEAR)

    def restore(self, picture: np.ndarray, source: np.ndarray, x0: int, y0: int) -> None:
        """Lays what the source shows before the face over an edited rectangle, in place.

        Args:
            picture, source: (h, w, 3) uint8, the rectangle edited and not.
            x0, y0: its corner in the frame.
        """
        h, w = picture.shape[:2]
        s = self._scale
        place = np.float32([[s, 0, (x0 - self._low[0]) * s], [0, s, (y0 - self._low[1]) * s]])
        share = cv2.warpAffine(self._edge, place, (w, h), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)[..., None]
        change = (source.astype(np.float32) - picture) * share
        picture[:] = np.clip(picture + change + np.float32(0.5), 0, 255).astype(np.uint8)
        np.copyto(picture, source, where=share > 0.995)


def _shares(count: int) -> np.ndarray:
    """(count,) float32 how much each frame of a window counts: 1 in the middle, falling towards both ends."""
    half = count // 2
    return (1 - np.abs(np.arange(count) - half) / (half + 1)).astype(np.float32)


def _laid(mask: np.ndarray, model: FaceModel, points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(h, w) float32: a (T, T) mask over the template on the mesh at (V, 3) points."""
    # Texels that a thing hides in part look like skin still.
    grown = cv2.dilate(mask.astype(np.float32), np.ones((3, 3), np.uint8))
    at = (model.uv * len(mask) - 0.5).astype(np.float32)
    cover = cv2.remap(grown, at[:, None, 0], at[:, None, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    laid = attribute_map(points, model.triangles, cover, *shape)[0][..., 0]
    loop = model.mouth_loop  # the hole between the lips is hidden if they are
    inside = np.zeros(shape, np.float32)
    cv2.fillPoly(inside, [np.round(points[loop, :2]).astype(np.int32)], float(smoothstep(cover[loop].mean(), 0.5, 0.9)))
    return np.maximum(laid, inside)


def _drawn(hands: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(h, w) float32 mask, 1 on (H, 21, 2) hands."""
    mask = np.zeros(shape, np.uint8)
    for hand in hands:
        across = float(np.linalg.norm(hand[5] - hand[17]))
        length = max(float(np.linalg.norm(hand[0] - hand[9])), BROAD * across, 1.0)
        for finger in _FINGERS:
            points = np.round(hand[list(finger)]).astype(np.int32)
            cv2.polylines(mask, [points], False, 1, max(1, round(FINGER * length)))
        cv2.fillConvexPoly(mask, cv2.convexHull(np.round(hand[list(_PALM)]).astype(np.int32)), 1)
        away = hand[0] - hand[9]
        elbow = hand[0] + 1.5 * away / max(float(np.linalg.norm(away)), 1e-6) * length
        ends = np.round(np.stack([hand[0], elbow])).astype(np.int32)
        cv2.polylines(mask, [ends], False, 1, max(1, round(FOREARM * length)))
    return mask.astype(np.float32)


def _softened(mask: np.ndarray, sigma: float) -> np.ndarray:
    """The mask with a soft edge that lies outside of it."""
    sigma = max(sigma, 0.5)
    side = 2 * round(1.5 * sigma) + 1
    grown = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    soft = cv2.GaussianBlur(grown, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.clip(np.maximum(1.1 * soft, mask), 0, 1)
