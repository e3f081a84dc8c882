"""Choosing one face and staying with it."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from talkedit.errors import InputError
from talkedit.track.cuts import CutDetector
from talkedit.track.facemesh import (
    FAR_SHARE,
    SMALLEST_FACE,
    FaceDetector,
    FaceMesh,
    Window,
    describe,
    leaves,
    window_around,
)
from talkedit.track.measures import bounding_box, box_overlap
from talkedit.types import Frame, Track

# Faces are counted again every so many frames while one is being followed.
COUNT_EVERY = 25


class Mesh(Protocol):
    """What finds landmarks; see ``talkedit.track.facemesh.FaceMesh``."""

    def __call__(self, rgb: np.ndarray, window: Window | None = None) -> list[np.ndarray]: ...
    def close(self) -> None: ...


class FaceTracker:
    """Callable: ``Frame -> Track | None``, for the chosen face of a clip.

    A face is chosen among all that the detector sees, then followed by its mesh: in the whole frame if it is alone and
    near, in a window of its own otherwise. A window stays put while the face is well inside: one that follows the face
    would shake it.

    Args:
        face: ``"largest"``, or a number counting faces from left to right from 0, in the frame where faces first
            appear (and again after each cut).
        min_confidence: below it a face counts as not there.
        mesh: what finds landmarks, by default a ``FaceMesh``.

    Raises:
        InputError: ``face`` is neither ``largest`` nor a number from 0, or mediapipe is missing.
    """

    def __init__(self, face: str | int = "largest", min_confidence: float = 0.3, mesh: Mesh | None = None) -> None:
        if face != "largest" and not str(face).isdecimal():
            raise InputError(f"--face must be 'largest' or a number from 0, not '{face}'")
        self._face = face if face == "largest" else int(face)
        self._min_confidence = min_confidence
        self._detect = FaceDetector()
        self._mesh = mesh if mesh is not None else FaceMesh(max_faces=2)
        self._cuts = CutDetector()
        self._box: np.ndarray | None = None
        self._window: Window | None = None
        self._pending_cut = False
        self._faces = 0
        self._since_count = 0
        self.too_small = 0

    def __call__(self, frame: Frame) -> Track | None:
        """Track of the chosen face, None where it is not seen."""
        rgb = frame.rgb
        if self._cuts(rgb):
            self._pending_cut, self._box = True, None
        landmarks = self._follow(rgb)
        if landmarks is None:
            landmarks = self._choose(rgb)
        if landmarks is None:
            self._box = None
            return None
        measures = describe(landmarks, rgb.shape)
        box = bounding_box(landmarks)
        if box[2] - box[0] < SMALLEST_FACE:
            self.too_small += 1
        if measures["confidence"] < self._min_confidence:
            self._box = None
            return None
        self._box = box
        if self._window is not None and leaves(box, self._window, rgb.shape):
            self._window = window_around(box, rgb.shape)
        cut, self._pending_cut = self._pending_cut, False
        return Track(landmarks=landmarks, faces=max(self._faces, 1), cut=cut, **measures)

    def restart(self) -> None:
        """Forgets the face that was followed: the next frame is looked at as if it were the first."""
        self._cuts, self._box, self._window, self._pending_cut = CutDetector(), None, None, False

    def _follow(self, rgb: np.ndarray) -> np.ndarray | None:
        """The face that was tracked in the frame before, if it is still there."""
        if self._box is None:
            return None
        self._since_count += 1
        if self._since_count >= COUNT_EVERY:
            self._since_count = 0
            self._faces = len(self._detect(rgb))
        return self._nearest(self._mesh(rgb, self._window), self._box)

    @staticmethod
    def _nearest(faces: list[np.ndarray], box: np.ndarray) -> np.ndarray | None:
        overlaps = [box_overlap(bounding_box(f), box) for f in faces]
        return faces[int(np.argmax(overlaps))] if faces and max(overlaps) > 0.15 else None

    def _choose(self, rgb: np.ndarray) -> np.ndarray | None:
        """Looks at all faces of the frame and starts to follow the wanted one."""
        boxes = self._detect(rgb)
        if not boxes:  # a face that fills the frame is too near for the detector, not for the mesh
            self._window = None
            boxes = [bounding_box(f) for f in self._mesh(rgb)]
        self._faces, self._since_count = len(boxes), 0
        if self._face == "largest":
            order = sorted(range(len(boxes)), key=lambda i: -float(np.prod(boxes[i][2:] - boxes[i][:2])))
        else:
            order = sorted(range(len(boxes)), key=lambda i: float(boxes[i][0] + boxes[i][2]))[self._face :][:1]
        for i in order:
            box = boxes[i]
            alone = len(boxes) == 1 and box[2] - box[0] > FAR_SHARE * min(rgb.shape[:2])
            self._window = None if alone else window_around(box, rgb.shape)
            found = self._nearest(self._mesh(rgb, self._window), box)
            if found is not None:
                return found
        return None

    def close(self) -> None:
        """Frees the tracker's graphs."""
        self._mesh.close()
        self._detect.close()
