"""Hands stay in front of the face, and clips without hands are edited as if nobody looked for any."""

from __future__ import annotations

from itertools import islice
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from talkedit.composite.occlusion import Hidden
from talkedit.demo.speaker import Speaker, make_script
from talkedit.editor import ClipEditor
from talkedit.emotions import Timeline
from talkedit.options import EditOptions
from talkedit.report import StageClock
from talkedit.track import hands as hands_module
from talkedit.track.hands import EVERY, HandWatch
from talkedit.types import Frame
from talkedit.video.reader import read_frames

EYE = 80.0
MESH = np.float32([[0, 0, 0], [300, 0, 0], [0, 300, 0], [300, 300, 0]])


def hand(x: float, y: float, length: float = 60.0) -> np.ndarray:
    """(21, 2) an open hand with the wrist at x, y, pointing up."""
    points = [(0.0, 0.0)]
    for spread in (-0.5, -0.25, 0.0, 0.25, 0.5):
        points += [(spread * (0.6 + 0.2 * k), -0.35 - 0.35 * k) for k in range(1, 5)]
    return np.float32([x, y]) + length * np.float32(points)


# -- masks ---------------------------------------------------------------------------------------------------------


def test_nothing_moves_under_a_hand_and_everything_far_from_it() -> None:
    one = hand(150, 200)
    hidden = Hidden(MESH, [None, one[None], None], EYE)
    assert hidden.any
    assert hidden.free(one).max() < 1e-3
    assert hidden.free(np.float32([[20, 20], [280, 20], [5, 150]])).min() > 0.99
    between = hidden.free(np.stack([np.linspace(150, 290, 100), np.full(100, 180)], 1).astype(np.float32))[:, 0]
    assert (np.diff(between) > -1e-3).all() and np.diff(between).max() < 0.1  # a soft edge


def test_a_hand_beside_the_face_hides_nothing() -> None:
    assert not Hidden(MESH, [hand(900, 200)[None]], EYE).any


def test_masks_come_and_go_over_time() -> None:
    one, at = hand(150, 200)[None], np.float32([[150, 150]])
    left = [float(Hidden(MESH, [one if i == k else None for i in range(7)], EYE).free(at)[0, 0]) for k in range(7)]
    assert left[3] < 1e-3
    assert (np.diff(left[:4]) < -0.1).all() and (np.diff(left[3:]) > 0.1).all()


def test_restored_pixels_are_the_sources_own() -> None:
    rng = np.random.default_rng(0)
    source, edited = rng.integers(0, 256, (2, 200, 220, 3), dtype=np.uint8)
    picture = edited.copy()
    one = hand(150, 200)
    Hidden(MESH, [one[None]], EYE).restore(picture, source, 40, 60)
    x, y = np.round(one - [40, 60]).astype(int).T
    seen = (x >= 0) & (y >= 0) & (x < 220) & (y < 200)
    assert seen.sum() > 10
    np.testing.assert_array_equal(picture[y[seen], x[seen]], source[y[seen], x[seen]])
    np.testing.assert_array_equal(picture[:40, :40], edited[:40, :40])


# -- in the editor -------------------------------------------------------------------------------------------------


def learned(planted: bool) -> tuple[ClipEditor, list[Frame], np.ndarray]:
    """The demo's speaker, with a striped cup and the hand that holds it before the mouth, or without."""
    speaker, script = Speaker(seed=0, size=256, oversample=1), make_script(0)
    clip = ClipEditor(EditOptions(), StageClock())
    pictures = [speaker.picture(script, 20 + i) for i in range(4)]
    bare = [Frame(i, picture, i) for i, picture in enumerate(pictures)]
    for frame in bare:
        clip.observe(frame)
    clip.solve()
    mouth = clip._store.landmarks(1)[[61, 291], :2].mean(0)
    one = hand(mouth[0], mouth[1] + 25, 30.0)
    cup = np.zeros(pictures[0].shape[:2], np.uint8)
    cv2.fillConvexPoly(cup, cv2.convexHull(np.round(one).astype(np.int32)), 1)
    if planted:
        stripes = (np.add.outer(np.arange(256), np.arange(256)) // 2 % 2 * 255).astype(np.uint8)
        for frame in bare:
            frame.rgb[cup > 0] = stripes[cup > 0][:, None]
            clip._hands._found[frame.index] = one[None]
    return clip, bare, cup > 0


@pytest.mark.parametrize("emotion", ["happy", "surprised"])
def test_a_planted_hand_keeps_its_pixels_and_the_rest_is_edited(emotion: str) -> None:
    clip, frames, cup = learned(planted=True)
    out = clip.edit(frames[1], Timeline.constant(emotion, 1.0))
    np.testing.assert_array_equal(out[cup], frames[1].rgb[cup])
    assert (out[~cup] != frames[1].rgb[~cup]).any(-1).sum() > 1000
    source, target = clip.meshes(frames[1], Timeline.constant(emotion, 1.0))
    inside = cup[np.clip(source[:, 1].astype(int), 0, 255), np.clip(source[:, 0].astype(int), 0, 255)]
    assert np.abs(target - source)[inside, :2].max() < 0.3


def test_without_a_hand_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    clip, frames, _ = learned(planted=False)
    assert not clip._hands._found
    seen = clip.edit(frames[1], Timeline.constant("happy", 1.0))
    monkeypatch.setattr(HandWatch, "see", lambda *_: None)
    other, frames, _ = learned(planted=False)
    np.testing.assert_array_equal(other.edit(frames[1], Timeline.constant("happy", 1.0)), seen)


# -- looking for hands ---------------------------------------------------------------------------------------------


class Pretend:
    """A hand model that knows on which frames, told by their brightness, there is a hand."""

    def __init__(self, on: set[int], size: float = 0.4) -> None:
        self.on, self.size, self.looked = on, size, []

    def process(self, picture: np.ndarray) -> SimpleNamespace:
        index = int(picture[0, 0, 0])
        self.looked.append(index)
        points = [SimpleNamespace(x=0.5, y=0.25 + self.size * i / 20) for i in range(21)]
        return SimpleNamespace(multi_hand_landmarks=[SimpleNamespace(landmark=points)] if index in self.on else None)

    def close(self) -> None:
        pass


def watched(on: set[int], count: int, monkeypatch: pytest.MonkeyPatch, size: float = 0.4) -> tuple[HandWatch, Pretend]:
    pretend = Pretend(on, size)
    monkeypatch.setattr(hands_module, "hand_model", lambda: pretend)
    watch = HandWatch()
    face = np.float32([[40, 30], [60, 50]])
    for i in range(count):
        watch.see(Frame(i, np.full((80, 100, 3), i, np.uint8), i / 25), face)
    watch.close()
    return watch, pretend


@pytest.mark.parametrize("on", [set(range(20, 60)), set(range(0, 5)), set(range(90, 100)), set(range(33, 51))])
def test_every_frame_with_a_hand_is_found(on: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mediapipe")
    watch, pretend = watched(on, 100, monkeypatch)
    assert {i for i in range(100) if watch.at(i) is not None} == on
    assert len(pretend.looked) < len(on) + 100 / EVERY + 10
    # The face's box of 20 pixels, widened by 12 to all sides: 28..73 and 18..63.
    np.testing.assert_allclose(watch.at(min(on))[0, 0], [28 + 0.5 * 45, 18 + 0.25 * 45])


def test_a_hand_on_a_single_frame_of_a_clip_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mediapipe")
    assert watched({EVERY}, 40, monkeypatch)[0].at(EVERY) is None
    assert watched({0}, 1, monkeypatch)[0].at(0) is not None  # a still picture has only one


def test_what_is_too_small_for_a_hand_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mediapipe")
    assert watched(set(range(40)), 40, monkeypatch, size=0.15)[0].at(20) is None  # 7 pixels on a face of 20


def test_real_hands_are_found_while_they_are_there(shared) -> None:
    pytest.importorskip("mediapipe")
    clip = ClipEditor(EditOptions(), StageClock())
    frames = list(islice(read_frames(next((shared / "data/robustness").glob("WolfgangLanger*"))), 40, 72))
    for i, frame in enumerate(frames):
        clip.observe(Frame(i, frame.rgb, frame.time))
    clip.solve()
    found = [i for i in range(len(frames)) if clip._hands.at(i) is not None]
    assert found and 12 <= found[0] <= 20 and found[-1] == len(frames) - 1
