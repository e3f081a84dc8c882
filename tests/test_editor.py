"""The whole edit, end to end: on the demo's speaker always, on a real clip where there is one."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from talkedit.demo.speaker import Speaker, make_script
from talkedit.editor import GRIN, TEETH_FADE, ClipEditor, Editor
from talkedit.emotions import EMOTIONS, Timeline
from talkedit.errors import InputError, NoFaceError
from talkedit.options import EditOptions
from talkedit.report import StageClock
from talkedit.texture.editor import LIMIT
from talkedit.track.measures import mouth_width
from talkedit.track.steady import steady
from talkedit.track.topology import LOWER_LIP_RINGS, UNDER_LIP, UPPER_LIP_RINGS
from talkedit.types import Frame
from talkedit.video.reader import read_frames

MIDDLE = 6
REAL = Path(__file__).resolve().parent.parent.parent / "shared/data/talking/ed_obama_450_20s.mp4"
STRONG = Timeline.constant("surprised", 1.0)


def draw_demo() -> list[Frame]:
    speaker, script = Speaker(seed=0, size=256, oversample=1), make_script(0)
    return [Frame(i, speaker.picture(script, 20 + i), i) for i in range(12)]


@pytest.fixture(scope="module", params=["demo", "real"])
def frames(request: pytest.FixtureRequest) -> list[Frame]:
    """Twelve frames that nobody may write to."""
    if request.param == "real" and not REAL.is_file():
        pytest.skip("no ../shared/data")
    found = draw_demo() if request.param == "demo" else list(islice(read_frames(REAL), 12))
    for frame in found:
        frame.rgb.setflags(write=False)
    return found


def learn(frames: list[Frame], **options) -> ClipEditor:
    editor = ClipEditor(EditOptions(**options), StageClock())
    for frame in frames:
        editor.observe(frame)
    editor.solve()
    return editor


@pytest.fixture(scope="module")
def clip(frames: list[Frame]) -> ClipEditor:
    return learn(frames)


def change(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b).mean())


def face_box(clip: ClipEditor, index: int) -> tuple[np.ndarray, np.ndarray]:
    """The tracked face's box, grown by half of its size on every side."""
    points = clip._store.landmarks(index)[:, :2]
    lo, hi = points.min(0), points.max(0)
    return lo - 0.5 * (hi - lo), hi + 0.5 * (hi - lo)


@pytest.mark.parametrize("nothing", [Timeline.constant("happy", 0), Timeline.constant("neutral")])
def test_intensity_zero_gives_back_the_very_frame(clip: ClipEditor, frames: list[Frame], nothing: Timeline) -> None:
    assert all(clip.edit(frame, nothing) is frame.rgb for frame in frames)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_every_emotion_changes_the_face_and_nothing_else(clip: ClipEditor, frames: list[Frame], emotion: str) -> None:
    frame = frames[MIDDLE]
    before = frame.rgb.copy()
    out = clip.edit(frame, Timeline.constant(emotion, 1.0))
    assert out.shape == before.shape and out.dtype == np.uint8
    np.testing.assert_array_equal(frame.rgb, before)
    assert not np.shares_memory(out, frame.rgb)
    lo, hi = face_box(clip, MIDDLE)
    h, w = before.shape[:2]
    outside = np.ones((h, w), bool)
    outside[max(int(lo[1]), 0) : int(hi[1]) + 1, max(int(lo[0]), 0) : int(hi[0]) + 1] = False
    assert outside.mean() > 0.1
    np.testing.assert_array_equal(out[outside], before[outside])
    assert change(out[~outside], before[~outside]) > 1


def test_change_grows_with_intensity(clip: ClipEditor, frames: list[Frame]) -> None:
    frame = frames[MIDDLE]
    for emotion in EMOTIONS:
        got = [change(clip.edit(frame, Timeline.constant(emotion, s)), frame.rgb) for s in (0.25, 0.5, 0.75, 1.0)]
        assert got[0] > 0.05 and all(b > 1.03 * a for a, b in pairwise(got)), emotion


def test_two_runs_give_the_same_bytes(frames: list[Frame], clip: ClipEditor) -> None:
    again = learn(frames)
    np.testing.assert_array_equal(again._speakers[0].people, clip._speakers[0].people)
    for frame in frames[::3]:
        np.testing.assert_array_equal(again.edit(frame, STRONG), clip.edit(frame, STRONG))


def test_timelines_on_one_frame_do_not_disturb_each_other(frames: list[Frame], clip: ClipEditor) -> None:
    """What ``compare`` does: every emotion of a frame before the next frame."""
    happy = Timeline.constant("happy")
    together = [(clip.edit(f, STRONG), clip.edit(f, happy), clip.edit(f, STRONG)) for f in frames[3:8]]
    fresh, other = learn(frames), learn(frames)
    for frame, (a, b, c) in zip(frames[3:8], together, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(a, fresh.edit(frame, STRONG))
        np.testing.assert_array_equal(b, other.edit(frame, happy))
        assert (a != b).any()


def test_the_gan_moves_the_open_face_model_unless_told_otherwise(frames: list[Frame], clip: ClipEditor) -> None:
    frame = frames[MIDDLE]
    by_gan, by_directions = (learn(frames, geometry=g).edit(frame, STRONG) for g in ("gan", "linear"))
    np.testing.assert_array_equal(clip.edit(frame, STRONG), by_gan)
    assert (by_gan != by_directions).any()


def test_only_one_part(frames: list[Frame], clip: ClipEditor) -> None:
    frame = frames[MIDDLE]
    full = clip.edit(frame, STRONG)
    geometry, texture = (learn(frames, only=p).edit(frame, STRONG) for p in ("geometry", "texture"))
    for a, b in ((full, geometry), (full, texture), (geometry, texture), (geometry, frame.rgb), (texture, frame.rgb)):
        assert change(a, b) > 0.02
    # Texture alone moves nothing: every pixel is its source's, brightened or darkened within the limit.
    source = frame.rgb.astype(float)
    gain = np.exp(1.15 * LIMIT)
    assert (texture <= source * gain + 1).all() and (texture >= source / gain - 1).all()
    assert not ((geometry <= source * gain + 1) & (geometry >= source / gain - 1)).all()  # geometry does
    assert change(geometry, frame.rgb) > change(texture, frame.rgb)


def test_the_teeth_of_a_turned_head_are_what_the_frame_shows(frames: list[Frame]) -> None:
    """Remembered rows give way to none as the head turns; what it learns of both in a shot stays apart."""
    clip = learn(frames)
    frame, known = frames[MIDDLE], clip._frame(frames[MIDDLE])
    speaker = known["speaker"]
    for yaw, shares in ((0.0, [1.0]), (TEETH_FADE[0], [1.0]), (-sum(TEETH_FADE) / 2, [0.5, 0.5]), (40.0, [1.0])):
        views = clip._inside(frame, {**known, "yaw": yaw})
        assert [share for _, share in views] == pytest.approx(shares)
        without_rows = views[-1][0] if abs(yaw) > TEETH_FADE[0] else None
        if without_rows is not None:
            assert without_rows.guess is None and all(part.row is None for part in without_rows.parts)
            assert speaker.aside.last == frame.index
        if abs(yaw) < TEETH_FADE[1]:
            rows = speaker.teeth
            assert (views[0][0].parts[0].row is None) == (rows is None or rows.upper is None)
    assert speaker.aside is not speaker.registration


@pytest.mark.parametrize("shows_teeth", [True, False])
def test_a_mouth_that_no_frame_shows_open_stays_clenched_but_for_surprise_and_for_fear_that_parts_lips(
    frames: list[Frame], shows_teeth: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = learn(frames)
    frame, (speaker,) = frames[MIDDLE], editor._speakers.values()
    if not shows_teeth:
        monkeypatch.setattr("talkedit.editor.SHOWN", (0.5, 0.6))

    def gap(emotion: str, clenched: float) -> float:
        speaker.clenched = clenched
        points = editor.meshes(frame, Timeline.constant(emotion, 1.0))[1][editor.model.landmark_vertices]
        return float(points[14, 1] - points[13, 1])

    source = float(np.ptp(editor._frame(frame)["mesh"][editor.model.landmark_vertices][[13, 14], 1]))
    assert 0 <= speaker.clenched <= 1
    clenched = ["angry", "fear"] if shows_teeth else ["angry"]
    for emotion in {"surprised", "fear"}.difference(clenched):
        assert gap(emotion, 1.0) == gap(emotion, 0.0)
    for emotion in clenched:
        gaps = [gap(emotion, share) for share in (0.0, 0.5, 1.0)]
        assert gaps[0] - 0.5 > gaps[1] > gaps[2] + 0.5 > source
    for share in (0.0, 1.0):  # and what is held so is painted so
        speaker.clenched = share
        assert all(view.clenched == share for view, _ in editor._inside(frame, editor._frame(frame)))


@pytest.mark.parametrize("emotion", ["angry", "fear", "surprised"])
def test_rows_that_touch_in_a_grin_stay_together_nearly_as_clenched_ones_do(
    frames: list[Frame], emotion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = learn(frames)
    frame, (speaker,) = frames[MIDDLE], editor._speakers.values()
    known = editor._frame(frame)
    (view, _), *_ = known["inside"]
    width = mouth_width(known["points"])

    def gap(clenched: float, *shut: tuple[float, float], wide: float = 1.0) -> float:
        speaker.clenched = clenched
        known["inside"] = [(replace(view, shut=one), share) for one, share in shut]
        monkeypatch.setattr("talkedit.editor.GRINS", (width - wide, width + 1 - wide))
        points = editor.meshes(frame, Timeline.constant(emotion, 1.0))[1][editor.model.landmark_vertices]
        return float(points[14, 1] - points[13, 1])

    apart, held = gap(0.0, (0.0, 1.0)), gap(GRIN, (0.0, 1.0))
    assert gap(0.0, (1.0, 1.0)) == pytest.approx(held)
    assert gap(1.0, (1.0, 1.0)) == pytest.approx(gap(1.0, (0.0, 1.0)))
    assert gap(0.0, (0.0, 0.25), (1.0, 0.75)) == pytest.approx(gap(0.75 * GRIN, (0.0, 1.0)))  # two views
    assert gap(0.0, (1.0, 1.0), wide=0.0) == apart and gap(0.0, (1.0, 1.0), wide=0.5) >= held
    assert (apart == held) == (emotion == "surprised") and apart >= held


def test_smoothing_and_the_classifier_can_be_switched_off(frames: list[Frame]) -> None:
    plain = learn(frames, smooth=False, classifier=False)
    np.testing.assert_allclose(plain._speakers[0].people, 1 / len(plain._speakers[0].people))
    seconds = frames[MIDDLE].time
    step = Timeline(np.array([0, seconds - 1e-6, seconds]), np.eye(7, dtype=np.float32)[[0, 0, 3]] * [[0], [0], [1]])
    assert plain.edit(frames[MIDDLE - 1], step) is frames[MIDDLE - 1].rgb  # nothing ahead of its time
    assert learn(frames).edit(frames[MIDDLE - 1], step) is not frames[MIDDLE - 1].rgb


def test_landmarks_are_not_steadied_across_a_cut(frames: list[Frame]) -> None:
    clip = learn(frames)
    store = clip._store
    store._shot = [0] * MIDDLE + [1] * (len(frames) - MIDDLE)
    clip._speakers[1] = clip._speakers[0]
    window = [None, None, *(store.landmarks(i) for i in range(MIDDLE, MIDDLE + 3))]
    expected = clip.model.position @ steady(window, 2)[:468]
    lips = np.r_[UPPER_LIP_RINGS.ravel(), LOWER_LIP_RINGS.ravel(), UNDER_LIP.ravel()]  # these have their own way
    still = np.asarray(np.abs(clip.model.position[:, lips]).sum(1)).ravel() == 0
    np.testing.assert_allclose(clip._frame(frames[MIDDLE])["mesh"][still], expected[still], atol=1e-3)
    assert still.mean() > 0.5
    whole = steady([store.landmarks(i) for i in range(MIDDLE - 2, MIDDLE + 3)], 2)
    assert np.abs(clip.model.position @ whole[:468] - expected).max() > 0.02


def test_edited_frames_are_counted_once(frames: list[Frame]) -> None:
    clip = learn(frames)
    for frame in frames[:4]:
        clip.edit(frame, STRONG)
        clip.edit(frame, Timeline.constant("sad"))
        clip.edit(frame, Timeline.constant("sad", 0))
    assert clip.edited_frames == 4


def test_metrics(clip: ClipEditor) -> None:
    assert sum(clip.metrics()["people"].values()) == pytest.approx(1, abs=2e-3)
    assert 0 < clip.metrics()["identity_norm"] < 40
    assert clip.skipped == [] and clip.notes == []


# -- frames without a face -----------------------------------------------------------------------------------------


def noise(index: int, shape: tuple[int, ...]) -> Frame:
    return Frame(index, np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8), index)


def test_frames_without_a_face_pass_through() -> None:
    frames = draw_demo()
    for i in (0, 5, 6, 11):
        frames[i] = noise(i, frames[i].rgb.shape)
    clip = learn(frames)
    assert [i for i, _ in clip.skipped] == [0, 5, 6, 11]
    assert all(reason == "no face" for _, reason in clip.skipped)
    for frame in frames:
        out = clip.edit(frame, STRONG)
        assert (out is frame.rgb) == (frame.index in (0, 5, 6, 11))


def test_clips_without_a_face_say_so() -> None:
    with pytest.raises(NoFaceError, match="no face was found"):
        learn([noise(i, (200, 200, 3)) for i in range(3)])
    with pytest.raises(NoFaceError):
        learn([])


def test_blank_frames_are_no_trouble() -> None:
    with pytest.raises(NoFaceError):
        learn([Frame(0, np.zeros((64, 48, 3), np.uint8)), Frame(1, np.full((64, 48, 3), 255, np.uint8))])


# -- single pictures -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return draw_demo()[MIDDLE].rgb


def test_single_picture(portrait: np.ndarray) -> None:
    before = portrait.copy()
    happy = Editor("happy", 0.8).edit_frame(portrait)
    np.testing.assert_array_equal(portrait, before)
    assert happy.shape == portrait.shape and happy.dtype == np.uint8 and change(happy, portrait) > 0.3
    np.testing.assert_array_equal(Editor("happy", 0.8).edit_frame(portrait), happy)
    sad = Editor("sad", 0.8).edit_frame(portrait)
    assert change(happy, sad) > 0.3
    assert Editor("happy", 0).edit_frame(portrait) is portrait


def test_single_picture_without_a_face() -> None:
    with pytest.raises(NoFaceError):
        Editor("happy").edit_frame(noise(0, (256, 256, 3)).rgb)


@pytest.mark.parametrize("bad", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3))])
def test_arrays_that_are_no_pictures(bad: np.ndarray) -> None:
    with pytest.raises(InputError, match="uint8"):
        Editor("happy").edit_frame(bad)


def test_bad_wishes_are_refused_at_once() -> None:
    with pytest.raises(InputError, match="happy"):
        Editor("hapy")
    with pytest.raises(InputError, match="at most"):
        Editor("happy", 2)
    with pytest.raises(InputError, match="face model"):
        learn([], face_model="basel-of-nowhere")


def test_picture_need_not_be_contiguous(portrait: np.ndarray) -> None:
    wide = np.concatenate([portrait, portrait[:, ::-1]], axis=1)
    view = wide[:, : portrait.shape[1]]
    assert not view.flags.c_contiguous
    np.testing.assert_array_equal(Editor("happy").edit_frame(view), Editor("happy").edit_frame(portrait))
