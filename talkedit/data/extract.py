"""One clip or picture as arrays: tracked coefficients, landmarks, textures with visibility, mouth crops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from talkedit.data.item import Settings
from talkedit.data.mouth_crop import crop_mouth, mouth_transform
from talkedit.data.quality import Fault, measure_portrait, portrait_fault, size_fault, take_fault
from talkedit.facemodel.camera import align_crop, five_points
from talkedit.facemodel.load import load_face_model
from talkedit.reconstruct.coefficients import Coefficients, model_points, reconstruct_frame
from talkedit.reconstruct.fit import Fitter
from talkedit.texture.uv_map import UvTemplate
from talkedit.track import make_tracker
from talkedit.track.facemesh import FaceMesh
from talkedit.track.follow import FaceTracker
from talkedit.track.measures import bounding_box
from talkedit.track.topology import IBUG68, LANDMARKS
from talkedit.types import Frame, Track
from talkedit.video.reader import read_frames

# Of a longer clip every other kept frame is dropped until so many are left: memory is bounded, and takes are short.
MOST_KEPT = 1000


class UnfitError(Exception):
    """An item that can be read and is not wanted; carries the reason and the detail of ``LeftOut``."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(": ".join(fault))
        self.reason, self.detail = fault


@dataclass(frozen=True)
class Extracted:
    """What is kept of one item.

    Attributes:
        arrays: by the names in docs/data.md, N kept frames and M textures.
        face_width: median over the tracked frames, pixels.
        yaw: median over the tracked frames, degrees.
    """

    arrays: dict[str, np.ndarray]
    face_width: float
    yaw: float


@dataclass
class _Kept:
    """Where a kept frame lies in its clip, and its landmarks."""

    index: int
    time: float
    shot: int
    landmarks: np.ndarray


class _Rows:
    """The arrays of one item, filled frame by frame."""

    def __init__(self) -> None:
        self._rows: dict[str, list] = {}

    def add(self, **values: object) -> None:
        for name, value in values.items():
            self._rows.setdefault(name, []).append(value)

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: np.array(rows, _TYPES[name]) for name, rows in self._rows.items()}


_TYPES = {
    "frame": np.int32,
    "time": np.float64,
    "shot": np.int32,
    "coefficients": np.float32,
    "crop": np.float32,
    "landmarks": np.float32,
    "mouth": np.uint8,
    "mouth_transform": np.float32,
    "texture": np.uint8,
    "visible": np.uint8,
    "texture_row": np.int32,
}


class Extractor:
    """Prepares items of one kind of settings; one for each process.

    Raises:
        InputError: the face model or the tracker is missing.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._model = load_face_model(settings.face_model)
        self._mean = self._model.at_landmarks(self._model.mean)
        self._fitter = Fitter(self._model)
        self._template = UvTemplate(self._model, settings.texture_size)
        self._still: FaceTracker | None = None

    # -- clips -------------------------------------------------------------------------------------------------------

    def clip(self, path: Path) -> Extracted:
        """Tracks all frames of a clip and keeps every so many.

        Raises:
            InputError: the file cannot be read.
            UnfitError: see `talkedit.data.quality.take_fault`.
        """
        kept, fitters, widths, yaws = self._watch(path)
        rows = _Rows()
        for number, (k, frame) in enumerate(zip(kept, _frames_at(path, [k.index for k in kept]), strict=True)):
            rows.add(frame=k.index, time=k.time, shot=k.shot)
            textured = number % self._settings.texture_every == 0
            self._describe(rows, number, frame.rgb, k.landmarks, fitters[k.shot], textured)
        return Extracted(rows.arrays(), float(np.median(widths)), float(np.median(yaws)))

    def _watch(self, path: Path) -> tuple[list[_Kept], list[Fitter], list[float], list[float]]:
        """First pass: where the face is, and who is in each shot."""
        track = make_tracker(self._settings.tracker)
        kept: list[_Kept] = []
        fitters, widths, yaws = [self._fitter.fresh()], [], []
        several, frames, every = 0, 0, self._settings.every
        for frame in read_frames(path):
            frames += 1
            found: Track | None = track(frame)
            if found is None:
                continue
            if found.cut:
                fitters.append(self._fitter.fresh())
            several += found.faces > 1
            widths.append(_width(found.landmarks))
            yaws.append(found.yaw)
            fitters[-1].observe(self._points(found.landmarks, frame.rgb.shape), 1 / (1 + 8 * found.mouth_open))
            if (len(widths) - 1) % every == 0:
                kept.append(_Kept(frame.index, frame.time, len(fitters) - 1, found.landmarks))
                if len(kept) > MOST_KEPT:
                    kept, every = kept[::2], 2 * every
        _close(track)
        fault = take_fault(frames, widths, several, self._settings)
        if fault is not None:
            raise UnfitError(fault)
        for fitter in fitters:
            fitter.solve()
        return kept, fitters, widths, yaws

    # -- pictures ----------------------------------------------------------------------------------------------------

    def picture(self, rgb: np.ndarray) -> Extracted:
        """One picture, (H, W, 3) uint8: N = M = 1.

        Raises:
            UnfitError: no face, several (but for FFHQ, where the largest counts), one that is too small, or a portrait
                that FFHQ's recipe drops (see `talkedit.data.quality.portrait_fault`).
        """
        found = self._find(rgb)
        if found is None:
            raise UnfitError(("no face", ""))
        portraits = self._settings.recipe == "ffhq"
        if found.faces > 1 and not portraits:
            raise UnfitError(("several faces", f"{found.faces} of them"))
        width = _width(found.landmarks)
        if fault := size_fault(width, self._settings):
            raise UnfitError(fault)
        fitter, points = self._fitter.fresh(), self._points(found.landmarks, rgb.shape)
        fitter.observe(points)
        fitter.solve()
        rows = _Rows()
        rows.add(frame=0, time=0.0, shot=0)
        c, texture, visible = self._describe(rows, 0, rgb, found.landmarks, fitter, textured=True)
        if portraits:
            measures = measure_portrait(
                rgb, found.landmarks, found.confidence, points, c, fitter, self._model, texture, visible
            )
            if fault := portrait_fault(measures):
                raise UnfitError(fault)
        return Extracted(rows.arrays(), width, found.yaw)

    def _find(self, rgb: np.ndarray) -> Track | None:
        if self._still is None:
            mediapipe = self._settings.tracker == "mediapipe"
            self._still = (
                FaceTracker(mesh=FaceMesh(still=True, max_faces=2))
                if mediapipe
                else make_tracker(self._settings.tracker)
            )
        self._still.restart()
        return self._still(Frame(0, rgb))

    # -- both --------------------------------------------------------------------------------------------------------

    def _points(self, landmarks: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        crop = align_crop(five_points(landmarks[IBUG68]), shape[:2])
        return model_points(landmarks, self._mean, crop)[1]

    def _describe(
        self, rows: _Rows, number: int, rgb: np.ndarray, landmarks: np.ndarray, fitter: Fitter, textured: bool
    ) -> tuple[Coefficients, np.ndarray | None, np.ndarray | None]:
        """Adds a frame to ``rows``; gives back its coefficients, and texture and visibility where it has them."""
        c = reconstruct_frame(rgb, landmarks, self._model, fitter)
        size = self._settings.mouth_size
        transform = mouth_transform(landmarks, size)
        rows.add(
            coefficients=c.vector(),
            crop=(c.crop.scale, *c.crop.offset),
            landmarks=landmarks,
            mouth=crop_mouth(rgb, transform, size),
            mouth_transform=transform,
        )
        if not textured:
            return c, None, None
        mesh = np.asarray(self._model.position @ landmarks[:LANDMARKS])
        texture = np.clip(self._template.unwrap(rgb, mesh) + 0.5, 0, 255).astype(np.uint8)
        visible = self._template.visible(mesh)
        rows.add(texture=texture, visible=np.packbits(visible, axis=1), texture_row=number)
        return c, texture, visible


def _frames_at(path: Path, indices: list[int]) -> Iterator[Frame]:
    """The frames of a clip with these increasing indices."""
    wanted = set(indices)
    for frame in read_frames(path):
        if frame.index in wanted:
            yield frame


def _width(landmarks: np.ndarray) -> float:
    box = bounding_box(landmarks)
    return float(box[2] - box[0])


def _close(track) -> None:
    close = getattr(track, "close", None)
    if close is not None:
        close()
