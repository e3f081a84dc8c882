"""Action units: their names in texts, what each moves, what it leaves alone, and the edit they make."""

from __future__ import annotations

import json

import numpy as np
import pytest

from talkedit import resources
from talkedit.checkpoint import load_linear
from talkedit.demo.speaker import Speaker, make_script
from talkedit.editor import ClipEditor
from talkedit.emotions import ACTION_UNITS, CONTROLS, EMOTIONS, Timeline, describe_code, parse_controls, parse_units
from talkedit.errors import InputError
from talkedit.facemodel.load import load_face_model
from talkedit.geometry.au import _LEFT, ActionUnits
from talkedit.geometry.measures import UNIT_MEASURES
from talkedit.geometry.openings import Openings
from talkedit.options import EditOptions
from talkedit.pipeline import _timeline
from talkedit.report import StageClock
from talkedit.track.topology import STABLE
from talkedit.types import Frame


@pytest.fixture(scope="module")
def mean() -> np.ndarray:
    model = load_face_model("open")
    return model.at_landmarks(model.mean)


@pytest.fixture(scope="module")
def openings(mean) -> Openings:
    return Openings(mean)


@pytest.fixture(scope="module")
def units(mean, openings) -> ActionUnits:
    speech = load_linear(resources.find("checkpoints", "linear_editor.safetensors")).geometry.speech
    return ActionUnits(mean, openings, speech)


def one(name: str, strength: float = 1.0) -> np.ndarray:
    return strength * np.eye(len(ACTION_UNITS), dtype=np.float32)[ACTION_UNITS.index(name)]


def moved(units: ActionUnits, openings: Openings, source: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    delta = openings.lips(source, units.held(chosen), units._speech, 0.0, 0.0)
    return source + delta + units.gaps(source + delta, chosen)


# ---- texts


def test_controls_hold_all_units_behind_the_emotions():
    assert CONTROLS[: len(EMOTIONS)] == EMOTIONS and CONTROLS[8:] == ACTION_UNITS and len(ACTION_UNITS) == 17


def test_units_are_read():
    values = parse_units(" au12=0.8, AU4=0.5")
    assert values[ACTION_UNITS.index("AU12")] == np.float32(0.8) and values[ACTION_UNITS.index("AU4")] == 0.5
    assert values.sum() == pytest.approx(1.3) and not parse_units("").any()


@pytest.mark.parametrize(
    ("text", "piece"),
    [("AU3=1", "AU3"), ("AU12", "AU12"), ("AU12=2", "at most"), ("AU12=x", "'x'"), ("smile=1", "smile"),
     ("AU4=0.5,AU4=0.2", "twice"), ("AU12=nan", "finite")],
)  # fmt: skip
def test_bad_units_name_the_piece(text, piece):
    with pytest.raises(InputError) as caught:
        parse_units(text)
    assert piece in str(caught.value)


def test_mixes_hold_units_and_neutral():
    values = parse_controls("happy@0.5+AU4@0.8+neutral@0.3")
    assert (
        values[0] == 0.5 and values[7] == np.float32(0.3) and values[8 + ACTION_UNITS.index("AU4")] == np.float32(0.8)
    )
    assert np.allclose(parse_controls(describe_code(values)), values)
    assert not parse_controls("neutral").any()
    with pytest.raises(InputError, match="add up"):
        parse_controls("happy+neutral@1")
    with pytest.raises(InputError, match="AU13"):
        parse_controls("AU13@1")


def test_timelines_carry_units(tmp_path):
    line = Timeline.parse("0:neutral, 1:AU12@0.8, 2:happy@0.5+AU4@0.4")
    half = line.controls(0.5)
    assert half[8 + ACTION_UNITS.index("AU12")] == pytest.approx(0.4) and not line.code(0.5).any()
    assert line.code(2)[0] == 0.5 and line.code(2).shape == (7,) and not line.is_zero
    again = Timeline.parse(line.describe())
    assert np.allclose(again.controls(1.7), line.controls(1.7))
    file = tmp_path / "t.json"
    file.write_text(json.dumps([{"time": 0, "emotion": "AU1", "intensity": 0.7}]))
    assert Timeline.parse(file).controls(3)[8] == pytest.approx(0.7)


def test_units_on_top_of_timelines_fade_with_them():
    line = Timeline.constant("sad", 0.5).with_units(one("AU4", 0.6)).window(1, 3)
    assert line.controls(2)[8 + 2] == pytest.approx(0.6) and line.controls(2)[2] == 0.5
    assert not line.controls(0.9).any() and 0 < line.controls(1.1)[8 + 2] < 0.6
    assert not Timeline.constant("neutral").with_units(one("AU4")).is_zero


def test_an_edit_may_be_units_alone_but_not_nothing():
    assert _timeline(None, 1.0, None, "AU12=1").controls(0)[8 + ACTION_UNITS.index("AU12")] == 1
    assert _timeline("neutral", 0.8, None, "").controls(0)[7] == np.float32(0.8)
    for arguments in ((None, 1.0, None, ""), ("happy", 1.0, "0:sad", "AU12=1"), (None, 1.0, None, "AU12=0")):
        with pytest.raises(InputError, match="either"):
            _timeline(*arguments)


# ---- movements


def test_left_points_are_mirror_images(mean):
    for right, left in _LEFT.items():
        np.testing.assert_allclose(mean[right] * [-1, 1, 1], mean[left], atol=0.01)
        assert mean[right, 0] < 0


@pytest.mark.parametrize("name", ACTION_UNITS)
def test_each_unit_moves_its_own_measure_most(units, openings, mean, name):
    start = mean + 0.04 * units._speech
    measure = UNIT_MEASURES[name]
    effect = {unit: measure(moved(units, openings, start, one(unit))) - measure(start) for unit in ACTION_UNITS}
    assert effect[name] > 0
    assert max(effect, key=effect.get) == name
    others = [value for unit, value in effect.items() if unit != name]
    assert max(others) < 0.9 * effect[name]


@pytest.mark.parametrize("name", ACTION_UNITS)
def test_units_grow_with_strength_and_leave_the_skull(units, openings, mean, name):
    start = mean + 0.04 * units._speech
    sizes = [np.abs(moved(units, openings, start, one(name, s)) - start).sum() for s in np.linspace(0, 1, 6)]
    assert sizes[0] < 1e-3 and (np.diff(sizes) > 0).all()
    eye = np.linalg.norm(mean[33] - mean[263])
    skull = STABLE[[6, 7, 16, 17]]  # temples
    assert np.linalg.norm((moved(units, openings, start, one(name)) - start)[skull], axis=1).max() < 0.02 * eye


def test_units_are_symmetric(units, mean):
    from talkedit.train.face_model import mirror_map

    partner = mirror_map(mean)
    for name in ACTION_UNITS:
        delta = units.held(one(name))
        np.testing.assert_allclose(delta[partner] * [-1, 1, 1], delta, atol=0.004)


def test_a_blink_closes_the_eyes_and_a_shut_eye_stays_shut(units, openings, mean):
    blinked = mean + units.gaps(mean, one("AU45"))
    assert abs(blinked[159, 1] - blinked[145, 1]) < 1e-4 and abs(blinked[386, 1] - blinked[374, 1]) < 1e-4
    both = blinked + units.gaps(blinked, one("AU5"))
    assert abs(both[159, 1] - both[145, 1]) < 1e-4


@pytest.mark.parametrize("name", sorted(set(ACTION_UNITS) - {"AU25", "AU26"}))
def test_closed_lips_stay_closed_but_for_the_units_that_open_them(units, openings, mean, name):
    closed = mean.copy()
    closed[14, 1] = closed[13, 1]
    after = moved(units, openings, closed, one(name))
    assert abs(after[13, 1] - after[14, 1]) < 0.01


@pytest.mark.parametrize("name", ["AU25", "AU26"])
def test_opening_units_part_closed_lips(units, openings, mean, name):
    after = moved(units, openings, mean, one(name))
    before = mean[13, 1] - mean[14, 1]
    assert after[13, 1] - after[14, 1] > before + 0.04


# ---- the edit


@pytest.fixture(scope="module")
def clip() -> tuple[ClipEditor, list[Frame]]:
    speaker, script = Speaker(seed=0, size=256, oversample=1), make_script(0)
    frames = [Frame(i, speaker.picture(script, 20 + i), i) for i in range(6)]
    editor = ClipEditor(EditOptions(), StageClock())
    for frame in frames:
        editor.observe(frame)
    editor.solve()
    return editor, frames


def test_units_edit_a_picture_alone_and_on_top(clip):
    editor, frames = clip
    frame = frames[3]
    alone = editor.edit(frame, Timeline.constant("neutral").with_units(one("AU4")))
    happy = editor.edit(frame, Timeline.constant("happy"))
    both = editor.edit(frame, Timeline.constant("happy").with_units(one("AU4")))
    assert (alone != frame.rgb).any() and (both != happy).any() and (both != alone).any()
    nothing = Timeline.constant("happy", 0).with_units(0 * one("AU4"))
    assert editor.edit(frame, nothing) is frame.rgb


def test_neutral_as_a_target_edits_and_other_face_models_say_so(clip):
    editor, frames = clip
    out = editor.edit(frames[3], Timeline.constant("neutral@1"))
    assert (out != frames[3].rgb).any()
    gan, editor._gan = editor._gan, None
    try:
        with pytest.raises(InputError, match="open face model"):
            editor.edit(frames[3], Timeline.constant("neutral@1"))
    finally:
        editor._gan = gan
