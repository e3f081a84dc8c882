"""Coefficients of a whole clip: identity once, everything else frame by frame."""

from __future__ import annotations

import os

import numpy as np

from talkedit.errors import NoFaceError
from talkedit.facemodel.camera import align_crop, five_points
from talkedit.facemodel.load import load_face_model
from talkedit.reconstruct.coefficients import LAYOUT, model_points, reconstruct_frame
from talkedit.reconstruct.fit import Fitter
from talkedit.reconstruct.network import load_reconstructor
from talkedit.track import make_tracker
from talkedit.track.topology import IBUG68
from talkedit.video.reader import read_frames


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
        face_model, tracker, face, reconstruction: as in `EditOptions`.

    Returns:
        ``frame`` (N,) int64 indices, ``time`` (N,) seconds, ``coefficients`` (N, 257) float32 in the order of
        ``talkedit.reconstruct.coefficients.LAYOUT``, ``crop`` (N, 3) float64 (scale, offset x, offset y of the
        224-pixel crop), ``landmarks`` (N, 478, 3) float32 pixels. Everything is held in memory: about 7 kB a frame.

    Raises:
        InputError: see the reader, the tracker and ``load_reconstructor``.
        NoFaceError: no frame shows a face.
    """
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
            crops.append((c.crop.scale, *c.crop.offset))
    coefficients = np.array(rows, np.float32)
    if read is not None:  # it sees one frame at a time; a clip shows one person
        coefficients[:, LAYOUT["identity"]] = coefficients[:, LAYOUT["identity"]].mean(0)
    return {
        "frame": np.array(sorted(landmarks)),
        "time": np.array(times),
        "coefficients": coefficients,
        "crop": np.array(crops),
        "landmarks": np.array([landmarks[i] for i in sorted(landmarks)], np.float32),
    }
