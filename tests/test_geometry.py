"""The linear geometry editor and the rules that keep speech and blinks, on the checkpoint that ships."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talkedit import resources
from talkedit.checkpoint import LinearEditors, load_linear
from talkedit.editor import load_face_model
from talkedit.emotions import EMOTIONS, code
from talkedit.facemodel.model import FaceModel
from talkedit.geometry.editor import LinearGeometryEditor
from talkedit.geometry.openings import (
    ADDED,
    BROADER,
    BROADEST,
    CLENCHED,
    HALF_SHUT,
    HIGHEST,
    JAW,
    LID_RANGE,
    LIFTED,
    LIP_RANGE,
    LOWEST,
    NARROW,
    NARROWEST,
    PURSE_REACH,
    PURSED,
    ROOM,
    ROUNDED,
    SMILE,
    SPOKEN,
    STILL,
    STRETCHED,
    TALL,
    TALLER,
    TALLEST,
    WIDE_OPEN,
    WIDEST,
    Openings,
    smoothstep,
    surface_distances,
    within,
)
from talkedit.track.measures import mouth_width
from talkedit.track.topology import (
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EYE,
    LIP_CORNERS_INNER,
    LIP_CORNERS_OUTER,
    LIP_PAIRS,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
    UNDER_LIP,
)

UPPER, LOWER = LIP_PAIRS.T
RIGHT_LIDS = np.array([[160, 144], [159, 145], [158, 153]])
LEFT_LIDS = np.array([[387, 373], [386, 374], [385, 380]])
REFERENCE = (0.075, 0.075)


@cache
def model() -> FaceModel:
    return load_face_model("open")


@cache
def editors() -> LinearEditors:
    return load_linear(resources.find("checkpoints", "linear_editor.safetensors"))


@cache
def openings() -> Openings:
    return Openings(mean())


def mean() -> np.ndarray:
    return model().mean[:468]


def speech() -> np.ndarray:
    return editors().geometry.speech


def people() -> np.ndarray:
    n = len(editors().people)
    return np.full(n, 1 / n, np.float32)


def eye() -> float:
    return float(np.linalg.norm(mean()[33] - mean()[263]))


def talking(opening: float) -> np.ndarray:
    """The mean face with its lips closed along their middle line, then opened as words open them."""
    face = mean().copy()
    line = (face[UPPER, 1] + face[LOWER, 1]) / 2
    face[UPPER, 1] = face[LOWER, 1] = line
    return face + speech() * np.float32(opening)


def gaps(face: np.ndarray) -> np.ndarray:
    return face[UPPER, 1] - face[LOWER, 1]


def lid_gaps(face: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return face[pairs[:, 0], 1] - face[pairs[:, 1], 1]


def direction(emotion: str, intensity: float = 1.0) -> tuple[np.ndarray, float]:
    """(468, 3) landmark displacement of an emotion, and its wish for the opening."""
    e = code(emotion, intensity)
    beta = editors().geometry.edit(np.zeros(80), np.zeros(64, np.float32), e, people())
    return (model().exp_basis[:468] @ beta).astype(np.float32), editors().geometry.opening(e, people())


# -- the linear editor ---------------------------------------------------------------------------------------------


def toy(seed: int = 0) -> LinearGeometryEditor:
    rng = np.random.default_rng(seed)
    return LinearGeometryEditor(
        rng.normal(size=(3, 7, 64)).astype(np.float32), rng.normal(size=(3, 7)).astype(np.float32),
        rng.normal(size=(468, 3)).astype(np.float32),
    )  # fmt: skip


def test_zero_code_changes_nothing() -> None:
    beta = np.random.default_rng(1).normal(size=64).astype(np.float32)
    for editor, p in ((toy(), np.float32([0.2, 0.3, 0.5])), (editors().geometry, people())):
        np.testing.assert_array_equal(editor.edit(np.zeros(80), beta, np.zeros(7, np.float32), p), beta)
        assert editor.opening(np.zeros(7, np.float32), p) == 0


@given(st.integers(0, 10_000), st.floats(0, 1.5), st.floats(0, 1.5))
@settings(deadline=None, max_examples=40)
def test_linear_in_the_code_and_mixed_by_person(seed: int, a: float, b: float) -> None:
    rng = np.random.default_rng(seed)
    editor, beta = toy(seed), rng.normal(size=64).astype(np.float32)
    p = rng.dirichlet(np.ones(3))
    i, j = rng.choice(7, 2, replace=False)
    e = np.zeros(7)
    e[i], e[j] = a, b
    expected, opening = beta.astype(np.float64), 0.0
    for n in range(3):
        expected = expected + p[n] * (a * editor.directions[n, i] + b * editor.directions[n, j])
        opening += p[n] * (a * editor.openings[n, i] + b * editor.openings[n, j])
    np.testing.assert_allclose(editor.edit(rng.normal(size=80), beta, e, p), expected, atol=1e-5)
    assert editor.opening(e, p) == pytest.approx(opening, abs=1e-5)


def test_the_opening_is_not_part_of_the_shipped_directions() -> None:
    """Directions are learned at equal opening: the middle lip gap they carry is small against speech."""
    for emotion in EMOTIONS:
        delta, _ = direction(emotion)
        assert abs(gaps(delta)[4]) < 0.04, emotion


def test_shipped_speech_opens_the_lips_by_one() -> None:
    profile = gaps(speech())
    assert profile[4] == pytest.approx(1, abs=1e-4)
    assert (np.diff(profile[:5]) > 0).all() and (np.diff(profile[4:]) < 0).all()
    assert speech()[152, 1] < -0.3  # the chin goes down
    assert np.linalg.norm(speech()[[10, 33, 263, 168]], axis=1).max() < 0.15  # the upper face stays


# -- lips ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("intensity", [1.0, 1.5])
@pytest.mark.parametrize("emotion", EMOTIONS)
def test_closed_lips_stay_closed(emotion: str, intensity: float) -> None:
    delta, wish = direction(emotion, intensity)
    face = talking(0)
    out = openings().lips(face, delta, speech(), wish, 0.0)
    assert np.abs(gaps(face + out)).max() < 1e-5
    assert np.abs(out).max() > 0.01  # the emotion itself is still there


@pytest.mark.parametrize("intensity", [0.5, 1.0])
@pytest.mark.parametrize("emotion", EMOTIONS)
def test_gap_grows_with_the_gap_of_the_source(emotion: str, intensity: float) -> None:
    delta, wish = direction(emotion, intensity)
    got = []
    for opening in np.linspace(0, 0.4, 21):
        face = talking(opening)
        got.append(gaps(face + openings().lips(face, delta, speech(), wish, 0.0)))
    assert (np.diff(got, axis=0) > 0).all()
    assert np.array(got)[-1] == pytest.approx(gaps(talking(0.4)), rel=0.31)  # wide mouths: hardly wider


@pytest.mark.parametrize("wish", [-0.1, 0.0, 0.05, 0.1, 0.15, 0.18, 0.22, 0.27])
def test_gap_is_monotone_for_any_wish(wish: float) -> None:
    delta = np.zeros((468, 3), np.float32)
    sources = np.linspace(0, 0.45, 91)
    got = [gaps((f := talking(s)) + openings().lips(f, delta, speech(), wish, 0.0))[4] for s in sources]
    assert (np.diff(got) > -1e-6).all()


def expected_gaps(source: np.ndarray, wish: float, part: float) -> np.ndarray:
    """The rule as the design says it, written apart from the product."""
    open_ = np.clip(gaps(source), 0, None)
    middle = open_[4]
    factor = min(max(1 + wish / (SPOKEN * eye()), LIP_RANGE[0]), LIP_RANGE[1])
    wish = min(wish, 0.95 * ROOM * eye())
    if wish > 0:
        room = min(max((WIDEST - middle / eye()) / ROOM, 0), 1)
        more = min(factor - 1, wish / middle) if middle > 0 else factor - 1
        factor = 1 + more * room
    return np.maximum(open_ * factor, open_ + max(part * wish, 0) * gaps(speech()))


@given(st.sampled_from(EMOTIONS), st.floats(0, 0.45), st.floats(-0.3, 0.3), st.sampled_from([0.0, 0.3, 1.0]))
@settings(deadline=None, max_examples=80)
def test_every_pair_gets_its_target_gap(emotion: str, opening: float, wish: float, part: float) -> None:
    delta, _ = direction(emotion)
    face = talking(opening)
    out = openings().lips(face, delta, speech(), wish, part)
    np.testing.assert_allclose(gaps(face + out), expected_gaps(face, wish, part), atol=2e-5)


def assert_opened(out: np.ndarray, more: float) -> None:
    """The jaw does its share as in words, and the lips, which have the shape words give them, the rest."""
    np.testing.assert_allclose(gaps(out), gaps(speech()) * more, atol=2e-6)
    np.testing.assert_allclose(out[:, [0, 2]], speech()[:, [0, 2]] * (JAW * more), atol=3e-4)
    np.testing.assert_allclose(out[[152, 176, 400]], speech()[[152, 176, 400]] * (JAW * more), atol=1e-3)
    assert abs(speech()[152, 1]) > 0.1


def test_opening_follows_speech_alone_where_the_emotion_brings_nothing() -> None:
    zero, wish, opening = np.zeros((468, 3), np.float32), 0.05, 0.08
    out = openings().lips(talking(opening), zero, speech(), wish, 0.0)
    assert_opened(out, opening * min(wish / (SPOKEN * eye()), LIP_RANGE[1] - 1))


def test_a_smile_draws_narrow_lips_out_less_and_others_as_before() -> None:
    corners, face = LIP_CORNERS_OUTER, talking(0.1)
    lips = np.r_[OUTER_LIPS, INNER_LIPS]
    rest = float(np.ptp(face[corners, 0])) / eye()
    smile = np.zeros_like(face)
    smile[:, 0] = SMILE * eye() * np.sign(face[:, 0]) * np.isin(np.arange(468), lips)
    drawn_out = []
    for width in (max(rest, NARROW[1]), NARROW[1], sum(NARROW) / 2, NARROW[0]):
        mouth = face.copy()
        mouth[lips, 0] *= width / rest
        out = openings().lips(mouth, smile, speech(), 0.0, 0.0)
        drawn_out.append((float(np.ptp((mouth + out)[corners, 0])) / eye() - width) / 2)
    assert drawn_out[0] == pytest.approx(drawn_out[1], abs=2e-3) and drawn_out[0] > 0.9 * SMILE
    np.testing.assert_allclose(np.divide(drawn_out[2:], drawn_out[1]), [1 - STILL / 2, 1 - STILL], atol=0.06)


def test_rounded_lips_are_held_as_well_where_one_corner_alone_is_pulled() -> None:
    face, lips = talking(0.1), np.r_[OUTER_LIPS, INNER_LIPS]
    one_sided = np.zeros_like(face)
    one_sided[:, 1] = SMILE * eye() * smoothstep(face[:, 0], 0, 0.1) * np.isin(np.arange(468), lips)
    left = LIP_CORNERS_OUTER[int(face[LIP_CORNERS_OUTER, 0].argmax())]
    assert one_sided[left, 1] > 0.9 * SMILE * eye()
    mouth = face.copy()
    mouth[lips, 0] *= NARROW[0] * eye() / float(np.ptp(face[LIP_CORNERS_OUTER, 0]))
    free, held = (openings().lips(m, one_sided, speech(), 0.0, 0.0)[left, 1] for m in (face, mouth))
    assert held < (1 - STILL + 0.1) * free


def test_lips_that_words_round_are_not_drawn_in_further() -> None:
    corners, face = LIP_CORNERS_OUTER, talking(0.1)
    lips = np.r_[OUTER_LIPS, INNER_LIPS]
    rest = float(np.ptp(face[corners, 0])) / eye()
    pull = np.zeros_like(face)
    pull[:, 0] = -0.15 * eye() * np.sign(face[:, 0]) * np.isin(np.arange(468), lips)
    drawn_in = []
    for width in (rest, ROUNDED[1], sum(ROUNDED) / 2, ROUNDED[0]):
        mouth = face.copy()
        mouth[lips, 0] *= width / rest
        out = openings().lips(mouth, pull, speech(), 0.0, 0.0)
        drawn_in.append((width - float(np.ptp((mouth + out)[corners, 0])) / eye()) / 2)
    assert rest > ROUNDED[1] and drawn_in[1] == pytest.approx(drawn_in[0], abs=2e-3)
    assert 0.02 < drawn_in[0] <= NARROWEST and drawn_in[0] > drawn_in[2] + 0.01
    assert drawn_in[3] == pytest.approx(0, abs=1e-4)


def mouth_of(width: float, gap: float) -> np.ndarray:
    """A talking face whose mouth is so wide and so far open, over the eye distance."""
    lips, face = np.r_[OUTER_LIPS, INNER_LIPS], talking(gap * eye())
    face[lips, 0] *= width * eye() / float(np.ptp(face[LIP_CORNERS_OUTER, 0]))
    assert gaps(face)[4] == pytest.approx(gap * eye(), rel=0.02)
    return face


@pytest.mark.parametrize("width", [0.3, 0.6, 0.75])
def test_a_mouth_is_as_wide_as_its_corners_lie_apart(width: float) -> None:
    turned = mouth_of(width, 0.1) @ np.float32([[0.6, 0.8, 0], [-0.8, 0.6, 0], [0, 0, 1]]) * 300 + 7
    assert mouth_width(turned) == pytest.approx(width, rel=0.01)


def test_lips_that_are_round_already_are_not_drawn_in_further() -> None:
    pull = np.zeros((468, 3), np.float32)
    pull[:, 0] = -0.15 * eye() * np.sign(mean()[:, 0]) * np.isin(np.arange(468), np.r_[OUTER_LIPS, INNER_LIPS])
    drawn_in = [
        narrowing(openings().lips(mouth_of(0.5, 0.5 * tall), pull, speech(), 0.0, 0.0))
        for tall in (TALL[0] - 0.05, TALL[0], sum(TALL) / 2, TALL[1])
    ]
    assert drawn_in[1] == pytest.approx(drawn_in[0], rel=0.05) and drawn_in[0] > 0.03 * eye()
    assert drawn_in[2] == pytest.approx(drawn_in[1] / 2, rel=0.1) and drawn_in[3] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("tall", [0.1, 0.3, 0.5, 0.7])
def test_narrow_lips_are_not_parted_to_an_upright_slit(tall: float) -> None:
    zero, gap = np.zeros((468, 3), np.float32), tall * ROUNDED[0]
    wide, narrow = (
        float(gaps(openings().lips(mouth_of(w, gap), zero, speech(), 0.3, 0.0))[4]) / eye() for w in ROUNDED[::-1]
    )
    assert 0 < narrow < wide
    assert gap + narrow < max(TALLEST * ROUNDED[0], gap + TALLER) + 1e-3


def test_pauses_may_part_the_lips() -> None:
    zero = np.zeros((468, 3), np.float32)
    for part in (0.0, 0.3, 0.6):
        assert_opened(openings().lips(talking(0), zero, speech(), 0.1, part), 0.1 * part)
    # An emotion that closes lips does not part them.
    np.testing.assert_allclose(openings().lips(talking(0), zero, speech(), -0.1, 0.6), 0, atol=1e-6)


@pytest.mark.parametrize("wish", [-0.1, 0.05, 0.15, 0.27])
def test_clenched_teeth_stay_together(wish: float) -> None:
    """What opens beyond the source is bounded, and grows with its gap; so is what parts lips in a pause."""
    zero = np.zeros((468, 3), np.float32)
    more = []
    for opening in np.linspace(0, 0.4, 21):
        face = talking(opening)
        free, half, held = (gaps(openings().lips(face, zero, speech(), wish, 0.0, c))[4] for c in (0.0, 0.5, 1.0))
        if wish < 0:
            assert free == half == held <= 1e-6
        else:
            assert held == pytest.approx(within(free, CLENCHED * eye()), abs=1e-5)
            assert half == pytest.approx((free + held) / 2, abs=1e-5)
        more.append(gaps(face)[4] + held)
    assert (np.diff(more) > -1e-6).all()
    parted = gaps(openings().lips(talking(0), zero, speech(), 0.2, 0.6, 1.0))[4]
    assert parted == pytest.approx(within(0.6 * 0.2, CLENCHED * eye()), abs=1e-5)


def test_nothing_in_nothing_out() -> None:
    zero = np.zeros((468, 3), np.float32)
    for opening in (-0.01, 0, 0.02, 0.3):
        face = talking(opening)
        np.testing.assert_array_equal(openings().lips(face, zero, speech(), 0.0, 0.0), zero)
        np.testing.assert_array_equal(openings().lips(face, zero, speech(), 0.0, 1.0), zero)
        np.testing.assert_array_equal(openings().lids(face, zero, REFERENCE), zero)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_lip_rule_moves_lips_up_and_down_only_and_leaves_corners_and_eyes(emotion: str) -> None:
    delta, _ = direction(emotion)
    face, lips = talking(0), np.r_[OUTER_LIPS, INNER_LIPS]
    face[lips, 0] *= 1.03  # narrower ones hold smiles back, a test of its own
    out = openings().lips(face, delta, speech(), 0.0, 0.0)
    delta[:, 0] = out[:, 0]  # but for what draws the corners together or apart, which the next tests are about
    up = max(float(delta[LIP_CORNERS_OUTER, 1].mean()), 0.0)  # and what pulls them up
    delta[:, 1] -= (up - HIGHEST * eye() * np.tanh(up / (HIGHEST * eye()))) * np.abs(openings()._widen)
    if delta[lips, 1].mean() < 0:  # and a mouth that goes down as a whole, the test after it
        delta[:, 1] += (out - delta)[LIP_CORNERS_INNER, 1].mean() * mouth_nearness()
    still = crease_nearness() < 1e-6  # the skin beyond the corners goes along with them, a test of its own
    np.testing.assert_allclose(out[still][:, [0, 2]], delta[still][:, [0, 2]], rtol=0, atol=1e-5)
    np.testing.assert_allclose(out[LIP_CORNERS_INNER], delta[LIP_CORNERS_INNER], rtol=0, atol=1e-8)
    upper_face = np.r_[LEFT_EYE, RIGHT_EYE, 10, 70, 300, 151]
    assert np.abs(out - delta)[upper_face].max() < 2e-3


def narrowing(delta: np.ndarray) -> float:
    """How far a displacement draws each outer lip corner towards the other, model units."""
    return -float((delta[LIP_CORNERS_OUTER, 0] * np.sign(mean()[LIP_CORNERS_OUTER, 0])).mean())


def mouth_nearness() -> np.ndarray:
    """(468,) 1 at the lips, fading along the skin."""
    lip = surface_distances(mean())[np.r_[OUTER_LIPS, INNER_LIPS]].min(0)
    return np.exp(-0.5 * (lip / PURSE_REACH) ** 2).astype(np.float32)


def crease_nearness() -> np.ndarray:
    """(468,) how far the skin goes along with a corner of the mouth that alone moves."""
    pulled = np.zeros((468, 3), np.float32)
    pulled[LIP_CORNERS_OUTER, 2] = 1.0
    moved = openings().lips(talking(0), pulled, speech(), 0.0, 0.0)[:, 2]
    moved[LIP_CORNERS_OUTER] = 0
    return moved


def test_skin_beyond_a_corner_of_the_mouth_moves_with_it() -> None:
    near = crease_nearness()
    assert near[[57, 287]].min() > 0.7 and near[[43, 273]].min() > 0.5  # the crease is not drawn out
    assert near[np.r_[OUTER_LIPS, INNER_LIPS, LEFT_EYE, RIGHT_EYE, 1, 152]].max() < 1e-3  # lips have their own way
    even = np.float32([[0, 0, 0.01]]).repeat(468, 0)
    np.testing.assert_allclose(openings().lips(talking(0), even, speech(), 0.0, 0.0)[:, 2], 0.01, atol=1e-6)


@pytest.mark.parametrize("raised", [0.01, 0.05, 0.15])
def test_skin_under_a_raised_lower_lip_comes_along_before_it_is_stretched_far(raised: float) -> None:
    face, (lip, fold, below) = mean(), UNDER_LIP
    lips = np.r_[OUTER_LIPS, INNER_LIPS]
    delta = np.zeros((468, 3), np.float32)
    delta[lips, 1] = raised
    out = openings()._with_fold(delta)
    room = STRETCHED * (face[lip, 1] - face[fold, 1])
    np.testing.assert_allclose(raised - out[fold, 1], room * np.tanh(raised / room), atol=1e-6)
    assert out[fold, 1].min() > 0 and (raised - out[fold, 1]).max() < STRETCHED * (face[lip, 1] - face[fold, 1]).max()
    # Skin further down goes along as well, less and less; lips, the chin's tip and all above the mouth do not.
    assert (out[below[2:5], 1] < out[fold[2:5], 1]).all() and (out[below, 1] > 0.5 * out[fold, 1]).all()
    still = np.r_[lips, 1, 33, 263, 10]
    np.testing.assert_allclose(out[still], delta[still], atol=1e-6)
    assert abs(out[152, 1]) < 0.2 * out[fold[3], 1]
    np.testing.assert_array_equal(out[:, [0, 2]], delta[:, [0, 2]])
    np.testing.assert_array_equal(openings()._with_fold(-delta), -delta)  # a lowered lip presses it together
    lifted = openings().lips(face, delta, speech(), 0.0, 0.0)
    assert lifted[fold, 1].min() > 0.7 * out[fold, 1].min()  # smiles are held back a little


def test_lips_that_stay_closed_are_not_pursed() -> None:
    delta, wish = direction("surprised")
    assert narrowing(delta) > 0.05
    shut, ajar, wide = (openings().lips(talking(g), delta, speech(), wish, 0.0) for g in (0, 0.04, 0.15))
    assert 0 < narrowing(shut) < narrowing(ajar) < narrowing(wide) < NARROWEST * eye()
    assert narrowing(shut) < PURSED * NARROWEST * eye()
    little = openings().lips(talking(0), delta / 50, speech(), wish / 50, 0.0)
    np.testing.assert_allclose(narrowing(little), PURSED * narrowing(delta) / 50, rtol=0.03)  # limits bend large ones
    assert np.abs(shut - delta)[np.r_[LEFT_EYE, RIGHT_EYE, 10]].max() < 2e-3


@given(apart=st.floats(0, 0.6), smiling=st.floats(0.05, 0.3))
def test_no_emotion_draws_a_mouth_broader_than_smiles_are(apart: float, smiling: float) -> None:
    face, delta = talking(0.05), np.zeros((468, 3), np.float32)
    lips, side = np.r_[OUTER_LIPS, INNER_LIPS], np.sign(mean()[:, 0])
    face[lips, 0] += smiling / 2 * side[lips]
    delta[:, 0] = apart / 2 * side

    def width(points: np.ndarray) -> float:
        return float(points[LIP_CORNERS_OUTER, 0] @ np.sign(mean()[LIP_CORNERS_OUTER, 0]))

    moved = openings().lips(face, delta, speech(), 0.0, 0.0)
    room = max(BROADEST * eye() - width(face), BROADER * eye())
    np.testing.assert_allclose(width(moved), room * np.tanh(apart / room), atol=1e-4)
    assert np.abs(moved - delta)[np.r_[LEFT_EYE, RIGHT_EYE, 10]].max() < 2e-3


@given(up=st.floats(0, 0.5))
def test_no_emotion_pulls_the_corners_far_up(up: float) -> None:
    delta = np.zeros((468, 3), np.float32)
    delta[:, 1] = up * mouth_nearness()
    moved = openings().lips(talking(0), delta, speech(), 0.0, 0.0)
    corners = moved[LIP_CORNERS_OUTER, 1]
    np.testing.assert_allclose(corners, HIGHEST * eye() * np.tanh(up / (HIGHEST * eye())), atol=2e-3)
    middle = moved[[0, 17], 1]  # the lips between them stay
    np.testing.assert_allclose(middle, delta[[0, 17], 1], atol=2e-3)


@given(down=st.floats(0, 0.5))
def test_no_emotion_draws_a_mouth_far_down(down: float) -> None:
    delta = np.zeros((468, 3), np.float32)
    delta[:, 1] = -down
    moved = -openings().lips(talking(0), delta, speech(), 0.0, 0.0)[np.r_[OUTER_LIPS, INNER_LIPS], 1]
    assert moved.max() <= LOWEST * eye() + 1e-6
    np.testing.assert_allclose(moved, PURSED * LOWEST * eye() * np.tanh(down / (LOWEST * eye())), atol=1e-5)
    moved = -openings().lips(talking(0.3 * eye()), delta, speech(), 0.0, 0.0)[OUTER_LIPS, 1]  # an open one
    np.testing.assert_allclose(moved, LOWEST * eye() * np.tanh(down / (LOWEST * eye())), atol=1e-5)


def test_inputs_are_not_written_to() -> None:
    face, (delta, wish) = talking(0.05), direction("happy")
    before = face.copy(), delta.copy(), speech().copy()
    openings().lips(face, delta, speech(), wish, 0.5)
    openings().lids(face, delta, REFERENCE)
    for a, b in zip(before, (face, delta, speech()), strict=True):
        np.testing.assert_array_equal(a, b)


# -- lids ----------------------------------------------------------------------------------------------------------


def blinking(share: float) -> np.ndarray:
    """The mean face with its lid gaps multiplied by ``share``."""
    face = mean().copy()
    for up, low in np.r_[openings()._lids[0][0], openings()._lids[1][0]]:
        middle, half = (face[up, 1] + face[low, 1]) / 2, share * (face[up, 1] - face[low, 1]) / 2
        face[up, 1], face[low, 1] = middle + half, middle - half
    return face


@pytest.mark.parametrize("intensity", [1.0, 1.5])
@pytest.mark.parametrize("emotion", EMOTIONS)
def test_shut_eyes_stay_shut(emotion: str, intensity: float) -> None:
    delta, _ = direction(emotion, intensity)
    shut = blinking(0)
    after = shut + openings().lids(shut, delta, REFERENCE)
    for pairs, _, _ in openings()._lids:
        assert np.abs(lid_gaps(after, pairs)).max() < 1e-6


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_one_factor_an_eye_within_bounds(emotion: str) -> None:
    delta, _ = direction(emotion, 1.5)
    factors = []
    for share in (0.25, 0.6, 1.0, 1.1):
        face = blinking(share)
        after = face + openings().lids(face, delta, REFERENCE)
        for k, (pairs, _, _) in enumerate(openings()._lids):
            ratio = lid_gaps(after, pairs) / lid_gaps(face, pairs)
            np.testing.assert_allclose(ratio, ratio[0], atol=1e-4)  # the lid keeps its curve
            factors.append(ratio[0])
            shut = min(1.0, HALF_SHUT * REFERENCE[k] / lid_gaps(face, pairs)[2:5].mean())
            assert shut - 1e-4 <= ratio[0] <= LID_RANGE[1] + 1e-4 and ratio[0] >= LID_RANGE[0] - 1e-4
    for k, pairs in enumerate((RIGHT_LIDS, LEFT_LIDS)):
        wish = lid_gaps(delta, pairs).mean() / REFERENCE[k]
        if wish < 0:
            expected = 1 - (1 - LID_RANGE[0]) * np.tanh(-wish / (1 - LID_RANGE[0]))
            lifted = delta[(RIGHT_BROW, LEFT_BROW)[k], 1].mean() / np.linalg.norm(mean()[33] - mean()[263])
            expected = max(expected, HALF_SHUT)
            expected += (1 - expected) * smoothstep(lifted, *LIFTED)
            assert factors[4 + k] == pytest.approx(expected, abs=1e-3)
            assert factors[k] == pytest.approx(1.0, abs=1e-4)  # half shut already
        else:
            assert 1 <= factors[4 + k] <= 1 + min(wish, LID_RANGE[1] - 1) + 1e-4


def test_eyes_are_not_widened_until_white_shows_all_around() -> None:
    delta, _ = direction("surprised", 1.5)
    width = np.linalg.norm(mean()[33, :2] - mean()[133, :2])
    made = []
    for gap in (0.2, 0.3, 0.35, 0.43, 0.52):
        face = blinking(gap * width / lid_gaps(mean(), RIGHT_LIDS)[2:5].mean())
        after = face + openings().lids(face, delta, REFERENCE)
        made.append(float(lid_gaps(after, RIGHT_LIDS)[2:5].mean() / width))
    assert made[0] > 1.2 * 0.2 and (np.diff(made) > 0).all()
    assert max(made[:3]) < WIDE_OPEN and made[3] == pytest.approx(0.43 + ADDED, abs=0.005)
    assert made[4] == pytest.approx(0.52 + ADDED, abs=0.005)


def test_lids_that_would_close_too_far_each_take_back_what_they_brought() -> None:
    delta = np.zeros((468, 3), np.float32)
    pairs = openings()._lids[0][0]
    delta[pairs[:, 0], 1], delta[pairs[:, 1], 1] = -0.03, 0.01
    moved = openings().lids(blinking(0.1), delta, REFERENCE)  # a blink stays where it is
    np.testing.assert_allclose(moved[pairs, 1], 0, atol=1e-3)
    moved = openings().lids(mean(), delta, REFERENCE)[pairs[2:5], 1]
    assert (moved[:, 0] < 0).all() and (moved[:, 1] > 0).all()
    assert -moved[:, 0].mean() > 2 * moved[:, 1].mean()  # the upper lid droops, as it was asked to


def test_lids_do_not_close_under_a_brow_that_an_emotion_lifts() -> None:
    closing, eye = np.zeros((468, 3), np.float32), np.linalg.norm(mean()[33] - mean()[263])
    for pairs in (RIGHT_LIDS, LEFT_LIDS):
        closing[pairs[:, 0], 1] = -0.03
    both, gaps = (RIGHT_LIDS, LEFT_LIDS), []
    before = [lid_gaps(mean(), pairs).mean() for pairs in both]
    for lifted in (0.0, 0.03, 0.06):
        delta = closing.copy()
        delta[LEFT_BROW, 1] = lifted * eye
        after = mean() + openings().lids(mean(), delta, REFERENCE)
        gaps.append(
            [lid_gaps(after, pairs).mean() / b for pairs, b in zip((RIGHT_LIDS, LEFT_LIDS), before, strict=True)]
        )
    right, left = np.transpose(gaps)
    np.testing.assert_allclose(right, right[0])  # each eye has its own brow
    assert right[0] < 0.9 and left[0] < left[1] < left[2] == pytest.approx(1, abs=1e-3)


def test_surprise_widens_eyes() -> None:
    delta, _ = direction("surprised")
    after = mean() + openings().lids(mean(), delta, REFERENCE)
    assert lid_gaps(after, RIGHT_LIDS).mean() > 1.1 * lid_gaps(mean(), RIGHT_LIDS).mean()


def test_lid_reference_is_the_mean_gap_right_then_left() -> None:
    face = mean().copy()
    face[RIGHT_LIDS[:, 0], 1] += 0.02
    right, left = openings().lid_reference(face)
    assert right == pytest.approx(lid_gaps(mean(), RIGHT_LIDS).mean() + 0.02, abs=1e-6)
    assert left == pytest.approx(lid_gaps(mean(), LEFT_LIDS).mean(), abs=1e-6)


@given(st.floats(-5, 5), st.floats(0.1, 3))
def test_smoothstep(low: float, width: float) -> None:
    x = np.linspace(low - 1, low + width + 1, 50)
    y = smoothstep(x, low, low + width)
    assert (y[x <= low] == 0).all() and (y[x >= low + width] == 1).all() and (np.diff(y) >= 0).all()
    assert float(smoothstep(low + width / 2, low, low + width)) == pytest.approx(0.5, abs=1e-3)
