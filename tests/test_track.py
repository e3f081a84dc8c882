"""Measurements on landmarks, steadying, the store of tracks, cuts, and the choice of a face."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from talkedit.editor import load_face_model
from talkedit.errors import InputError
from talkedit.options import EditOptions
from talkedit.track import follow, make_tracker, order, topology
from talkedit.track.cuts import CutDetector
from talkedit.track.facemesh import SMALLEST_FACE, describe, face_likeness, leaves, window_around
from talkedit.track.follow import FaceTracker
from talkedit.track.measures import (
    bounding_box,
    box_overlap,
    eye_distance,
    eye_opening,
    mouth_opening,
    yaw_degrees,
)
from talkedit.track.steady import TREMBLE, steady
from talkedit.track.store import TrackStore
from talkedit.types import Frame, Track

FRAME = (480, 640, 3)


@cache
def _mean() -> np.ndarray:
    return load_face_model("open").mean[:468]


def landmarks(
    yaw: float = 0, pitch: float = 0, roll: float = 0, width: float = 160, at: tuple[float, float] = (320, 240)
) -> np.ndarray:
    """(478, 3) landmarks of the mean face, as MediaPipe gives them; positive yaw turns the nose to the right."""
    turned = _mean() @ Rotation.from_euler("zxy", [roll, pitch, yaw], degrees=True).as_matrix().T
    points = turned * [1, -1, -1] * width / np.ptp(_mean()[:, 0]) + [*at, 0]
    irises = [points[ring].mean(0) for ring in (topology.RIGHT_EYE, topology.LEFT_EYE)]
    return np.concatenate([points, np.repeat(irises, 5, axis=0)]).astype(np.float32)


# -- measures ------------------------------------------------------------------------------------------------------


@given(st.floats(-60, 60), st.floats(50, 900))
@settings(deadline=None)
def test_yaw_is_the_head_turn(yaw: float, width: float) -> None:
    assert yaw_degrees(landmarks(yaw, width=width)) == pytest.approx(yaw, abs=0.2)


def test_positive_yaw_looks_to_the_viewers_right() -> None:
    turned, straight = landmarks(30), landmarks(0)
    assert turned[1, 0] - turned[234, 0] > straight[1, 0] - straight[234, 0]
    assert yaw_degrees(turned) > 25
    assert abs(yaw_degrees(landmarks(0, pitch=20))) < 1


@given(st.floats(0, 0.5), st.floats(60, 900), st.floats(-40, 40))
@settings(deadline=None)
def test_mouth_opening_is_a_share_of_the_eye_distance(opening: float, width: float, roll: float) -> None:
    points = landmarks(width=width)
    points[14] = points[13] + [0, opening * np.linalg.norm(points[33] - points[263]), 0]
    turn = Rotation.from_euler("z", roll, degrees=True).as_matrix().astype(np.float32)
    assert mouth_opening(points @ turn) == pytest.approx(opening, abs=1e-3)


def test_eye_opening_left_first() -> None:
    points = landmarks()
    ring = topology.RIGHT_EYE
    wide = np.linalg.norm(points[ring[0], :2] - points[ring[8], :2])
    for up, low in ((159, 145), (160, 144), (158, 153)):
        points[up, :2] = points[low, :2] - [0, 0.4 * wide]
    left, right = eye_opening(points)
    assert right == pytest.approx(0.4, abs=1e-3)
    assert 0.1 < left < 0.35
    for up, low in ((386, 374), (387, 373), (385, 380)):
        points[up] = points[low]
    assert eye_opening(points)[0] == pytest.approx(0, abs=1e-6)


def test_eye_distance_does_not_change_with_yaw() -> None:
    assert eye_distance(landmarks(50)) == pytest.approx(eye_distance(landmarks()), rel=1e-3)


def test_boxes() -> None:
    box = bounding_box(np.float32([[3, 8, 0], [5, 2, 9], [4, 4, 4]]))
    assert box.tolist() == [3, 2, 5, 8]
    a = np.float32([0, 0, 2, 2])
    assert box_overlap(a, a) == pytest.approx(1)
    assert box_overlap(a, a + np.float32([1, 0, 1, 0])) == pytest.approx(1 / 3)
    assert box_overlap(a, a + 5) == 0


# -- is it a face --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("yaw", [-40, 0, 40])
def test_a_face_looks_like_one(yaw: float) -> None:
    assert face_likeness(landmarks(yaw), FRAME) == 1


def test_tiny_faces_are_not_trusted() -> None:
    got = [face_likeness(landmarks(width=w), FRAME) for w in (20, 28, 33, 37, 45, 200)]
    assert got[:2] == [0, 0] and got[4:] == [1, 1] and 0 < got[2] < got[3] < 1
    assert SMALLEST_FACE == 40


def test_faces_that_leave_the_frame_are_trusted_less_and_less() -> None:
    got = [face_likeness(landmarks(at=(x, 240)), FRAME) for x in (560, 590, 605, 640, 700)]
    assert got[0] == 1 and got[-1] == 0 and (np.diff(got) <= 0).all() and 0 < got[2] < 1


def test_no_faces_proportions() -> None:
    flat = landmarks() * np.float32([1, 0.2, 1])
    assert face_likeness(flat, FRAME) == 0
    tall = (landmarks() - np.float32([320, 0, 0])) * np.float32([0.4, 1, 0.4]) + np.float32([320, 0, 0])
    assert face_likeness(tall, FRAME) == 0


def test_describe_fills_the_track() -> None:
    measures = describe(landmarks(20), FRAME)
    track = Track(landmarks=landmarks(20), faces=1, **measures)
    assert track.confidence == 1 and track.yaw == pytest.approx(20, abs=0.2)
    assert track.mouth_open == mouth_opening(landmarks(20)) and track.eye_open == eye_opening(landmarks(20))


# -- windows around far faces ---------------------------------------------------------------------------------------


@given(st.floats(0, 640), st.floats(0, 480), st.floats(10, 200))
@settings(deadline=None)
def test_window_holds_its_face_and_lies_in_the_frame(x: float, y: float, size: float) -> None:
    box = np.float32([x - size / 2, y - size / 2, x + size / 2, y + size / 2])
    x0, y0, x1, y1 = window_around(box, FRAME)
    assert 0 <= x0 < x1 <= 640 and 0 <= y0 < y1 <= 480
    assert x0 <= max(box[0], 0) and y0 <= max(box[1], 0) and x1 >= min(box[2], 640) and y1 >= min(box[3], 480)
    assert x1 - x0 <= 2.6 * size + 1.01
    assert not leaves(box, (x0, y0, x1, y1), FRAME)


def test_leaving_a_window() -> None:
    window, box = (100, 100, 300, 300), np.float32([160, 160, 240, 240])
    assert not leaves(box, window, FRAME)
    for step in ([-40, 0], [40, 0], [0, -40], [0, 40]):
        assert leaves(box + np.float32([*step, *step]), window, FRAME)
    # The frame's own border is no reason to look elsewhere.
    assert not leaves(np.float32([0, 160, 80, 240]), (0, 100, 200, 300), FRAME)


# -- steady --------------------------------------------------------------------------------------------------------


def test_resting_points_are_averaged() -> None:
    rng = np.random.default_rng(0)
    true = landmarks()
    sigma = 0.2 * TREMBLE * eye_distance(true)
    window = [true + rng.normal(0, sigma, true.shape).astype(np.float32) for _ in range(5)]
    before, after = np.abs(window[2] - true).mean(), np.abs(steady(window, 2) - true).mean()
    assert after < 0.62 * before  # 1 / sqrt of the effective number of frames (weights ½, 1, 1, 1, ½) is 0.53
    np.testing.assert_allclose(steady([true] * 5, 2), true, atol=1e-4)


def test_moving_points_keep_their_own_place() -> None:
    window = [landmarks() for _ in range(5)]
    step = 8 * TREMBLE * eye_distance(window[2])
    for i in range(5):
        window[i][14, 1] += (i - 2) ** 3 * step  # a lip that opens faster and faster
    got = steady(window, 2)
    assert np.abs(got[14] - window[2][14]).max() < 1e-3
    np.testing.assert_allclose(np.delete(got, 14, 0), np.delete(window[2], 14, 0), atol=1e-3)


@given(st.floats(0, 4), st.integers(1, 2))
@settings(deadline=None)
def test_one_neighbour_in_closed_form(tremble: float, away: int) -> None:
    now, other = landmarks(), landmarks()
    shift = tremble * TREMBLE * eye_distance(now)
    other[:, 0] += np.float32(shift)
    w = np.exp(-0.5 * tremble**2) / away
    got = steady([now, *[None] * (away - 1), other], 0)
    np.testing.assert_allclose(got[:, 0], now[:, 0] + w * shift / (1 + w), atol=2e-3)


def test_lost_neighbours_do_not_count_and_nothing_is_written_to() -> None:
    now = landmarks()
    before = now.copy()
    np.testing.assert_array_equal(steady([None, None, now, None, None], 2), now)
    steady([now + 1, now, now - 1], 1)
    np.testing.assert_array_equal(now, before)
    with pytest.raises(ValueError, match="no landmarks"):
        steady([now, None, now], 1)


# -- store ---------------------------------------------------------------------------------------------------------


def _track(seed: int, opening: float = 0.1) -> Track:
    points = np.random.default_rng(seed).normal(size=(478, 3)).astype(np.float32)
    return Track(points, 1.0, 0.0, opening, (0.3, 0.3), 1)


def test_store_gives_back_what_it_was_given() -> None:
    store = TrackStore()
    lost = {3, 4, 9}
    for i in range(12):
        store.append(None if i in lost else _track(i, i / 10), i / 30, 0.5 + i / 100, cut=False)
    assert len(store) == 12 and store.faces == 9
    for i in (11, 0, 5, 2, 10):  # in any order
        np.testing.assert_array_equal(store.landmarks(i), _track(i).landmarks)
        assert store.has(i) and store.opening(i) == i / 10 and store.fade(i) == 0.5 + i / 100
    for i in lost:
        assert store.landmarks(i) is None and not store.has(i) and store.fade(i) == 0 and store.opening(i) == 0
    assert store.time(7) == 7 / 30
    assert not store.has(-1) and not store.has(12) and store.landmarks(-1) is None


def test_landmarks_of_the_store_may_be_changed_by_the_caller() -> None:
    store = TrackStore()
    store.append(_track(0), 0, 1, False)
    store.landmarks(0)[:] = 0
    np.testing.assert_array_equal(store.landmarks(0), _track(0).landmarks)
    store.append(_track(1), 0, 1, False)  # appending after reading goes to the right place
    np.testing.assert_array_equal(store.landmarks(0), _track(0).landmarks)
    np.testing.assert_array_equal(store.landmarks(1), _track(1).landmarks)


def test_shots() -> None:
    store = TrackStore()
    for i in range(10):
        store.append(_track(i), i / 25, 1, cut=i in (4, 7))
    shot = [0] * 4 + [1] * 3 + [2] * 3
    for a in range(10):
        for b in range(10):
            assert store.same_shot(a, b) == (shot[a] == shot[b])
        assert not store.same_shot(a, -1) and not store.same_shot(a, 10)


# -- cuts ----------------------------------------------------------------------------------------------------------


def scene(seed: int, shift: int = 0) -> np.ndarray:
    """(128, 128, 3) uint8 of a random scene, seen by a camera that has turned by some pixels."""
    wide = np.random.default_rng(seed).normal(size=(128, 400, 3)).astype(np.float32)
    wide = cv2.GaussianBlur(wide, (0, 0), 8)
    wide = (wide - wide.min()) / np.ptp(wide) * 255
    return np.ascontiguousarray(wide[:, shift : shift + 128].astype(np.uint8))


def cuts(frames: list[np.ndarray]) -> list[int]:
    detector = CutDetector()
    return [i for i, frame in enumerate(frames) if detector(frame)]


def test_cuts_are_found_where_they_are() -> None:
    assert cuts([scene(0)] * 10 + [scene(1)] * 8 + [scene(2)] * 8) == [10, 18]
    assert cuts([scene(0, i) for i in range(10)] + [scene(1, i) for i in range(10)]) == [10]


@pytest.mark.parametrize("length", [6, 12, 25])
def test_a_fade_is_no_cut(length: int) -> None:
    mix = [cv2.addWeighted(scene(0), 1 - k / length, scene(1), k / length, 0) for k in range(length + 1)]
    assert cuts([scene(0)] * 5 + mix + [scene(1)] * 5) == []


@pytest.mark.parametrize("speed", [1, 3, 6])
def test_a_moving_camera_is_no_cut(speed: int) -> None:
    assert cuts([scene(0, speed * i) for i in range(30)]) == []


def test_a_flickering_grainy_picture_is_no_cut() -> None:
    rng = np.random.default_rng(0)
    frames = [np.clip(scene(0) * rng.uniform(0.9, 1.1) + rng.normal(0, 25, (128, 128, 3)), 0, 255) for _ in range(20)]
    assert cuts([f.astype(np.uint8) for f in frames]) == []


def test_a_light_switched_on_in_a_still_scene_is_no_cut() -> None:
    dim = (scene(0) * 0.9).astype(np.uint8)
    assert cuts([dim] * 60 + [dim + np.uint8(12)] * 5) == []


def test_a_flash_is_no_cut() -> None:
    flash = np.minimum(scene(0).astype(int) + 150, 255).astype(np.uint8)
    assert cuts([scene(0)] * 10 + [flash] + [scene(0)] * 10) == []


def test_a_fast_pan_is_not_a_cut_at_every_frame() -> None:
    assert len(cuts([scene(0, 10 * i) for i in range(25)])) <= 3


# -- which face ----------------------------------------------------------------------------------------------------

LEFT, BIG, RIGHT = (landmarks(width=w, at=(x, 240)) for w, x in ((80, 100), (200, 320), (90, 560)))


class _Scene:
    """Stands in for MediaPipe: the faces in front of the camera, as boxes and as meshes."""

    def __init__(self) -> None:
        self.faces: list[np.ndarray] = []

    def detector(self, rgb: np.ndarray) -> list[np.ndarray]:
        return [bounding_box(f) for f in self.faces]

    def mesh(self, rgb: np.ndarray, window: tuple | None = None) -> list[np.ndarray]:
        if window is None:
            return self.faces
        x0, y0, x1, y1 = window
        middle = [f[:, :2].mean(0) for f in self.faces]
        return [f for f, (x, y) in zip(self.faces, middle, strict=True) if x0 < x < x1 and y0 < y < y1]


def _tracker(face: str | int, scene_: _Scene, monkeypatch: pytest.MonkeyPatch) -> FaceTracker:
    monkeypatch.setattr(follow, "FaceDetector", lambda: scene_.detector)
    monkeypatch.setattr(follow, "FaceMesh", lambda **_: scene_.mesh)
    return FaceTracker(face)


def _see(tracker: FaceTracker, scene_: _Scene, faces: list[np.ndarray], picture: int = 0) -> Track | None:
    scene_.faces = faces
    return tracker(Frame(0, cv2.resize(scene(picture), FRAME[1::-1])))


@pytest.mark.parametrize(("face", "expected"), [("largest", BIG), (0, LEFT), (1, BIG), ("2", RIGHT), (3, None)])
def test_largest_face_or_by_number_from_the_left(
    face: str | int, expected: np.ndarray | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = _Scene()
    track = _see(_tracker(face, stage, monkeypatch), stage, [RIGHT, LEFT, BIG])
    if expected is None:
        assert track is None
    else:
        assert track is not None and track.faces == 3 and not track.cut
        np.testing.assert_array_equal(track.landmarks, expected)


def test_no_face_no_track(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = _Scene()
    assert _see(_tracker("largest", stage, monkeypatch), stage, []) is None


def test_a_face_is_kept_when_larger_ones_come(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = _Scene()
    tracker = _tracker("largest", stage, monkeypatch)
    _see(tracker, stage, [LEFT])
    for step in range(4):
        track = _see(tracker, stage, [RIGHT, BIG, LEFT + np.float32([3 * step, 0, 0])])
        assert track is not None
        np.testing.assert_array_equal(track.landmarks, LEFT + np.float32([3 * step, 0, 0]))


def test_after_a_cut_the_face_is_chosen_anew_and_the_track_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = _Scene()
    tracker = _tracker("largest", stage, monkeypatch)
    for _ in range(3):
        assert not _see(tracker, stage, [LEFT]).cut
    assert _see(tracker, stage, [], picture=1) is None  # the new shot's first frame shows no face
    track = _see(tracker, stage, [LEFT, BIG], picture=1)
    assert track.cut  # so the first frame that shows one carries the cut
    np.testing.assert_array_equal(track.landmarks, BIG)
    assert not _see(tracker, stage, [LEFT, BIG], picture=1).cut


def test_faces_too_small_are_counted_and_not_tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = _Scene()
    tracker = _tracker("largest", stage, monkeypatch)
    assert _see(tracker, stage, [landmarks(width=25)]) is None
    assert tracker.too_small == 1


@pytest.mark.parametrize("face", ["biggest", "-1", "1.5", "", "Largest", -1])
def test_face_must_be_largest_or_a_number(face: str | int) -> None:
    with pytest.raises(InputError, match="largest"):
        make_tracker(face=face)
    with pytest.raises(InputError, match="largest"):
        EditOptions(face=face)


def test_superscript_face_number() -> None:
    with pytest.raises(InputError):
        make_tracker(face="²")


def test_unknown_trackers_are_refused() -> None:
    with pytest.raises(InputError, match="mediapipe, face-alignment"):
        make_tracker("dlib")


# -- topology ------------------------------------------------------------------------------------------------------


def test_index_sets_fit_the_mesh() -> None:
    t = topology.tessellation()
    assert t.shape == (852, 3) and set(np.unique(t)) == set(range(468))
    edges = {tuple(sorted(e)) for tri in t.tolist() for e in ((tri[0], tri[1]), (tri[1], tri[2]), (tri[2], tri[0]))}
    for ring in (topology.FACE_OVAL, topology.LEFT_EYE, topology.RIGHT_EYE, topology.INNER_LIPS, topology.OUTER_LIPS):
        assert all(tuple(sorted(e)) in edges for e in zip(ring.tolist(), np.roll(ring, -1).tolist(), strict=True))
    for upper, lower in topology.LIP_PAIRS:
        assert abs(_mean()[upper, 0] - _mean()[lower, 0]) < 0.01 and _mean()[upper, 1] > _mean()[lower, 1]
    assert len(topology.IBUG68) == 68 and len(set(topology.STABLE.tolist())) == len(topology.STABLE)


@pytest.mark.parametrize(
    "beside, rows, edge, skin, way, least",
    [
        (order.below_lip, topology.UNDER_LIP, 17, 18, 1, order.LEAST),
        (order.above_brows, topology.OVER_BROWS, 334, 333, -1, order.LEAST_UP),
    ],
)
def test_skin_lies_beside_the_lip_or_brow_that_it_belongs_to(beside, rows, edge, skin, way, least) -> None:
    points = np.zeros((468, 3), np.float32)
    columns = np.arange(rows.shape[1]) * 4.0
    for ring, away in zip(rows, (0.0, 10.0, 20.0), strict=True):
        points[ring, 0], points[ring, 1] = columns, 100 + way * away
    assert beside(points) is points
    crossed = points.copy()
    crossed[edge, 1] += way * 11  # the lip's or brow's edge passes the skin's
    out = beside(crossed)
    assert out[skin, 1] == pytest.approx(100 + way * (11 + least * 9))
    others = np.setdiff1d(np.arange(468), [skin])
    np.testing.assert_array_equal(out[others], crossed[others])
    turn = np.float32([[0, -1], [1, 0]])  # whatever way the head is rolled
    rolled = crossed.copy()
    rolled[:, :2] = crossed[:, :2] @ turn
    np.testing.assert_allclose(beside(rolled)[:, :2], out[:, :2] @ turn, atol=1e-4)
