"""The 257 numbers of a frame: layout, camera fit, light and texture, on a face rendered from known coefficients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from talkedit.facemodel.camera import IDENTITY_CROP, align_crop, five_points, screen_points_numpy
from talkedit.facemodel.load import load_face_model
from talkedit.reconstruct.coefficients import LAYOUT, Coefficients, fit_camera, model_points, reconstruct_frame
from talkedit.reconstruct.fit import Fitter
from talkedit.render import attribute_map, render
from talkedit.track.topology import IBUG68


@pytest.fixture(scope="module")
def model():
    return load_face_model("open")


@pytest.fixture(scope="module")
def truth(model):
    """(coefficients, picture, landmarks) of a synthetic clip of six frames of one person."""
    rng = np.random.default_rng(3)
    identity = rng.normal(size=80).astype(np.float32) * 0.6
    frames = []
    for _ in range(6):
        expression = rng.normal(size=64).astype(np.float32) * 0.6
        angle = rng.uniform(-0.25, 0.25, 3)
        translation = np.array([0.05, -0.04, 0.3]) * rng.uniform(0.5, 1, 3)
        vertices = model.vertices(identity, expression)
        gamma = np.zeros(27, np.float32)
        gamma[[3, 12, 21]] = -0.25  # light from one side
        picture = render(
            *(torch.from_numpy(np.ascontiguousarray(a)) for a in (vertices[None], model.triangles.astype(np.int64))),
            torch.from_numpy(model.tex_mean[None]),
            *(torch.from_numpy(np.float32(a))[None] for a in (angle, translation, gamma)),
        )
        rgb = np.clip(picture[0][0].numpy() * 255, 0, 255).astype(np.uint8)
        screen = screen_points_numpy(vertices, angle, translation)
        points = screen[model.landmark_vertices]
        # MediaPipe's z: pixels away from the viewer, zero at the head's centre.
        pixels = 1015 / points[:, 2].mean()
        z = (points[:, 2] - points[:, 2].mean()) * pixels
        landmarks = np.zeros((478, 3), np.float32)
        landmarks[:468] = np.c_[points[:, :2], z]
        frames.append((expression, angle, translation, rgb, landmarks))
    return identity, frames


@pytest.fixture(scope="module")
def found(model, truth):
    fitter = Fitter(model)
    for *_, landmarks in truth[1]:
        crop = align_crop(five_points(landmarks[IBUG68]))
        fitter.observe(model_points(landmarks, model.mean[:468], crop)[1])
    fitter.solve()
    return [reconstruct_frame(rgb, landmarks, model, fitter) for *_, rgb, landmarks in truth[1]]


def test_the_layout_is_257_numbers_without_gaps(found):
    ends = [s.stop for s in LAYOUT.values()]
    starts = [s.start for s in LAYOUT.values()]
    assert starts == [0, *ends[:-1]] and ends[-1] == 257
    vector = found[0].vector()
    assert vector.shape == (257,) and vector.dtype == np.float32
    np.testing.assert_array_equal(vector[LAYOUT["gamma"]], found[0].gamma)
    assert isinstance(found[0], Coefficients)


def test_pose_is_recovered_within_a_degree(truth, found):
    for (_, angle, *_), c in zip(truth[1], found, strict=True):
        assert np.degrees(np.abs(c.angle - angle)).max() < 1.0


def test_expression_is_recovered(truth, found):
    want = np.concatenate([e for e, *_ in truth[1]]) - np.tile(np.mean([e for e, *_ in truth[1]], 0), 6)
    got = np.concatenate([c.expression for c in found]) - np.tile(np.mean([c.expression for c in found], 0), 6)
    assert np.corrcoef(want, got)[0, 1] > 0.98


def test_landmarks_project_where_they_were_tracked(model, truth, found):
    for (*_, landmarks), c in zip(truth[1], found, strict=True):
        vertices = model.vertices(c.identity, c.expression)[model.landmark_vertices]
        screen = screen_points_numpy(vertices, c.angle, c.translation)[:, :2]
        error = np.linalg.norm(screen - c.crop.frame_to_crop(landmarks[:468, :2]), axis=1)
        assert error.mean() < 0.5  # pixels of the 224 crop


def test_texture_and_light_reproduce_the_picture(model, truth, found):
    *_, rgb, _ = truth[1][0]
    c = found[0]
    vertices = torch.from_numpy(model.vertices(c.identity, c.expression)[None])
    again = render(
        vertices,
        torch.from_numpy(model.triangles.astype(np.int64)),
        torch.from_numpy(model.texture(c.texture)[None].astype(np.float32)),
        *(torch.from_numpy(a)[None] for a in (c.angle, c.translation, c.gamma)),
        crop=c.crop,
        height=rgb.shape[0],
        width=rgb.shape[1],
    )
    picture = np.clip(again[0][0].numpy(), 0, 1)
    both = (picture.sum(2) > 0) & (rgb.sum(2) > 0)
    assert both.mean() > 0.1
    error = picture[both] - rgb[both] / 255
    assert -10 * np.log10((error**2).mean()) > 25


def test_camera_fit_from_a_bad_start(model):
    angle, translation = np.array([0.2, -0.3, 0.1]), np.array([0.1, 0.05, 0.4])
    target = screen_points_numpy(model.mean[:468], angle, translation)[:, :2]
    x = fit_camera(model.mean[:468], target, IDENTITY_CROP, np.zeros(6))
    np.testing.assert_allclose(x, np.r_[angle, translation], atol=2e-3)


def test_attribute_map_without_numba_is_the_same(model, monkeypatch):
    points = screen_points_numpy(model.mean, np.zeros(3), np.zeros(3))
    fast = attribute_map(points, model.triangles, model.uv, 120, 110, (60, 50))
    monkeypatch.setattr("talkedit.render.attributes.choose_backend", lambda device: "torch")
    slow = attribute_map(points, model.triangles, model.uv, 120, 110, (60, 50))
    np.testing.assert_array_equal(fast[1], slow[1])
    np.testing.assert_allclose(fast[0], slow[0], atol=1e-5)
