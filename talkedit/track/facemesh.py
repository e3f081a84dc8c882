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
from talkedit.track.measures import bounding_box, eye_opening, mouth_opening, yaw_degrees

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


def hand_model():
    """Mediapipe's small hand model, which follows up to two hands from picture to picture.

    Raises:
        InputError: mediapipe is missing.
    """
    with _silence():
        return _solutions().hands.Hands(
            max_num_hands=2, model_complexity=0, min_detection_confidence=0.5, min_tracking_confidence=0.5
        )


Window = tuple[int, int, int, int]
# Faces narrower than this share of the frame's shorter side are tracked in an enlarged window of their own.
FAR_SHARE = 0.22


class FaceMesh:
    """Landmarks of the faces of one picture, or of a sequence of pictures.

    Args:
        still: True treats every picture on its own; False follows faces from picture to picture (steadier, faster).
        max_faces: how many faces to look for.

    Raises:
        InputError: mediapipe is missing.
    """

    def __init__(self, still: bool = False, max_faces: int = 4) -> None:
        with _silence():
            solutions = _solutions()
            self._mesh = solutions.face_mesh.FaceMesh(
                static_image_mode=still,
                refine_landmarks=True,
                max_num_faces=max_faces,
                min_detection_confidence=0.5,
                min_tracking_confidence=0.5,
            )
            # The graph starts its threads, and speaks, at the first picture.
            self._mesh.process(np.zeros((64, 64, 3), np.uint8))
        self._window: Window | None = None

    def close(self) -> None:
        """Frees the graph."""
        self._mesh.close()

    def __call__(self, rgb: np.ndarray, window: Window | None = None) -> list[np.ndarray]:
        """Landmarks of each face.

        Args:
            rgb: (H, W, 3) uint8.
            window: x0, y0, x1, y1 of the part to look at, enlarged if it is small; another window than last time
                starts the tracking anew.

        Returns:
            (478, 3) float32 arrays in pixels of ``rgb``; empty where there is no face.
        """
        if window != self._window:
            with _silence():
                self._mesh.reset()
            self._window = window
        x0, y0, x1, y1 = window or (0, 0, rgb.shape[1], rgb.shape[0])
        part = rgb[y0:y1, x0:x1]
        factor = max(1.0, 384.0 / max(part.shape[:2])) if window else 1.0
        if factor > 1:
            part = cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        h, w = part.shape[:2]
        found = self._mesh.process(np.ascontiguousarray(part)).multi_face_landmarks or []
        scale = np.array([w, h, w], np.float32) / factor
        shift = np.array([x0, y0, 0], np.float32)
        return [np.array([(p.x, p.y, p.z) for p in face.landmark], np.float32) * scale + shift for face in found]


class FaceDetector:
    """Boxes of faces near and far (MediaPipe's full-range detector).

    Raises:
        InputError: mediapipe is missing.
    """

    def __init__(self) -> None:
        with _silence():
            detection = _solutions().face_detection
            self._detect = detection.FaceDetection(model_selection=1, min_detection_confidence=0.5)
            self._detect.process(np.zeros((64, 64, 3), np.uint8))

    def close(self) -> None:
        """Frees the graph."""
        self._detect.close()

    def __call__(self, rgb: np.ndarray) -> list[np.ndarray]:
        """(4,) x0, y0, x1, y1 boxes in pixels of the faces in (H, W, 3) uint8."""
        h, w = rgb.shape[:2]
        boxes = []
        for d in self._detect.process(np.ascontiguousarray(rgb)).detections or []:
            b = d.location_data.relative_bounding_box
            boxes.append(
                np.array([b.xmin * w, b.ymin * h, (b.xmin + b.width) * w, (b.ymin + b.height) * h], np.float32)
            )
        return boxes


def window_around(box: np.ndarray, shape: tuple[int, ...]) -> Window:
    """A square window around a (4,) face box with room to move, cut to a frame of ``shape``."""
    c, r = (box[:2] + box[2:]) / 2, 1.3 * float((box[2:] - box[:2]).max())
    lo = np.maximum(np.round(c - r), 0).astype(int)
    hi = np.minimum(np.round(c + r), [shape[1], shape[0]]).astype(int)
    return int(lo[0]), int(lo[1]), int(hi[0]), int(hi[1])


def leaves(box: np.ndarray, window: Window, shape: tuple[int, ...]) -> bool:
    """Whether a face box comes close to a border of its window that is not the frame's own border."""
    x0, y0, x1, y1 = window
    margin = 0.12 * (x1 - x0)
    near = (box[0] < x0 + margin, box[1] < y0 + margin, box[2] > x1 - margin, box[3] > y1 - margin)
    open_border = (x0 > 0, y0 > 0, x1 < shape[1], y1 < shape[0])
    return any(n and o for n, o in zip(near, open_border, strict=True))


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
