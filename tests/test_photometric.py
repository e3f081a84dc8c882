"""Photometric refinement: its derivatives, and a clip rendered from known coefficients, tracked by MediaPipe."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest
import torch

from talkedit.errors import InputError
from talkedit.facemodel.camera import CAMERA, CropTransform, rotation_matrix_numpy, screen_points_numpy
from talkedit.facemodel.load import load_face_model
from talkedit.facemodel.tensors import FaceTensors
from talkedit.reconstruct import photometric
from talkedit.reconstruct.clip import reconstruct_clip
from talkedit.reconstruct.coefficients import LAYOUT
from talkedit.reconstruct.light import basis_of
from talkedit.reconstruct.photometric import PhotometricRefiner, View
from talkedit.render import render

FRAMES, SIDE = 12, 512


@pytest.fixture(scope="module")
def model():
    return load_face_model("open")


@pytest.fixture(scope="module")
def face(model):
    return FaceTensors(model)


def _draw(face, x: np.ndarray, side: int = CAMERA.size) -> np.ndarray:
    """(side, side, 3) uint8 picture of (257,) coefficients on grey."""
    t = {name: torch.from_numpy(np.float32(x[where]))[None] for name, where in LAYOUT.items()}
    shown = render(
        face.vertices(t["identity"], t["expression"]),
        face.triangles,
        face.albedo(t["texture"]),
        t["angle"],
        t["translation"],
        t["gamma"],
        crop=CropTransform(CAMERA.size / side, (0.0, 0.0)),
        height=side,
        width=side,
    )
    picture = torch.where(shown.mask[..., None], shown.image, torch.tensor(0.45))[0]
    return (picture.clamp(0, 1).numpy() * 255 + 0.5).astype(np.uint8)


def _person(rng: np.random.Generator) -> np.ndarray:
    x = np.zeros(257)
    x[LAYOUT["identity"]] = 0.5 * rng.normal(size=80)
    x[LAYOUT["texture"]] = 0.5 * rng.normal(size=80)
    x[LAYOUT["gamma"].start + np.array([3, 12, 21])] = -0.2  # light from one side
    return x


def _write(path, pictures: list[np.ndarray]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = pictures[0].shape[1], pictures[0].shape[0], "yuv444p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def clip(face, tmp_path_factory):
    """(path, (N, 257) coefficients) of a lossless clip of one person who turns and grimaces."""
    rng = np.random.default_rng(0)
    person, moves = _person(rng), 0.9 * rng.normal(size=(3, 64))
    rows = []
    for t in np.arange(FRAMES) / FRAMES:
        x = person.copy()
        x[LAYOUT["expression"]] = sum(np.sin(2 * np.pi * (k + 1) * t + k) * moves[k] for k in range(3))
        x[LAYOUT["angle"]] = 0.1 * np.sin(6 * t), 0.2 * np.cos(6 * t), 0.05 * np.sin(12 * t)
        rows.append(x)
    path = tmp_path_factory.mktemp("photometric") / "rendered.mp4"
    _write(path, [_draw(face, x, SIDE) for x in rows])
    return path, np.array(rows)


def test_pixels_move_as_differences_say(model):
    rng = np.random.default_rng(1)
    vertices, basis = rng.normal(0, 0.5, (20, 3)), rng.normal(0, 0.1, (20, 3, 4)).astype(np.float32)
    angle, shift = np.array([0.2, -0.3, 0.1]), np.array([0.1, -0.2, 0.4])

    def at(p: np.ndarray) -> np.ndarray:
        return screen_points_numpy(vertices + basis @ p[:4], angle + p[4:7], shift + p[7:])

    got = photometric._pixels(vertices, at(np.zeros(10)), angle, basis)
    for k, unit in enumerate(np.eye(10)):
        want = (at(0.01 * unit) - at(-0.01 * unit))[:, :2] / 0.02
        np.testing.assert_allclose(got[..., k], want, rtol=0.01, atol=0.05)


def test_light_turns_as_differences_say():
    normals = np.random.default_rng(2).normal(size=(5, 3))
    for slope, unit in zip(photometric._lighting_slopes(normals), np.eye(3), strict=True):
        np.testing.assert_allclose(slope, (basis_of(normals + 1e-4 * unit) - basis_of(normals)) / 1e-4, atol=1e-3)
    angle = np.array([0.3, 0.2, -0.4])
    for slope, unit in zip(photometric._turns(angle), np.eye(3), strict=True):
        want = (rotation_matrix_numpy(angle + 1e-4 * unit) - rotation_matrix_numpy(angle)) / 1e-4
        np.testing.assert_allclose(slope, want, atol=1e-3)


def test_the_truth_is_a_resting_point(model, face):
    """Started where the picture was drawn from, nothing moves but for the pull towards the mean face."""
    x = _person(np.random.default_rng(4))
    x[LAYOUT["expression"]] = 0.5
    marks = screen_points_numpy(
        model.vertices(x[LAYOUT["identity"]].astype(np.float32), x[LAYOUT["expression"]].astype(np.float32)),
        x[LAYOUT["angle"]],
        x[LAYOUT["translation"]],
    )[model.landmark_vertices, :2]
    picture = _draw(face, x)
    got = PhotometricRefiner(model, step=6).refine([View(picture, marks, x)], known=True)[0]
    assert np.degrees(np.abs(got - x)[LAYOUT["angle"]]).max() < 0.3
    difference = cv2.absdiff(_draw(face, got), picture)
    assert difference.mean() < 0.5
    np.testing.assert_array_equal(got[LAYOUT["identity"]], x[LAYOUT["identity"]].astype(np.float32))


def test_a_rendered_clip_is_recovered_from_its_pictures(clip):
    path, truth = clip
    found = reconstruct_clip(path, reconstruction="photometric")
    assert len(found["frame"]) == FRAMES
    rows = found["coefficients"]
    want, got = (a[:, LAYOUT["expression"]] - a[:, LAYOUT["expression"]].mean(0) for a in (truth, rows))
    assert np.corrcoef(want.ravel(), got.ravel())[0, 1] >= 0.98
    assert np.degrees(np.abs(rows - truth)[:, LAYOUT["angle"]]).max() < 1.0
    for part in ("identity", "texture"):  # one person, so one face
        assert np.ptp(rows[:, LAYOUT[part]], axis=0).max() == 0


def test_unknown_reconstruction_is_refused(clip):
    with pytest.raises(InputError, match="photometric"):
        reconstruct_clip(clip[0], reconstruction="guess")


def test_frames_of_a_long_clip_take_the_identity_of_a_few(clip, monkeypatch):
    from talkedit.reconstruct import clip as clips

    monkeypatch.setattr(clips, "SPREAD", 2)
    monkeypatch.setattr(photometric, "LEVELS", ((2.0, 1),))
    rows = reconstruct_clip(clip[0], reconstruction="photometric")["coefficients"]
    assert np.isfinite(rows).all() and np.ptp(rows[:, LAYOUT["identity"]], axis=0).max() == 0
    assert np.ptp(rows[:, LAYOUT["expression"]], axis=0).max() > 0.1
