"""Eqs. 17-19: the window's weights, what happens at clip ends, lost faces and cuts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkedit.editor import ClipEditor
from talkedit.emotions import EMOTIONS, Timeline
from talkedit.smooth import cosine_weights, half_width, smooth_at, smooth_sequence
from talkedit.track.store import TrackStore
from talkedit.types import Track

PAPER = {
    0: [1.0],
    1: [0.25, 0.5, 0.25],
    2: [0.0833, 0.25, 0.3333, 0.25, 0.0833],
    3: [0.0366, 0.125, 0.2134, 0.25, 0.2134, 0.125, 0.0366],
}


@pytest.mark.parametrize("half", PAPER)
def test_weights_of_the_paper(half: int) -> None:
    np.testing.assert_allclose(cosine_weights(half), PAPER[half], atol=5e-5)


@given(st.integers(0, 60))
def test_weights_are_a_positive_symmetric_window_that_sums_to_one(half: int) -> None:
    w = cosine_weights(half)
    assert len(w) == 2 * half + 1 and (w > 0).all()
    assert w.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(w, w[::-1], atol=1e-12)
    assert (np.diff(w[: half + 1]) > 0).all()
    # A raised cosine of period 2(l + 1), written the other way round.
    x = np.arange(-half, half + 1)
    np.testing.assert_allclose(w, (1 + np.cos(np.pi * x / (half + 1))) / (2 * (half + 1)), atol=1e-12)


def test_negative_half_width_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        cosine_weights(-1)


@pytest.mark.parametrize(
    ("fps", "base", "half"),
    [(25, 2, 2), (24, 2, 2), (30, 2, 2), (50, 2, 4), (60, 2, 5), (100, 2, 8), (12.5, 2, 1), (1, 2, 1), (50, 4, 8)],
)
def test_half_width_grows_with_the_frame_rate(fps: float, base: int, half: int) -> None:
    assert half_width(fps, base) == half


@given(st.lists(st.booleans(), min_size=7, max_size=7), st.integers(0, 1000))
def test_unusable_frames_are_left_out_and_the_rest_renormalised(usable: list[bool], seed: int) -> None:
    ok = np.array(usable)
    values = np.random.default_rng(seed).normal(size=(7, 2, 3))
    values[~ok] = 1e6  # would show at once
    got = smooth_at(values, ok, 3)
    assert got.shape == (2, 3)
    if not ok.any():
        assert (got == 0).all()
        return
    expected = sum(np.float64(PAPER_3[i]) * values[i] for i in np.flatnonzero(ok)) / sum(PAPER_3[ok])
    np.testing.assert_allclose(got, expected, atol=1e-9)


PAPER_3 = (1 + np.cos(np.pi * np.arange(-3, 4) / 4)) / 8


def test_type_is_kept() -> None:
    assert smooth_at(np.ones((3, 7), np.float32), np.ones(3, bool), 1).dtype == np.float32
    assert smooth_sequence(np.ones((3, 7), np.float32), 1).dtype == np.float32


@given(st.integers(1, 12), st.integers(0, 4), st.floats(-5, 5))
def test_constant_sequences_stay(count: int, half: int, value: float) -> None:
    values = np.full((count, 2), value)
    np.testing.assert_allclose(smooth_sequence(values, half), values, atol=1e-12)


@given(st.integers(1, 4), st.floats(-3, 3), st.floats(-3, 3))
def test_linear_sequences_stay_in_the_middle_and_bend_at_the_ends(half: int, start: float, slope: float) -> None:
    values = start + slope * np.arange(16.0)
    got = smooth_sequence(values, half)
    np.testing.assert_allclose(got[half:-half], values[half:-half], atol=1e-9)
    # At the very end only the inner half of the window is left: closed form of its first moment.
    w = cosine_weights(half)[half:]
    inward = slope * (w * np.arange(half + 1)).sum() / w.sum()
    assert got[0] == pytest.approx(values[0] + inward, abs=1e-9)
    assert got[-1] == pytest.approx(values[-1] - inward, abs=1e-9)


def test_impulse_spreads_into_the_window() -> None:
    values = np.zeros(9)
    values[4] = 1
    np.testing.assert_allclose(smooth_sequence(values, 2)[2:7], PAPER[2], atol=5e-5)
    assert smooth_sequence(values, 2)[[0, 1, 7, 8]].max() == 0


def _clip(frames: int, cuts: tuple[int, ...] = (), lost: tuple[int, ...] = (), fades: dict | None = None) -> ClipEditor:
    """A clip editor that knows only its tracks: enough for the emotion code of a frame."""
    editor = ClipEditor.__new__(ClipEditor)
    editor._store, editor._half, editor._fade_half = TrackStore(), 2, 4
    for i in range(frames):
        track = None if i in lost else Track(np.zeros((478, 3), np.float32), 1, 0, 0, (0.3, 0.3), 1)
        editor._store.append(track, i / 25, (fades or {}).get(i, 1.0), cut=i in cuts)
    return editor


def _step(at: int) -> Timeline:
    """Neutral before frame ``at``, happy from it on, with no ramp between the two."""
    times = np.array([0.0, (at - 1) / 25, at / 25])
    codes = np.zeros((3, len(EMOTIONS)), np.float32)
    codes[2, 0] = 1
    return Timeline(times, codes)


def test_the_code_is_smoothed_over_time() -> None:
    editor = _clip(20)
    got = np.array([editor._controls(i, _step(10)) for i in range(20)])
    np.testing.assert_allclose(got[7:13, 0], [0, 0.0833, 0.3333, 0.6667, 0.9167, 1], atol=1e-4)
    assert (got[:, 1:] == 0).all()


def test_smoothing_never_crosses_a_cut() -> None:
    editor = _clip(20, cuts=(10,))
    got = np.array([editor._controls(i, _step(10))[0] for i in range(20)])
    np.testing.assert_array_equal(got, np.repeat([0.0, 1.0], 10).astype(np.float32))


def test_trust_does_not_leak_across_a_cut() -> None:
    # The shot before the cut is not trusted at all; the one after is.
    editor = _clip(20, cuts=(10,), fades=dict.fromkeys(range(10), 0.0))
    got = np.array([editor._controls(i, Timeline.constant("happy"))[0] for i in range(20)])
    np.testing.assert_array_equal(got, np.repeat([0.0, 1.0], 10).astype(np.float32))


def _beside_lost_face() -> np.ndarray:
    editor = _clip(30, lost=(15, 16, 17))
    return np.array([editor._controls(i, Timeline.constant("happy"))[0] for i in range(30)])


def test_the_edit_fades_beside_a_lost_face() -> None:
    got = _beside_lost_face()
    assert (got[15:18] == 0).all()
    assert (got[:11] == 1).all() and (got[22:] == 1).all()
    assert (np.diff(got[11:16]) < 0).all() and (np.diff(got[17:22]) > 0).all()
    np.testing.assert_allclose(got[18:22], got[14:10:-1], atol=1e-6)  # the same out and in


def test_the_edit_does_not_jump_beside_a_lost_face() -> None:
    assert np.abs(np.diff(_beside_lost_face())).max() < 0.4


def test_a_frame_is_never_edited_more_than_it_is_trusted() -> None:
    fades = {i: f for i, f in enumerate(np.random.default_rng(0).uniform(0, 1, 40))}
    editor = _clip(40, fades=fades)
    for i in range(40):
        assert editor._controls(i, Timeline.constant("sad"))[EMOTIONS.index("sad")] <= fades[i] + 1e-6
