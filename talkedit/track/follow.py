"""Choosing one face and staying with it."""

from __future__ import annotations

import numpy as np

from talkedit.errors import InputError
from talkedit.track.cuts import CutDetector
from talkedit.track.facemesh import SMALLEST_FACE, FaceMesh, bounding_box, box_overlap, describe
from talkedit.types import Frame, Track


class FaceTracker:
    """Callable: ``Frame -> Track | None``, for the chosen face of a clip.

    Args:
        face: ``"largest"``, or a number counting faces from left to right from 0, in the frame where faces first
            appear (and again after each cut).
        still: the input is a picture.
        min_confidence: below it a face counts as not there.

    Raises:
        InputError: ``face`` is neither ``largest`` nor a number from 0, or mediapipe is missing.
    """

    def __init__(self, face: str | int = "largest", still: bool = False, min_confidence: float = 0.3) -> None:
        if face != "largest" and not str(face).isdigit():
            raise InputError(f"--face must be 'largest' or a number from 0, not '{face}'")
        self._face = face if face == "largest" else int(face)
        self._mesh = FaceMesh(still=still, max_faces=6 if still else 4)
        self._cuts = CutDetector()
        self._box: np.ndarray | None = None
        self._pending_cut = False
        self.most_faces = 0
        self.too_small = 0

    def __call__(self, frame: Frame) -> Track | None:
        """Track of the chosen face, None where it is not seen."""
        if self._cuts(frame.rgb):
            self._pending_cut, self._box = True, None
        found = self._mesh(frame.rgb)
        described = [(f, describe(f, frame.rgb.shape)) for f in found]
        wide = [float(np.ptp(bounding_box(f)[[0, 2]])) >= SMALLEST_FACE for f in found]
        self.too_small += bool(found) and not any(wide)
        self.most_faces = max(self.most_faces, len(found))
        picked = self._pick([f for f, _ in described])
        if picked is None:
            return None
        landmarks, measures = described[picked]
        if measures["confidence"] < 0.3:
            return None
        self._box = bounding_box(landmarks)
        cut, self._pending_cut = self._pending_cut, False
        return Track(landmarks=landmarks, faces=len(found), cut=cut, **measures)

    def _pick(self, faces: list[np.ndarray]) -> int | None:
        if not faces:
            return None
        boxes = [bounding_box(f) for f in faces]
        if self._box is not None:
            overlaps = [box_overlap(b, self._box) for b in boxes]
            best = int(np.argmax(overlaps))
            if overlaps[best] > 0.2:
                return best
            if self._face != "largest":
                return None
        if self._face == "largest":
            return int(np.argmax([(b[2] - b[0]) * (b[3] - b[1]) for b in boxes]))
        order = np.argsort([b[0] for b in boxes])
        return int(order[self._face]) if self._face < len(order) else None

    def close(self) -> None:
        """Frees the tracker's graphs."""
        self._mesh.close()
