"""Hands and other things in front of the face stay in front: neither moved nor painted over.

A hand is drawn from its landmarks as fingers and palm of flesh, roughly, and the edit's displacement fades to nothing
towards it, so that it keeps its shape and the skin beside it does not tear. Another thing is known by the texels that
it hides, and is cut out along its edges in the picture: the face is edited as if its skin went on behind, and the thing
is laid over it. Only what lies at the face's outline, and a mouth or an eye that the thing covers, is held still.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.spatial import cKDTree

from talkedit.facemodel.model import FaceModel
from talkedit.geometry.openings import smoothstep
from talkedit.render import attribute_map
from talkedit.texture.uv_map import LUMINANCE
from talkedit.track.topology import FACE_OVAL, LEFT_BROW, LEFT_EYE, OUTER_LIPS, RIGHT_BROW, RIGHT_EYE

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
# Over which distances from the face's outline, in eye distances, skin moves behind things.
INNER = (0.05, 0.35)
# Over which shares of lips, or of an eye and its brow, that things cover they are held still.
COVERED = (0.08, 0.3)
# Reach of edges of things (over the eye distance), how much contrast makes one, pixels around a thing that may still
# show it, and rounds of looking for its edges.
GUIDE, RIGID, MARGIN, ROUNDS = 0.05, 0.002, 2, 3
# Better some skin beside a thing stays as it is than some of the thing is lost: so much, over the eye distance.
RIM = 0.012
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
        outline = cKDTree(mean[rows[FACE_OVAL]]).query(mean)[0] / eye
        self._inner = (smoothstep(outline, *INNER) * (model.skirt > 0.99))[:, None].astype(np.float32)

    def __call__(self, hidden: Hidden, mesh: np.ndarray) -> np.ndarray:
        """(V, 1) float32 how much of the edit is left at each vertex of (V, ≥2) ``mesh``, pixels."""
        # Towards the outline all holds still, for nobody knows what is behind a thing there; in the face skin is.
        free = np.minimum(hidden.free(mesh), 1 - hidden.near_things(mesh) * (1 - self._inner))
        covered, out = hidden.covered(mesh), free
        for rows, share in self._parts:
            left = min(float(free[rows].min()), 1 - float(smoothstep(covered[rows].mean(), *COVERED)))
            out = np.minimum(out, 1 - share * (1 - left))
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
        rgb: (H, W, 3) uint8 the frame, needed for ``masks``.

    Attributes:
        behind: (H, W, 3) uint8 the frame as it would be without the things, but for hands.
    """

    def __init__(
        self,
        mesh: np.ndarray,
        around: Sequence[np.ndarray | None],
        eye: float,
        model: FaceModel | None = None,
        masks: Sequence[np.ndarray | None] = (),
        rgb: np.ndarray | None = None,
    ) -> None:
        self._low = mesh[:, :2].min(0) - 2
        size = mesh[:, :2].max(0) + 2 - self._low
        self._scale = min(1.0, SIDE / float(size.max()))
        width, height = np.ceil(size * self._scale).astype(int) + 1
        points = np.c_[(mesh[:, :2] - self._low) * self._scale, mesh[:, 2]].astype(np.float32)
        fade, edge, things, now = np.zeros((4, height, width), np.float32)
        for share, hands, thing in zip(_shares(len(around)), around, masks or [None] * len(around), strict=True):
            if hands is not None:
                drawn = _drawn((hands - self._low) * self._scale, fade.shape)
                fade = np.maximum(fade, share * drawn)
                if share > NOW:  # before and after it, what it hid is seen, and was edited
                    edge = np.maximum(edge, drawn)
            if model is not None and thing is not None:
                laid = _laid(thing, model, points, fade.shape)
                things = np.maximum(things, share * laid)
                if share == 1:
                    now = laid
        self._fade, self._edge, self._near = (
            _softened(mask, sigma * eye * self._scale) for mask, sigma in ((fade, FADE), (edge, EDGE), (things, FADE))
        )
        self._points, self._things, self._held = points, things, np.zeros_like(things)
        self._matte: tuple[int, int, np.ndarray] | None = None
        self.behind = rgb
        if rgb is not None and now.any():
            self._matte = self._cut_out(rgb, now, eye)
            if self._matte is not None:
                self.behind = _without(rgb, *self._matte)

    @property
    def any(self) -> bool:
        """Whether anything reaches the mesh's bounds at all."""
        return bool(max(self._fade.max(), self._near.max()) > 0.01)

    def free(self, points: np.ndarray) -> np.ndarray:
        """(N, 1) float32 how much of the edit hands leave at (N, ≥2) points of the frame: 0 on one, 1 far from it."""
        return 1 - self._at(self._fade, points)

    def near_things(self, points: np.ndarray) -> np.ndarray:
        """(N, 1) float32 0..1 how near to other things (N, ≥2) points of the frame are: 1 on one, 0 far from it."""
        return self._at(self._near, points)

    def covered(self, points: np.ndarray) -> np.ndarray:
        """(N, 1) float32 0..1 how far other things hide (N, ≥2) points of the frame."""
        return self._at(self._things, points)

    def hold(self, free: np.ndarray, triangles: np.ndarray, loop: np.ndarray) -> None:
        """Has the source's own pixels laid where nothing moves.

        Args:
            free: (V, 1) how much of the edit is left at the mesh's vertices.
            triangles: (T, 3) of the mesh.
            loop: (L,) vertices around the hole between its lips, which is held as they are.
        """
        held, hit = attribute_map(self._points, triangles, (1 - free).astype(np.float32), *self._held.shape)
        face = (hit >= 0).astype(np.uint8)
        edges, _ = cv2.findContours(face, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        between = _between_lips(self._points[loop], float(1 - free[loop].mean()), face.shape)
        held = np.where(hit >= 0, held[..., 0], between)
        self._held = np.where(cv2.drawContours(face, edges, -1, 1, cv2.FILLED) > 0, held, np.float32(1))

    def restore(self, picture: np.ndarray, source: np.ndarray, x0: int, y0: int) -> None:
        """Lays what the source shows before the face over an edited rectangle, in place.

        Args:
            picture, source: (h, w, 3) uint8, the rectangle edited and not.
            x0, y0: its corner in the frame.
        """
        h, w = picture.shape[:2]
        own = self._edge if self._matte is None else np.maximum(self._edge, self._held)
        share = self._in_frame(own, x0, y0, w, h)
        if self._matte is not None:
            left, top, matte = self._matte
            shift = np.float32([[1, 0, left - x0], [0, 1, top - y0]])
            share = np.maximum(share, cv2.warpAffine(matte, shift, (w, h), flags=cv2.INTER_NEAREST))
        share = share[..., None]
        change = (source.astype(np.float32) - picture) * share
        picture[:] = np.clip(picture + change + np.float32(0.5), 0, 255).astype(np.uint8)
        np.copyto(picture, source, where=share > 0.995)

    def _at(self, mask: np.ndarray, points: np.ndarray) -> np.ndarray:
        at = ((points[:, :2] - self._low) * self._scale).astype(np.float32)
        return cv2.remap(mask, at[:, None, 0], at[:, None, 1], cv2.INTER_LINEAR)

    def _in_frame(self, mask: np.ndarray, x0: int, y0: int, width: int, height: int) -> np.ndarray:
        """(height, width) of a mask, in the rectangle at x0, y0 of the frame."""
        s = self._scale
        place = np.float32([[s, 0, (x0 - self._low[0]) * s], [0, s, (y0 - self._low[1]) * s]])
        return cv2.warpAffine(mask, place, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)

    def _cut_out(self, rgb: np.ndarray, things: np.ndarray, eye: float) -> tuple[int, int, np.ndarray] | None:
        """The things' mask at the frame's own size, its edges drawn to the picture's: corner x, y, and (h, w) 0..1."""
        low = np.floor(self._low).astype(int)
        size = (np.array(things.shape[::-1]) / self._scale).astype(int)
        (x0, y0), (x1, y1) = np.maximum(low, 0), np.minimum(low + size, rgb.shape[1::-1])
        if x1 - x0 < 2 or y1 - y0 < 2:
            return None
        mask = self._in_frame(things, x0, y0, int(x1 - x0), int(y1 - y0))
        # What is well inside is the thing's, print on paper too.
        side = 2 * max(1, round(GUIDE * eye)) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        matte = np.maximum(guided(mask, rgb[y0:y1, x0:x1], GUIDE * eye), cv2.erode(mask, kernel))
        rim = np.ones((2 * round(max(1.0, RIM * eye)) + 1,) * 2, np.uint8)
        return int(x0), int(y0), cv2.dilate(cv2.morphologyEx(matte, cv2.MORPH_CLOSE, kernel), rim)


def _without(rgb: np.ndarray, x0: int, y0: int, matte: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: a frame as it would be without what an (h, w) matte at x0, y0 cuts out."""
    h, w = matte.shape
    seen = 1 - cv2.dilate(np.minimum(20 * matte, 1), np.ones((2 * MARGIN + 1,) * 2, np.uint8))
    out = rgb.copy()
    area = out[y0 : y0 + h, x0 : x0 + w]
    area[:] = np.clip(continued(area.astype(np.float32), seen) + 0.5, 0, 255).astype(np.uint8)
    return out


def guided(mask: np.ndarray, rgb: np.ndarray, radius: float) -> np.ndarray:
    """(h, w) float32 0..1: a mask whose edges follow those of the picture (guided filter, He et al. 2010).

    Args:
        mask: (h, w) float32 0..1.
        rgb: (h, w, 3) uint8.
        radius: how far an edge may lie from the mask's, pixels.
    """
    side = (2 * max(1, round(radius)) + 1,) * 2
    grey = rgb @ LUMINANCE / np.float32(255)
    mean = cv2.blur(grey, side)
    spread = cv2.blur(grey * grey, side) - mean * mean + RIGID
    for _ in range(ROUNDS):
        level = cv2.blur(mask, side)
        slope = (cv2.blur(grey * mask, side) - mean * level) / spread
        mask = np.clip(2 * (cv2.blur(slope, side) * grey + cv2.blur(level - slope * mean, side)) - 0.5, 0, 1)
    return mask


def continued(picture: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(h, w, 3) float32: what is not seen is filled in smoothly from all around.

    Args:
        picture: (h, w, 3) float32.
        seen: (h, w) float32 0..1.
    """
    if min(picture.shape[:2]) < 2:
        return picture
    weight = seen[..., None]
    coarse = cv2.pyrDown(picture * weight), cv2.pyrDown(seen)
    below = continued(coarse[0] / np.maximum(coarse[1], 1e-3)[..., None], np.minimum(4 * coarse[1], 1))
    return picture * weight + (1 - weight) * cv2.pyrUp(below, dstsize=picture.shape[1::-1])


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
    return np.maximum(laid, _between_lips(points[loop], float(smoothstep(cover[loop].mean(), 0.5, 0.9)), shape))


def _between_lips(loop: np.ndarray, value: float, shape: tuple[int, int]) -> np.ndarray:
    """(h, w) float32: a value in the hole of the mesh between lips of a (L, ≥2) loop, 0 elsewhere."""
    return cv2.fillPoly(np.zeros(shape, np.float32), [np.round(loop[:, :2]).astype(np.int32)], value)


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
