"""The default tracker: MediaPipe FaceMesh with refined lips, lids and irises (models inside its wheel, offline)."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator

import cv2
import numpy as np

from talkedit.errors import InputError
from talkedit.track.measures import (
    bounding_box,
    box_overlap,
    eye_opening,
    mouth_opening,
    yaw_degrees,
)

MISSING = (
    "the face tracker needs mediapipe 0.10.14, which is not installed; run: pip install --no-deps mediapipe==0.10.14"
)
# Faces narrower than this (pixels) hold too few pixels for landmarks, let alone for an edit.
SMALLEST_FACE = 40


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keeps mediapipe's start-up chatter, which its C++ writes straight to descriptor 2, off the user's terminal."""
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, AttributeError):
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(saved, 2)
        os.close(null)
        os.close(saved)


def _solutions():
    try:
        import mediapipe
    except ImportError as error:
        raise InputError(MISSING) from error
    if not hasattr(mediapipe, "solutions"):
        raise InputError(MISSING)
    return mediapipe.solutions


class FaceMesh:
    """Landmarks of all faces of one picture, or of a sequence of pictures.

    Args:
        still: True treats every picture on its own; False follows faces from picture to picture (steadier, faster).
        max_faces: how many faces to look for.
    """

    def __init__(self, still: bool = False, max_faces: int = 4) -> None:
        self._still = still
        with _silence():
            solutions = _solutions()
            self._mesh = solutions.face_mesh.FaceMesh(
                static_image_mode=still,
                refine_landmarks=True,
                max_num_faces=max_faces,
                min_detection_confidence=0.5,
                min_tracking_confidence=0.5,
            )
            self._detect = solutions.face_detection.FaceDetection(model_selection=1, min_detection_confidence=0.4)
            # The graphs start their threads, and speak, at the first picture.
            blank = np.zeros((64, 64, 3), np.uint8)
            self._mesh.process(blank)
            self._detect.process(blank)
        self._window: tuple[int, int, int, int] | None = None
        self._misses = 0
        self._far: FaceMesh | None = None

    def close(self) -> None:
        """Frees the graphs."""
        self._mesh.close()
        self._detect.close()
        if self._far is not None:
            self._far.close()

    def _run(self, rgb: np.ndarray) -> list[np.ndarray]:
        h, w = rgb.shape[:2]
        found = self._mesh.process(np.ascontiguousarray(rgb)).multi_face_landmarks or []
        scale = np.array([w, h, w], np.float32)
        return [np.array([(p.x, p.y, p.z) for p in face.landmark], np.float32) * scale for face in found]

    def __call__(self, rgb: np.ndarray) -> list[np.ndarray]:
        """Landmarks of each face in ``rgb`` (H, W, 3) uint8.

        Returns:
            A list of (478, 3) float32 arrays in pixels; empty where there is no face. Faces too far away for the
            short-range detector are found by the full-range one and tracked inside an enlarged window.
        """
        faces = self._run(rgb) if self._window is None else []
        if faces:
            return faces
        return self._run_far(rgb)

    def _run_far(self, rgb: np.ndarray) -> list[np.ndarray]:
        if self._window is None:
            # The full-range detector costs more than the mesh, so clips without a face ask it less and less often.
            self._misses += 1
            if not self._still and self._misses > 10 and self._misses % 5:
                return []
            self._window = self._find_window(rgb)
            if self._window is None:
                return []
            if self._far is not None:
                self._far.close()
            self._far = FaceMesh(still=self._still, max_faces=1)
            self._far._window = None
        x0, y0, x1, y1 = self._window
        crop = rgb[y0:y1, x0:x1]
        factor = max(1.0, 384.0 / max(crop.shape[:2]))
        if factor > 1:
            crop = cv2.resize(crop, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        assert self._far is not None
        faces = [f / factor + np.array([x0, y0, 0], np.float32) for f in self._far._run(crop)]
        if not faces:
            self._window = None
            return []
        self._misses = 0
        # The window stays put while the face is well inside it: a window that follows the face would shake it.
        box = bounding_box(faces[0])
        margin = 0.12 * (x1 - x0)
        leaves = box[0] < x0 + margin or box[1] < y0 + margin or box[2] > x1 - margin or box[3] > y1 - margin
        if leaves or self._still:
            self._window = None if self._still else self._square(box, rgb.shape)
        return faces

    def _find_window(self, rgb: np.ndarray) -> tuple[int, int, int, int] | None:
        h, w = rgb.shape[:2]
        found = self._detect.process(np.ascontiguousarray(rgb)).detections or []
        boxes = []
        for d in found:
            b = d.location_data.relative_bounding_box
            boxes.append(np.array([b.xmin * w, b.ymin * h, (b.xmin + b.width) * w, (b.ymin + b.height) * h]))
        return self._square(max(boxes, key=lambda b: b[2] - b[0]), rgb.shape) if boxes else None

    @staticmethod
    def _square(box: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        c, r = (box[:2] + box[2:]) / 2, 1.3 * (box[2:] - box[:2]).max()
        lo = np.maximum(np.round(c - r), 0).astype(int)
        hi = np.minimum(np.round(c + r), [shape[1], shape[0]]).astype(int)
        return int(lo[0]), int(lo[1]), int(hi[0]), int(hi[1])


def face_likeness(landmarks: np.ndarray, shape: tuple[int, ...]) -> float:
    """Confidence 0..1 that the landmarks are usable: size, share inside the frame and plausible proportions.

    The mesh network always answers with a face-shaped point set; what gives a bad answer away is that it is tiny,
    that it lies outside the frame, or that its proportions are no face's.
    """
    box = bounding_box(landmarks)
    width = float(box[2] - box[0])
    inside = np.mean(
        (landmarks[:, 0] >= 0) & (landmarks[:, 0] < shape[1]) & (landmarks[:, 1] >= 0) & (landmarks[:, 1] < shape[0])
    )
    size = np.clip((width - SMALLEST_FACE * 0.75) / (SMALLEST_FACE * 0.25), 0, 1)
    eyes = np.linalg.norm(landmarks[33, :3] - landmarks[263, :3])
    height = np.linalg.norm(landmarks[10, :3] - landmarks[152, :3])
    ratio = eyes / max(height, 1e-6)
    proportion = np.clip(min((ratio - 0.28) / 0.08, (0.85 - ratio) / 0.12), 0, 1)
    return float(size * proportion * np.clip((inside - 0.7) / 0.25, 0, 1))


def describe(landmarks: np.ndarray, shape: tuple[int, ...]) -> dict:
    """The measured fields of ``talkedit.types.Track`` for one face."""
    return {
        "confidence": face_likeness(landmarks, shape),
        "yaw": yaw_degrees(landmarks),
        "mouth_open": mouth_opening(landmarks),
        "eye_open": eye_opening(landmarks),
    }


__all__ = ["SMALLEST_FACE", "FaceMesh", "bounding_box", "box_overlap", "describe", "face_likeness"]
