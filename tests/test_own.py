"""The speaker's own emotion: a slow mean of the face, how much of it gives way, and that it does in the editor."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from talkedit.editor import ClipEditor
from talkedit.emotions import Timeline
from talkedit.facemodel.load import load_face_model
from talkedit.geometry.own import ACTED, HALF_SECONDS, MOST, SlowFace, acted
from talkedit.options import EditOptions
from talkedit.report import StageClock
from talkedit.track.store import TrackStore
from talkedit.types import Frame, Track

FPS = 25.0


def mean() -> np.ndarray:
    model = load_face_model("open")
    return model.at_landmarks(model.mean)


def filled(offsets: np.ndarray, cut: int | None = None) -> TrackStore:
    """Tracks of the mean face, 200 pixels a unit, whose mouth corners (61, 291) lie ``offsets`` higher."""
    store = TrackStore()
    for i, offset in enumerate(offsets):
        points = np.zeros((478, 3), np.float32)
        points[:468] = mean()
        points[[61, 291], 1] += offset
        picture = (points * np.float32([200, -200, -200]) + np.float32([240, 240, 0])).astype(np.float32)
        store.append(Track(picture, 1.0, 0.0, 0.0, (0.3, 0.3), 1), i / FPS, 1.0, i == cut)
    return store


def corners(points: np.ndarray) -> float:
    return float((points - mean())[[61, 291], 1].mean())


def test_a_smile_that_lasts_is_kept_and_words_average_out():
    lasting = SlowFace(filled(np.full(80, 0.05)), mean(), FPS)
    spoken = SlowFace(filled(0.05 * np.sin(2 * np.pi * 5 * np.arange(80) / FPS)), mean(), FPS)
    assert corners(lasting.around(40, mean())) == pytest.approx(0.05, abs=0.003)
    assert abs(corners(spoken.around(40, mean()))) < 0.015


def test_the_mean_goes_from_one_face_to_another_without_a_jump_and_not_over_a_cut():
    offsets = np.where(np.arange(80) < 40, 0.0, 0.05)
    slow = SlowFace(filled(offsets), mean(), FPS)
    course = np.array([corners(slow.around(i, mean())) for i in range(80)])
    reach = HALF_SECONDS * FPS
    assert abs(course[int(40 - reach - 1)]) < 0.002 and course[int(40 + reach + 1)] == pytest.approx(0.05, abs=0.002)
    assert np.abs(np.diff(course)).max() < 0.012
    apart = SlowFace(filled(offsets, cut=40), mean(), FPS)
    assert abs(corners(apart.around(39, mean()))) < 0.002
    assert corners(apart.around(41, mean())) == pytest.approx(0.05, abs=0.003)


def test_where_nothing_else_is_known_the_frame_itself_counts():
    points = mean() + np.float32(0.01)
    np.testing.assert_array_equal(SlowFace(TrackStore(), mean(), FPS).around(0, points), points)


def test_resting_faces_keep_theirs_and_grimaces_are_not_undone():
    def size(amount: float) -> float:
        one = np.zeros((468, 3), np.float32)
        one[:, 1] = amount * 0.9
        return acted(one, 0.9)

    assert size(0.9 * ACTED[0]) == 0 and 0.01 < size(1.2 * ACTED[0]) < 0.5
    assert size(1.01 * ACTED[1]) == pytest.approx(MOST / (1.01 * ACTED[1]), rel=1e-3)
    assert 2 * MOST * size(2 * MOST) == pytest.approx(MOST, rel=1e-4)
    growing = [size(s) * s for s in np.linspace(0, 0.06, 40)]
    assert (np.diff(growing) >= -1e-8).all()


def test_a_kept_up_smile_gives_way_to_another_emotion_and_a_resting_face_is_edited_as_ever():
    model = load_face_model("open")
    rows = model.at_landmarks(model.exp_basis)
    lowered = {}
    for look, calm in product(("smile", "rest"), (True, False)):
        clip = ClipEditor(EditOptions(only="geometry", teeth=False, calm=calm), StageClock())
        happy = clip._gan.edit(np.zeros(80, np.float32), np.zeros(64, np.float32), np.eye(8)[0], np.ones(1))
        points = np.zeros((478, 3), np.float32)
        points[:468] = mean() + (look == "smile") * (rows @ happy)
        picture = (points * np.float32([200, -200, -200]) + np.float32([240, 240, 0])).astype(np.float32)
        clip._tracker = lambda frame, picture=picture: Track(picture, 1.0, 0.0, 0.0, (0.3, 0.3), 1)
        frames = [Frame(i, np.full((480, 480, 3), 128, np.uint8), i) for i in range(20)]
        for frame in frames:
            clip.observe(frame)
        clip.solve()
        before, after = (model.landmarks @ m for m in clip.meshes(frames[10], Timeline.constant("sad")))
        lowered[look, calm] = float((after - before)[[61, 291], 1].mean()) / 200
    assert lowered["smile", True] > lowered["smile", False] + 0.01  # the corners come down, y down in pictures
    assert lowered["rest", True] == pytest.approx(lowered["rest", False], abs=0.002)
