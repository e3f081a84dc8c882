"""No triangle turns over, eyeballs stay still, and both leave alone what is right already."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from talkedit import resources
from talkedit.checkpoint import LinearEditors, load_linear
from talkedit.emotions import EMOTIONS, code
from talkedit.facemodel.load import load_face_model
from talkedit.facemodel.model import FaceModel
from talkedit.geometry.eyeballs import Eyeballs
from talkedit.geometry.folds import DEGENERATE, Unfold, facing, turned_over
from talkedit.geometry.openings import Openings

SCALE = 150.0
UPPER, LOWER = 159, 145  # middles of the right eye's lids


@cache
def model() -> FaceModel:
    return load_face_model("open")


@cache
def editors() -> LinearEditors:
    return load_linear(resources.find("checkpoints", "linear_editor.safetensors"))


@cache
def unfold() -> Unfold:
    return Unfold(model())


@cache
def eyeballs() -> Eyeballs:
    return Eyeballs(model())


def in_picture(points: np.ndarray) -> np.ndarray:
    return (points * np.float32([SCALE, -SCALE, -SCALE]) + np.float32([203.3, 198.7, 0])).astype(np.float32)


@cache
def openings() -> Openings:
    return Openings(model().mean[:468])


def face(opening: float, lids: float = 0.0) -> np.ndarray:
    """(468, 3) the mean face with lips parted by ``opening`` and eyes opened by a share (-1 shut)."""
    points = model().mean[:468].copy()
    points = points + editors().geometry.speech * np.float32(opening - (points[13, 1] - points[14, 1]))
    return points + openings().open_lids(points, lids, 0.75)


def edited(points: np.ndarray, emotion: str, intensity: float) -> tuple[np.ndarray, np.ndarray]:
    """(V, 3) source and target mesh in the picture, before eyes and folds are seen to."""
    geometry = editors().geometry
    people = np.full(len(editors().people), 1 / len(editors().people), np.float32)
    e = code(emotion, intensity)
    delta = (model().exp_basis[:468] @ geometry.edit(None, np.zeros(64, np.float32), e, people)).astype(np.float32)
    delta = openings().lips(points, delta, geometry.speech, geometry.opening(e, people), 0.0)
    delta = openings().lids(points, delta, openings().lid_reference(model().mean[:468]))
    return moved(points, delta)


def moved(points: np.ndarray, delta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mesh = np.asarray(model().position @ points)
    return in_picture(mesh), in_picture(mesh + model().displacement @ delta)


# -- folds ---------------------------------------------------------------------------------------------------------


def test_facing_is_twice_the_area_of_what_faces_the_viewer() -> None:
    points = np.float32([[0, 0, 9], [0, 2, 9], [3, 0, 9]])  # rows go down: this is counter-clockwise
    np.testing.assert_allclose(facing(points, np.array([[0, 1, 2], [0, 2, 1]])), [6, -6])
    assert (facing(in_picture(model().mean), model().triangles) > 0).mean() > 0.98


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_no_triangle_turns_over(emotion: str) -> None:
    before = 0
    for opening, lids in ((0.0, 0.0), (0.04, -0.5), (0.1, -1.0), (0.25, 0.2)):
        for intensity in (1.0, 1.5):
            source, target = edited(face(opening, lids), emotion, intensity)
            before += int(turned_over(source, target, model().triangles).sum())
            eyeballs()(source, target)
            assert turned_over(source, unfold()(source, target), model().triangles).sum() == 0
    assert before > 100  # or there was nothing to do


@pytest.mark.parametrize("vertex", [50, 61, 13, 159, 6000])
def test_a_planted_fold_is_undone_and_only_its_surroundings_move(vertex: int) -> None:
    source = in_picture(model().mean)
    target = source.copy()
    target[vertex, :2] += [8.0, -6.0]
    assert turned_over(source, target, model().triangles).any()
    out = unfold()(source, target)
    assert not turned_over(source, out, model().triangles).any()
    way = np.linalg.norm(out - target, axis=1)
    far = np.linalg.norm((source - source[vertex])[:, :2], axis=1) > 40
    assert way[far].max() == 0
    assert way.max() < 11  # hardly further than taking the fold back


def test_what_has_no_folds_is_left_alone() -> None:
    source = in_picture(model().mean)
    np.testing.assert_array_equal(unfold()(source, source), source)
    wide = source * np.float32([1.2, 0.9, 1]) + np.float32([5, -3, 2])
    np.testing.assert_array_equal(unfold()(source, wide), wide)


def test_unfolding_is_continuous() -> None:
    """A mesh that moves a little stays close to where it was: no flicker."""
    for emotion in ("happy", "angry", "surprised"):
        outs = []
        for intensity in (1.0, 1.002):
            source, target = edited(face(0.05, -0.3), emotion, intensity)
            eyeballs()(source, target)
            outs.append((target, unfold()(source, target)))
        step = np.abs(outs[1][0] - outs[0][0]).max()
        assert np.abs(outs[1][1] - outs[0][1]).max() < 0.05 + 10 * step


def test_the_edge_of_the_mesh_never_moves() -> None:
    source, target = edited(face(0.1), "happy", 1.5)
    rim = np.diff(model().displacement.indptr) == 0
    rim &= ~model().eyeball
    assert rim.sum() > 100
    np.testing.assert_array_equal(unfold()(source, target)[rim], source[rim])


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_closed_lips_stay_closed(emotion: str) -> None:
    source, target = edited(face(0.0), emotion, 1.0)
    out = unfold()(source, target)
    pairs = [(82, 87), (13, 14), (312, 317)]
    gaps = [[mesh[low, 1] - mesh[high, 1] for high, low in pairs] for mesh in (source, out)]
    assert np.abs(np.array(gaps[0]) - gaps[1]).max() < 0.01 * SCALE


def test_degenerate_triangles_do_not_count() -> None:
    source = np.float32([[0, 0, 0], [0, DEGENERATE / 20, 0], [10, 0, 0]])
    target = np.float32([[0, 0, 0], [0, -1, 0], [10, 0, 0]])
    assert not turned_over(source, target, np.array([[0, 1, 2]])).any()
    assert turned_over(source * [1, 100, 1], target, np.array([[0, 1, 2]])).all()


# -- eyeballs ------------------------------------------------------------------------------------------------------


def right_eye() -> np.ndarray:
    """(N,) vertices on the right eyeball."""
    return np.flatnonzero(model().eyeball & (model().mean[:, 0] < 0))


def lid_move(upper: float, lower: float) -> tuple[np.ndarray, np.ndarray]:
    """Source and target when the right eye's lids move by shares of their gap, up positive; eyeballs seen to."""
    points = face(0.0)
    gap = points[UPPER, 1] - points[LOWER, 1]
    change = openings().open_lids(points, 1.0, 1.0)
    change[:, 1] *= upper
    low = openings().open_lids(points, 1.0, 0.0)
    change[:, 1] -= low[:, 1] * lower
    source, target = moved(points, change)
    assert target[UPPER, 1] - source[UPPER, 1] == pytest.approx(-upper * gap * SCALE, abs=0.05)
    eyeballs()(source, target)
    return source, target


def test_eyes_are_found_on_the_open_model() -> None:
    source = in_picture(model().mean)
    target = source + np.float32([0.3, 0.5, 0])
    eyeballs()(source, target)
    way = np.linalg.norm(target - source, axis=1)
    assert way[model().eyeball].min() < 0.1  # lids went, the middle of the eye did not
    assert (way[model().eyeball] < 0.3).mean() > 0.3
    assert np.median(way[~model().eyeball]) > 0.58


def test_nothing_moves_under_still_lids() -> None:
    source = in_picture(model().mean)
    target = source.copy()
    eyeballs()(source, target)
    np.testing.assert_allclose(target, source, atol=1e-4)


@pytest.mark.parametrize(("upper", "lower"), [(-0.4, 0.0), (-0.3, 0.2), (0.3, 0.0), (0.0, -0.2)])
def test_the_eye_between_the_lids_stays_still(upper: float, lower: float) -> None:
    source, target = lid_move(upper, lower)
    eye, gap = right_eye(), source[LOWER, 1] - source[UPPER, 1]
    way = np.linalg.norm(target[eye] - source[eye], axis=1)
    column = np.abs(source[eye, 0] - source[UPPER, 0]) < 0.3 * gap
    share = (source[eye, 1] - source[UPPER, 1]) / gap  # 0 at the upper lid, 1 at the lower
    # Under a closing lid the next fifth of the opening is its edge and what it pushes together; a rising one stretches
    # the eye down to two thirds.
    seen = column & (share > (0.7 if upper > 0 else 0.2 - upper))
    seen &= share < (0.3 if lower < 0 else 0.75 - lower if lower else 1.0)
    assert seen.sum() > 4 and way[seen].max() < 0.04 * gap


@pytest.mark.parametrize("upper", [-0.9, -0.5, -0.2, 0.3])
def test_a_lid_covers_the_eye_and_turns_nothing_over(upper: float) -> None:
    source, target = lid_move(upper, 0.0)
    out = unfold()(source, target)
    assert not turned_over(source, out, model().triangles).any()
    eye = right_eye()
    near = eye[np.abs(source[eye, 0] - source[UPPER, 0]) < 3]
    assert (out[near, 1] > out[UPPER, 1] - 0.05).all()  # nothing shows above the lid
    assert (out[near, 1] < out[LOWER, 1] + 0.05).all()
