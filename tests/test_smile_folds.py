"""Folds beside the mouth go where an edit draws its corners in; skin keeps its grain, and lips what they are."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from talkedit.facemodel.load import load_face_model
from talkedit.mouth.smile_folds import LIFTED, PATHS, PORES, without_folds
from talkedit.track.topology import FACE_OVAL, INNER_LIPS, OUTER_LIPS

SKIN, LIP = (190, 140, 120), (150, 80, 80)


@pytest.fixture(scope="module")
def landmarks() -> np.ndarray:
    """(468, 2) pixels of the mean face."""
    model = load_face_model("open")
    return (model.at_landmarks(model.mean)[:, :2] * [200, -200] + [240, 250]).astype(np.float32)


def eye_of(landmarks: np.ndarray) -> float:
    return float(np.linalg.norm(landmarks[33] - landmarks[263]))


def draw(landmarks: np.ndarray) -> np.ndarray:
    """(520, 480, 3) skin with lips, and a dark fold along either path."""
    picture = np.full((520, 480, 3), SKIN, np.float32)
    for path in PATHS:
        cv2.polylines(picture, [np.round(landmarks[path].mean(1)).astype(int)], False, (120, 85, 70), 5, cv2.LINE_AA)
    picture = cv2.GaussianBlur(picture, (0, 0), 1.5)
    cv2.fillPoly(picture, [np.round(landmarks[OUTER_LIPS]).astype(int)], LIP)
    return picture.astype(np.uint8)


def narrowed(landmarks: np.ndarray, by: float, wide: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(20, 2) inner lips, so many times as wide as those of the mean face, and narrower by a share of that."""
    loop = landmarks[INNER_LIPS]
    middle = loop.mean(0)
    return tuple((loop - middle) * [wide * share, 1] + middle for share in (1, 1 - by))


def on_folds(landmarks: np.ndarray) -> np.ndarray:
    """Bool picture of the middles of the folds beside the mouth."""
    out = np.zeros((520, 480), np.uint8)
    for path in PATHS:
        cv2.polylines(out, [np.round(landmarks[path].mean(1)[1:-1]).astype(int)], False, 1)
    return out > 0


def test_folds_go_as_far_as_the_mouth_is_narrowed_and_nothing_else_does(landmarks):
    picture, eye, fold = draw(landmarks), eye_of(landmarks), on_folds(landmarks)
    half, whole = (without_folds(picture, landmarks, *narrowed(landmarks, by, 1.2), eye) for by in (0.07, 0.3))
    depth = [float((SKIN[0] - p[..., 0][fold].astype(float)).mean()) for p in (picture, half, whole)]
    assert 0.2 * depth[0] < depth[2] < 0.6 * depth[0] < depth[1] < 0.9 * depth[0]
    changed = (whole != picture).any(2)
    lips = cv2.fillPoly(np.zeros(changed.shape, np.uint8), [np.round(landmarks[OUTER_LIPS]).astype(int)], 1)
    assert not changed[lips > 0].any()
    rows, columns = np.nonzero(changed)
    assert rows.min() > landmarks[5, 1] - 0.2 * eye and columns.min() > landmarks[33, 0] - 0.2 * eye


def test_a_mouth_that_stays_or_widens_or_is_narrow_keeps_its_folds(landmarks):
    picture, eye, fold = draw(landmarks), eye_of(landmarks), on_folds(landmarks)
    for by in (0.0, -0.2):
        assert without_folds(picture, landmarks, *narrowed(landmarks, by, 1.2), eye) is picture
    out = without_folds(picture, landmarks, *narrowed(landmarks, 0.3, 0.7), eye)
    narrow, whole = (float((SKIN[0] - p[..., 0][fold].astype(float)).mean()) for p in (out, picture))
    assert narrow > 0.85 * whole


def test_a_beards_shadow_that_ends_at_the_fold_loses_some_of_its_hue_and_little_else(landmarks):
    picture, grey = np.full((520, 480, 3), SKIN, np.float32), np.float32((160, 150, 145))
    cv2.fillPoly(
        picture, [np.round(np.r_[landmarks[PATHS[0]], landmarks[PATHS[1]][::-1]].mean(1)).astype(int)], grey.tolist()
    )
    picture = cv2.GaussianBlur(picture, (0, 0), 3.0).astype(np.uint8)
    out = without_folds(picture, landmarks, *narrowed(landmarks, 0.3, 1.2), eye_of(landmarks))
    ((x, y),) = np.round(0.5 * (landmarks[[206]] + landmarks[[216]]) + np.float32([[10, 0]])).astype(int)
    hue, light = (
        [float(f(np.log(p[y - 2 : y + 3, x - 2 : x + 3].astype(float))).mean()) for p in (picture, out)]
        for f in (lambda v: v[..., 0] - v[..., 2], lambda v: v.mean(-1))
    )
    whole = float(np.log(SKIN[0] / SKIN[2]))
    assert hue[0] < 0.5 * whole and hue[1] > hue[0] + 0.1 * (whole - hue[0])
    assert light[0] - 0.02 < light[1] < light[0] + LIFTED[0] * LIFTED[1]  # a beard stays dark


def test_skin_keeps_its_grain(landmarks):
    grain = np.random.default_rng(0).standard_normal((520, 480)).astype(np.float32)[..., None]
    skin = (np.float32(SKIN) * (1 + 0.5 * PORES * grain)).astype(np.uint8)
    out = without_folds(skin, landmarks, *narrowed(landmarks, 0.3, 1.2), eye_of(landmarks))
    beside = cv2.dilate(on_folds(landmarks).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert out[beside, 0].std() > 0.9 * skin[beside, 0].std()


def test_nothing_beyond_the_outline_of_a_turned_face_changes_or_comes_in():
    model = load_face_model("open")
    turn = np.deg2rad(50)
    turned = model.at_landmarks(model.mean) @ np.float32(
        [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    )
    landmarks = (turned[:, :2] * [200, -200] + [240, 250]).astype(np.float32)
    face = cv2.fillPoly(np.zeros((520, 480), np.uint8), [np.round(landmarks[FACE_OVAL]).astype(int)], 1) > 0
    outs = []
    for beyond in ((20, 60, 20), (240, 240, 240)):
        picture = np.where(face[..., None], np.uint8(SKIN), np.uint8(beyond))
        for path in PATHS:
            cv2.polylines(picture, [np.round(landmarks[path].mean(1)).astype(int)], False, (120, 85, 70), 5)
        loop = landmarks[INNER_LIPS] * [1.5, 1]  # as wide as those of a smile
        narrow = (loop - loop.mean(0)) * [0.7, 1] + loop.mean(0)
        out = without_folds(picture, landmarks, loop, narrow, eye_of(landmarks))
        assert (out != picture).any() and (out == picture)[~face].all()
        outs.append(out)
    inside = cv2.erode(face.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    np.testing.assert_array_equal(outs[0][inside], outs[1][inside])


def test_a_face_at_the_edge_of_the_picture_is_cut_and_one_outside_left_alone(landmarks):
    picture, eye = draw(landmarks), eye_of(landmarks)
    shift = np.float32([landmarks[61, 0] - 4, 0])
    cut = np.ascontiguousarray(picture[:, int(shift[0]) :])
    loops = [loop - [int(shift[0]), 0] for loop in narrowed(landmarks, 0.3, 1.2)]
    out = without_folds(cut, landmarks - [int(shift[0]), 0], *loops, eye)
    assert out.shape == cut.shape and (out != cut).any()
    far = np.float32([4000, 0])
    np.testing.assert_array_equal(
        without_folds(picture, landmarks + far, *(loop + far for loop in narrowed(landmarks, 0.3, 1.2)), eye), picture
    )
