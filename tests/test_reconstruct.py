"""Pose and coefficients from landmarks, on faces whose identity, expression and pose are known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from talkedit.editor import load_face_model
from talkedit.facemodel.model import FaceModel
from talkedit.reconstruct.fit import Fitter
from talkedit.reconstruct.pose import find_pose
from talkedit.track.topology import STABLE

FLIP = np.float32([1, -1, -1])  # the picture's y is down and its z away


@cache
def model() -> FaceModel:
    return load_face_model("open")


def mean() -> np.ndarray:
    return model().mean[:468]


def degrees_between(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(Rotation.from_matrix(a.T @ b).magnitude()))


def in_picture(points: np.ndarray, rotation: np.ndarray, scale: float, shift: np.ndarray) -> np.ndarray:
    """Model points as a tracker would give them, written out apart from the product's own Pose."""
    return np.stack([p @ rotation * scale + shift for p in points]) * FLIP


@given(st.integers(0, 10_000), st.floats(40, 900), st.floats(-35, 35), st.floats(-20, 20), st.floats(-30, 30))
@settings(max_examples=40, deadline=None)
def test_pose_of_the_mean_face_is_exact(seed: int, scale: float, yaw: float, pitch: float, roll: float) -> None:
    rotation = Rotation.from_euler("yxz", [yaw, pitch, roll], degrees=True).as_matrix()
    shift = np.random.default_rng(seed).uniform(-500, 1500, 3)
    landmarks = in_picture(mean(), rotation, scale, shift)
    pose = find_pose(landmarks, mean())
    assert degrees_between(pose.rotation, rotation) < 0.01
    assert pose.scale == pytest.approx(scale, rel=1e-4)
    np.testing.assert_allclose(pose.translation, shift, atol=1e-3 * scale)
    np.testing.assert_allclose(pose.to_picture(mean()), landmarks, atol=1e-3 * scale)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_round_trip(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rotation = Rotation.from_euler("yxz", rng.uniform(-30, 30, 3), degrees=True).as_matrix()
    landmarks = in_picture(mean(), rotation, 300, rng.uniform(0, 1000, 3)) + rng.normal(0, 2, (468, 3))
    pose = find_pose(landmarks, mean())
    points = pose.to_model(landmarks)
    np.testing.assert_allclose(pose.to_picture(points), landmarks, atol=2e-3)
    np.testing.assert_allclose(pose.to_model(pose.to_picture(mean())), mean(), atol=1e-5)
    # A displacement is the difference of two places.
    delta = rng.normal(0, 0.05, (468, 3))
    moved = pose.to_picture(points + delta) - pose.to_picture(points)
    np.testing.assert_allclose(pose.direction_to_picture(delta), moved, atol=5e-3)
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), pose.scale * np.linalg.norm(delta, axis=1), rtol=2e-2)


def test_directions_in_the_picture() -> None:
    pose = find_pose(in_picture(mean(), np.eye(3), 100, np.zeros(3)), mean())
    up, near, left = pose.direction_to_picture(np.float32([[0, 1, 0], [0, 0, 1], [1, 0, 0]]))
    np.testing.assert_allclose(up, [0, -100, 0], atol=0.05)  # rows count downwards
    np.testing.assert_allclose(near, [0, 0, -100], atol=0.05)  # z counts away from the viewer
    np.testing.assert_allclose(left, [100, 0, 0], atol=0.05)


def test_pose_does_not_listen_to_what_speech_moves() -> None:
    landmarks = in_picture(mean(), np.eye(3), 300, np.array([200.0, -300, 0]))
    moved = landmarks.copy()
    others = np.setdiff1d(np.arange(468), STABLE)
    moved[others] += np.random.default_rng(0).normal(0, 30, (len(others), 3))
    a, b = find_pose(landmarks, mean()), find_pose(moved, mean())
    np.testing.assert_array_equal(a.rotation, b.rotation)
    assert a.scale == b.scale


@dataclass(frozen=True)
class Clip:
    """A clip of one known person with known expressions and poses."""

    identity: np.ndarray  # (80,)
    expressions: np.ndarray  # (T, 64)
    rotations: list[np.ndarray]
    landmarks: list[np.ndarray]  # pixels
    points: list[np.ndarray]  # as reconstructed, model's frame
    fitter: Fitter


def make_clip(seed: int, frames: int, strength: float = 1.0, noise: float = 0.0) -> Clip:
    rng = np.random.default_rng(seed)
    identity, expressions = rng.normal(size=80), strength * rng.normal(size=(frames, 64))
    rotations, landmarks, points = [], [], []
    fitter = Fitter(model())
    basis, person = model().exp_basis[:468], mean() + model().id_basis[:468] @ identity
    for b in expressions:
        rotation = Rotation.from_euler("yxz", rng.uniform(-25, 25, 3), degrees=True).as_matrix()
        scale, shift = rng.uniform(150, 400), rng.uniform(0, 800, 3)
        seen = in_picture(person + basis @ b, rotation, scale, shift)
        seen = (seen + rng.normal(0, noise * scale, seen.shape)).astype(np.float32)
        points.append(find_pose(seen, mean()).to_model(seen))
        fitter.observe(points[-1])
        rotations.append(rotation)
        landmarks.append(seen)
    fitter.solve()
    return Clip(identity, expressions, rotations, landmarks, points, fitter)


@pytest.fixture(scope="module", params=[0, 1], ids=["person 0", "person 1"])
def known(request: pytest.FixtureRequest) -> Clip:
    return make_clip(request.param, 150)


def test_rotation_within_a_degree_for_any_person_and_expression(known: Clip) -> None:
    errors = [
        degrees_between(find_pose(x, mean()).rotation, r) for x, r in zip(known.landmarks, known.rotations, strict=True)
    ]
    assert max(errors) < 1
    assert np.median(errors) < 0.2


def test_expression_is_recovered(known: Clip) -> None:
    got = np.array([known.fitter.expression(p) for p in known.points])
    assert np.corrcoef(got.ravel(), known.expressions.ravel())[0, 1] >= 0.98
    # And each coefficient follows its own course over time.
    course = [np.corrcoef(got[:, k], known.expressions[:, k])[0, 1] for k in range(64)]
    assert min(course) > 0.9 and np.median(course) > 0.98


def test_identity_is_recovered_as_a_shape(known: Clip) -> None:
    basis = model().id_basis[:468].reshape(-1, 80)
    got, true = basis @ known.fitter.identity, basis @ known.identity
    assert np.corrcoef(got, true)[0, 1] > 0.9
    assert np.linalg.norm(got - true) < 0.45 * np.linalg.norm(true)


def test_residual_and_model_make_up_the_tracked_landmarks(known: Clip) -> None:
    basis = model().exp_basis[:468]
    person = mean() + model().id_basis[:468] @ known.fitter.identity
    rng = np.random.default_rng(9)
    for p in known.points[:10]:
        p = p + rng.normal(0, 0.03, p.shape).astype(np.float32)  # what no model explains
        b = known.fitter.expression(p)
        rest = known.fitter.residual(p, b)
        np.testing.assert_allclose(person + basis @ b + rest, p, atol=2e-6)
        assert 0 < np.abs(rest).mean() < 0.05


def test_expression_survives_landmark_noise() -> None:
    clip = make_clip(3, 60, noise=0.006)
    got = np.array([clip.fitter.expression(p) for p in clip.points])
    basis = model().exp_basis[:468].reshape(-1, 64)
    assert np.corrcoef((got @ basis.T).ravel(), (clip.expressions @ basis.T).ravel())[0, 1] > 0.97


def test_expression_is_ridge_regression() -> None:
    """Against a solver that shares no code: least squares with the prior as extra rows."""
    fitter = Fitter(model())
    points = mean() + 0.02 * np.random.default_rng(0).normal(size=(468, 3)).astype(np.float32)
    basis = model().exp_basis[:468].reshape(-1, 64).astype(np.float64)
    rows = np.concatenate([basis, 0.006 * np.eye(64)])
    right = np.r_[(points - mean()).astype(np.float64).ravel(), np.zeros(64)]
    np.testing.assert_allclose(fitter.expression(points), np.linalg.lstsq(rows, right, rcond=None)[0], atol=1e-4)


def test_expression_is_affine_in_the_landmarks() -> None:
    fitter = Fitter(model())
    rng = np.random.default_rng(1)
    a, b = (mean() + 0.03 * rng.normal(size=(468, 3)).astype(np.float32) for _ in range(2))
    middle = fitter.expression((a + b) / 2)
    np.testing.assert_allclose(middle, (fitter.expression(a) + fitter.expression(b)) / 2, atol=1e-4)
    np.testing.assert_allclose(fitter.expression(mean()), 0, atol=1e-5)


def test_frames_count_by_their_weight() -> None:
    rng = np.random.default_rng(2)
    a, b = (mean() + (model().id_basis[:468] @ rng.normal(size=80)).astype(np.float32) for _ in range(2))
    once, twice = Fitter(model()), Fitter(model())
    once.observe(a, 3.0)
    once.observe(b, 1.0)
    for p in (a, a, b, a):
        twice.observe(p)
    np.testing.assert_allclose(once.solve(), twice.solve(), atol=1e-5)
    ignored = Fitter(model())
    ignored.observe(a)
    ignored.observe(b, 0.0)
    alone = Fitter(model())
    alone.observe(a)
    np.testing.assert_array_equal(ignored.solve(), alone.solve())


def test_without_frames_the_mean_person() -> None:
    fitter = Fitter(model())
    assert (fitter.solve() == 0).all()
    np.testing.assert_allclose(fitter.residual(mean(), np.zeros(64, np.float32)), 0, atol=1e-7)
