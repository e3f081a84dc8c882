"""Coefficients of a whole clip: identity once, everything else frame by frame."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from talkedit.errors import InputError, NoFaceError
from talkedit.facemodel.camera import CropTransform, align_crop, crop_image, five_points
from talkedit.facemodel.load import load_face_model
from talkedit.facemodel.model import FaceModel
from talkedit.options import PHOTOMETRIC, RECONSTRUCTIONS
from talkedit.reconstruct.coefficients import LAYOUT, model_points, reconstruct_frame
from talkedit.reconstruct.fit import Fitter
from talkedit.reconstruct.network import load_reconstructor
from talkedit.reconstruct.photometric import PhotometricRefiner, View
from talkedit.track import make_tracker
from talkedit.track.topology import IBUG68, LANDMARKS
from talkedit.video.reader import read_frames

# Frames that identity and texture are refined on.
SPREAD = 16


def reconstruct_clip(
    path: str | os.PathLike,
    *,
    face_model: str = "open",
    tracker: str = "mediapipe",
    face: str | int = "largest",
    reconstruction: str = "fit",
) -> dict[str, np.ndarray]:
    """Reconstructs every frame with a face.

    Args:
        path: a video or picture.
        face_model, tracker, face: as in `EditOptions`.
        reconstruction: ``"fit"``, ``"network"``, or ``"photometric"``: the fit, refined until the rendered face looks
            like the picture (seconds a frame).

    Returns:
        ``frame`` (N,) int64 indices, ``time`` (N,) seconds, ``coefficients`` (N, 257) float32 in the order of
        ``talkedit.reconstruct.coefficients.LAYOUT``, ``crop`` (N, 3) float64 (scale, offset x, offset y of the
        224-pixel crop), ``landmarks`` (N, 478, 3) float32 pixels. Everything is held in memory: about 7 kB a frame.

    Raises:
        InputError: no such reconstruction; see also the reader, the tracker and ``load_reconstructor``.
        NoFaceError: no frame shows a face.
    """
    if reconstruction not in (*RECONSTRUCTIONS, PHOTOMETRIC):
        raise InputError(f"reconstruction must be one of {', '.join((*RECONSTRUCTIONS, PHOTOMETRIC))}")
    model = load_face_model(face_model)
    mean = model.at_landmarks(model.mean)
    track, fitter = make_tracker(tracker, face=face), Fitter(model)
    landmarks: dict[int, np.ndarray] = {}
    for frame in read_frames(path):
        found = track(frame)
        if found is not None:
            landmarks[frame.index] = found.landmarks
            crop = align_crop(five_points(found.landmarks[IBUG68]), frame.rgb.shape[:2])
            _, points = model_points(found.landmarks, mean, crop)
            fitter.observe(points, 1 / (1 + 8 * found.mouth_open))
    if not landmarks:
        raise NoFaceError("no face was found in the input")
    fitter.solve()
    read = load_reconstructor(face_model) if reconstruction == "network" else None
    times, rows, crops = [], [], []
    for frame in read_frames(path):
        if frame.index in landmarks:
            if read is None:
                c = reconstruct_frame(frame.rgb, landmarks[frame.index], model, fitter)
            else:
                c = read(frame.rgb, landmarks[frame.index])
            times.append(frame.time)
            rows.append(c.vector())
            crops.append(c.crop)
    coefficients = np.array(rows, np.float32)
    if reconstruction == PHOTOMETRIC:
        coefficients = _refine(path, model, coefficients, landmarks, crops)
    if read is not None:  # it sees one frame at a time; a clip shows one person
        coefficients[:, LAYOUT["identity"]] = coefficients[:, LAYOUT["identity"]].mean(0)
    return {
        "frame": np.array(sorted(landmarks)),
        "time": np.array(times),
        "coefficients": coefficients,
        "crop": np.array([(c.scale, *c.offset) for c in crops]),
        "landmarks": np.array([landmarks[i] for i in sorted(landmarks)], np.float32),
    }


def _refine(
    path: str | os.PathLike,
    model: FaceModel,
    coefficients: np.ndarray,
    landmarks: dict[int, np.ndarray],
    crops: list[CropTransform],
) -> np.ndarray:
    """(N, 257) refined coefficients: identity and texture from frames spread over the clip, then frame by frame."""
    refiner, order = PhotometricRefiner(model), {index: n for n, index in enumerate(sorted(landmarks))}

    def views(chosen: set[int]) -> Iterator[tuple[int, View]]:
        for frame in read_frames(path):
            n = order.get(frame.index)
            if n in chosen:
                marks = crops[n].frame_to_crop(landmarks[frame.index][:LANDMARKS, :2])
                yield n, View(crop_image(frame.rgb, crops[n]), marks, out[n])

    out = coefficients.copy()
    spread = np.unique(np.linspace(0, len(out) - 1, min(len(out), SPREAD)).round().astype(int))
    rows, chosen = zip(*views(set(spread.tolist())), strict=True)
    out[list(rows)] = refiner.refine(list(chosen))
    rest = set(range(len(out))) - set(rows)
    for part in ("identity", "texture"):
        out[:, LAYOUT[part]] = out[rows[0], LAYOUT[part]]
    for n, view in views(rest):
        out[n] = refiner.refine([view], known=True)[0]
    return out
