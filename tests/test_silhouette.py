"""The far outline of a turned head holds, the near side is edited, and a turning head sees no jump."""

from __future__ import annotations

import numpy as np
import pytest

from talkedit.editor import YAW_FADE
from talkedit.facemodel.load import load_face_model
from talkedit.facemodel.model import FaceModel
from talkedit.geometry.openings import smoothstep
from talkedit.geometry.silhouette import Silhouette
from talkedit.reconstruct.pose import Pose
from talkedit.track.measures import yaw_degrees

# Pixels per model unit; the outer eyes are then about 190 pixels apart.
SCALE = 200.0


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model("open")


def turned(degrees: float) -> Pose:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return Pose(np.float32([[c, 0, -s], [0, 1, 0], [s, 0, c]]), SCALE, np.zeros(3, np.float32))


def yaw_of(model: FaceModel, pose: Pose) -> float:
    return yaw_degrees(pose.to_picture(model.at_landmarks(model.mean)))


def outward(model: FaceModel, pose: Pose) -> np.ndarray:
    """(V, 3) pixels: 20 away from the middle of the head to both sides."""
    sides = np.sign(model.mean[:, :1]) * np.float32([[0.1, 0, 0]])
    return pose.direction_to_picture(sides)


def test_a_frontal_face_is_edited_as_ever(model: FaceModel) -> None:
    change = np.random.default_rng(0).normal(size=model.mean.shape).astype(np.float32)
    np.testing.assert_array_equal(Silhouette(model)(turned(5), model.mean, change, 5.0), change)


@pytest.mark.parametrize("degrees", [45, -45])
def test_the_far_outline_holds_and_the_near_cheek_moves(model: FaceModel, degrees: float) -> None:
    pose = turned(degrees)
    yaw = yaw_of(model, pose)
    assert abs(abs(yaw) - 45) < 5
    change = outward(model, pose)
    held = Silhouette(model)(pose, pose.to_picture(model.mean), change, yaw)
    # 234 and 454 are the ears, 205 and 425 the cheeks; positive yaw hides the viewer's right, the person's left.
    far, near = (454, 205) if yaw > 0 else (234, 425)
    depth = pose.to_picture(model.mean)[model.landmark_vertices, 2]
    assert depth[far] > depth[near]
    far, near = model.landmark_vertices[[far, near]]
    assert np.abs(held[far]).max() < 0.05 * np.abs(change[far]).max()
    np.testing.assert_allclose(held[near], change[near], atol=0.02 * np.abs(change[near]).max())


def test_a_jaw_drops_along_the_outline(model: FaceModel) -> None:
    pose = turned(40)
    change = np.tile(np.float32([0, 20, 0]), (len(model.mean), 1))
    held = Silhouette(model)(pose, pose.to_picture(model.mean), change, yaw_of(model, pose))
    lips = model.landmark_vertices[[13, 14, 0, 17, 152]]  # the middle of mouth and chin
    assert held[lips, 1].min() > 14


@pytest.mark.parametrize("degrees", [30, -30])
def test_what_lies_close_to_the_outline_is_held_across_it_only(model: FaceModel, degrees: float) -> None:
    """The mesh says the corner of the mouth faces the viewer; the picture has it at the outline."""
    pose = turned(degrees)
    yaw = yaw_of(model, pose)
    mesh = pose.to_picture(model.mean)
    corner = model.landmark_vertices[291 if yaw > 0 else 61]
    change = np.tile(np.float32([-20 * np.sign(yaw), 8, 0]), (len(mesh), 1))
    free = Silhouette(model)(pose, mesh, change, yaw)[corner]
    assert abs(free[0]) > 14
    outline = mesh[model.landmark_vertices, 0] * np.sign(yaw)
    squashed = mesh.copy()
    squashed[corner, 0] = np.sign(yaw) * outline.max()
    held = Silhouette(model)(pose, squashed, change, yaw)[corner]
    assert abs(held[0]) < 0.35 * abs(free[0])
    assert held[1] > 6


def held_outward(model: FaceModel, pose: Pose) -> np.ndarray:
    return Silhouette(model)(pose, pose.to_picture(model.mean), outward(model, pose), yaw_of(model, pose))


def test_mirrored_heads_are_held_alike(model: FaceModel) -> None:
    one, other = turned(40), turned(-40)
    lengths = [np.linalg.norm(held_outward(model, pose), axis=1).mean() for pose in (one, other)]
    assert abs(lengths[0] - lengths[1]) < 0.03 * lengths[0]


def test_a_turning_head_sees_no_jump(model: FaceModel) -> None:
    """A quick turn, 2 degrees a frame: what 20 pixels of edit become must change by few pixels a frame."""
    silhouette, before, largest = Silhouette(model), None, 0.0
    for degrees in np.arange(-76, 77, 2.0):
        pose = turned(degrees)
        yaw = yaw_of(model, pose)
        fade = 1 - float(smoothstep(abs(yaw), *YAW_FADE))
        held = silhouette(pose, pose.to_picture(model.mean), outward(model, pose), yaw) * fade
        if before is not None:
            largest = max(largest, float(np.abs(held - before)[:, :2].max()))
        before = held
    assert 0.5 < largest < 5.0
    assert np.abs(before).max() < 0.01
