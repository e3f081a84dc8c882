"""Emotion codes and timelines."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkedit.emotions import EMOTIONS, Timeline, check_intensity, code, describe_code, parse_mix
from talkedit.errors import InputError

names = st.sampled_from(EMOTIONS)
strengths = st.floats(0, 1.5)
times = st.floats(-10, 100)


@given(names, strengths)
def test_code_holds_the_intensity_at_the_class_index(name, strength):
    values = code(name, strength)
    assert values.shape == (7,) and values.dtype == np.float32
    assert values[EMOTIONS.index(name)] == np.float32(strength)
    assert np.count_nonzero(values) <= 1


def test_order_is_fixed_and_neutral_is_zero():
    assert EMOTIONS == ("happy", "angry", "sad", "surprised", "fear", "disgusted", "contempt")
    assert not code("neutral", 1).any()
    assert np.array_equal(code(" Happy ", 0.5), code("happy", 0.5))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.1, 1.51, "a lot", None])
def test_bad_intensity_is_refused(value):
    with pytest.raises(InputError, match="intensity"):
        check_intensity(value)


@given(st.floats())
def test_intensity_is_in_range_or_refused(value):
    try:
        assert 0 <= check_intensity(value) <= 1.5
    except InputError:
        assert not 0 <= value <= 1.5


def test_unknown_emotion_lists_the_valid_ones_and_a_guess():
    with pytest.raises(InputError, match=r"unknown emotion 'hapy' \(did you mean happy\?\)") as caught:
        code("hapy")
    assert all(name in str(caught.value) for name in EMOTIONS)


def test_mix():
    expected = code("happy", 0.5) + code("surprised", 0.3)
    assert np.allclose(parse_mix("happy@0.5 + surprised@0.3"), expected)
    assert np.allclose(parse_mix("happy", 0.7), code("happy", 0.7))


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("happy@", "intensity ''"),
        ("happy@x", "'x'"),
        ("happy+", "missing"),
        ("happy@0.5+happy@0.2", "twice"),
        ("happy+sad", "add up to 2"),
        ("happy@nan", "finite"),
    ],
)
def test_bad_mix_names_the_piece(text, piece):
    with pytest.raises(InputError) as caught:
        parse_mix(text)
    assert piece in str(caught.value)


@given(st.dictionaries(names, st.integers(1, 20), min_size=1, max_size=4))
def test_description_reads_back(parts):
    values = sum(code(name, hundredths / 100) for name, hundredths in parts.items())
    assert np.allclose(parse_mix(describe_code(values)), values, atol=1e-6)


def test_timeline_is_linear_between_points_and_held_outside():
    line = Timeline.parse("1:neutral, 2:happy@0.8, 4:sad")
    assert not line.code(0).any() and not line.code(1).any()
    assert np.allclose(line.code(1.5), code("happy", 0.4))
    assert np.allclose(line.code(3), code("happy", 0.4) + code("sad", 0.5))
    assert np.allclose(line.code(99), code("sad"))
    assert not line.is_zero and Timeline.parse("0:neutral, 1:happy@0").is_zero
    assert Timeline.constant("happy", 0).is_zero and not Timeline.constant("happy", 0.1).is_zero


points = st.lists(st.tuples(st.floats(0.01, 5), names, strengths), min_size=1, max_size=6)


@given(points, times)
def test_timeline_stays_within_its_points(steps, t):
    clock, text = 0.0, []
    for gap, name, strength in steps:
        clock += gap
        text.append(f"{clock!r}:{name}@{strength!r}")
    line = Timeline.parse(", ".join(text))
    values = line.code(t)
    assert values.dtype == np.float32 and values.shape == (7,)
    assert (values >= 0).all() and values.sum() <= line.strongest + 1e-5
    assert line.code(-1) == pytest.approx(line.codes[0])


def test_timeline_description_reads_back():
    line = Timeline.parse("0:neutral, 1.5:happy@0.8+sad@0.25, 4:sad")
    again = Timeline.parse(line.describe())
    assert np.array_equal(again.times, line.times) and np.allclose(again.codes, line.codes)


@given(st.floats(0, 20), st.floats(0.01, 20), times)
def test_window_fades_inside_and_is_zero_outside(start, length, t):
    line = Timeline.constant("happy").window(start, start + length)
    value = line.code(t)[0]
    assert 0 <= value <= 1
    if t <= start or t >= start + length:
        assert value == 0
    if start + 0.2 <= t <= start + length - 0.2:
        assert value == pytest.approx(1)


def test_window_ramp():
    line = Timeline.constant("happy").window(1, 3, fade=0.2)
    assert line.code(1.1)[0] == pytest.approx(0.5)
    assert line.code(2.95)[0] == pytest.approx(0.25)
    assert Timeline.constant("happy").window(None, None).code(0)[0] == 1
    assert Timeline.constant("happy").window(None, 1).code(0)[0] == 1


@pytest.mark.parametrize(("start", "end"), [(-1, None), (2, 1), (1, 1), (math.nan, None), (None, math.inf), (None, 0)])
def test_bad_window(start, end):
    with pytest.raises(InputError):
        Timeline.constant("happy").window(start, end)


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("0:happy, sad", "'sad'"),
        ("0:happy, x:sad", "'x'"),
        ("1:happy, 1:sad", "increase"),
        ("-1:happy", "'-1'"),
        ("nan:happy", "'nan'"),
        ("0:joyful", "joyful"),
        ("", "empty"),
        ("nowhere.txt", "nowhere.txt"),
        ("happy", "'happy'"),
        ("0:", "'0:'"),
        ('{"0": 3}', "needs"),
        ("[1]", "needs"),
        ('{"0": ', "JSON"),
    ],
)
def test_bad_timeline_names_the_piece(text, piece):
    with pytest.raises(InputError) as caught:
        Timeline.parse(text)
    assert piece in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_parses_or_is_refused_in_words(text):
    try:
        Timeline.parse(text)
    except InputError as error:
        assert str(error)


def test_timeline_files(tmp_path):
    expected = Timeline.parse("0:neutral, 1.5:happy@0.8")
    text = tmp_path / "line.txt"
    text.write_text("# slow start\n0: neutral\n1.5: happy@0.8  # then a smile\n")
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps({"0": "neutral", "1.5": "happy@0.8"}))
    listed = tmp_path / "list.json"
    smile = {"time": 1.5, "emotion": "happy", "intensity": 0.8}
    listed.write_text(json.dumps([{"time": 0, "emotion": "neutral"}, smile]))
    for path in (text, plain, listed, str(text)):
        line = Timeline.parse(path)
        assert np.array_equal(line.times, expected.times) and np.array_equal(line.codes, expected.codes)
