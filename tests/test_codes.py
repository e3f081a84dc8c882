"""Tracked faces as codes: who is split off for judging, whose neutral is whose, how much of an emotion shows."""

from __future__ import annotations

import numpy as np
import pytest

from talkedit.data.collection import Sample
from talkedit.emotions import EMOTIONS, NEUTRAL
from talkedit.errors import InputError
from talkedit.facemodel.load import load_face_model
from talkedit.geometry.gan import ID, TARGETS
from talkedit.train.codes import collect, judge_people
from talkedit.train.linear import APART, keep_apart

FRAMES = 24


class Studio:
    """Stands in for a collection: actors who show every emotion from not at all to fully."""

    def __init__(self, model, emotions=(*EMOTIONS, NEUTRAL), people=("M001", "W002")) -> None:
        draw = np.random.default_rng(0)
        self.samples, self._rows = [], {}
        directions = {e: 0.8 * draw.standard_normal(64) * (np.arange(64) < 12) for e in EMOTIONS} | {NEUTRAL: 0}
        for person in people:
            identity = 0.5 * draw.standard_normal(80)
            for emotion in emotions:
                key = f"mead/{person}_{emotion}.mp4"
                self.samples.append(Sample(key, "mead", person, emotion, True))
                rows = []
                for strength in np.repeat(np.linspace(0, 1, FRAMES), 2):  # every other frame is taken
                    expression = strength * directions[emotion] + 0.02 * draw.standard_normal(64)
                    points = model.at_landmarks(model.vertices(identity, expression.astype(np.float32)))
                    rows.append(np.r_[points * [200, -200, -200] + 300, np.zeros((10, 3))])
                self._rows[key] = np.array(rows, np.float32)

    def landmarks(self) -> dict[str, np.ndarray]:
        return self._rows


@pytest.fixture(scope="module")
def model():
    return load_face_model("open")


@pytest.fixture(scope="module")
def codes(model):
    return collect(Studio(model), model)


def test_everybody_is_there_and_again_in_the_mirror(codes):
    assert codes.people == ["M001", "W002", "M001 mirrored", "W002 mirrored"]
    shown = 8 * FRAMES
    assert (codes.person == 0).sum() == shown
    # One-sided emotions are not mirrored.
    assert (codes.person == 2).sum() == shown - FRAMES
    assert not ((codes.person >= 2) & (codes.label == TARGETS.index("contempt"))).any()


def test_each_person_has_one_identity_and_own_neutral_codes(codes):
    for p in range(4):
        own = codes.code[codes.person == p]
        np.testing.assert_allclose(own[:, :ID], own[:1, :ID].repeat(len(own), 0), atol=1e-5)
        np.testing.assert_allclose(codes.condition[p][:, :ID], own[:1, :ID].repeat(FRAMES, 0), atol=1e-5)
    assert np.abs(codes.code[codes.person == 0][0, :ID] - codes.code[codes.person == 1][0, :ID]).max() > 0.1


def test_amounts_follow_what_is_shown(codes):
    truth = np.linspace(0, 1, FRAMES)
    for k in range(len(EMOTIONS)):
        measured = codes.amount[(codes.person == 0) & (codes.label == k)]
        assert np.corrcoef(truth, measured)[0, 1] > 0.9
        assert measured.min() < 0.15 and measured.max() > 0.9
    neutral = codes.label == TARGETS.index(NEUTRAL)
    assert not codes.amount[neutral].any() and not codes.emotion(np.flatnonzero(neutral)).any()
    rows = np.flatnonzero(codes.label == 2)
    np.testing.assert_allclose(codes.emotion(rows)[:, 2], codes.amount[rows])


def test_directions_tell_the_emotions_apart_and_do_not_speak(codes, model):
    seen = codes.directions[:7] * codes.scale[ID:]
    unit = seen / np.linalg.norm(seen, axis=1, keepdims=True)
    for k in range(len(EMOTIONS)):
        rows = (codes.label == k) & (codes.amount > 0.8)
        away = (codes.code[rows][:, ID:] @ codes.projection.T * codes.scale[ID:]) @ unit.T
        assert (away.argmax(1) == k).mean() > 0.9
    rows = model.at_landmarks(model.exp_basis)
    moved = codes.directions @ (rows[13, 1] - rows[14, 1])
    np.testing.assert_allclose(moved, 0, atol=2e-3)
    assert not codes.directions[7].any()


def test_people_who_were_never_neutral_rest_at_their_identity(model):
    studio = Studio(model, people=("M001", "W002", "W003"))
    studio.samples = [s for s in studio.samples if s.person != "W003" or s.emotion == "happy"]
    codes = collect(studio, model, mirror=False)
    rest = codes.condition[codes.people.index("W003")]
    assert rest.shape == (1, 144) and not rest[0, ID:].any() and rest[0, :ID].any()


def test_only_the_people_asked_for_are_taken(model):
    assert collect(Studio(model), model, {"M001"}, mirror=False).people == ["M001"]


@pytest.mark.parametrize(
    ("emotions", "message"),
    [(("happy",), "no neutral"), ((NEUTRAL,), "no neutral faces, or no emotional"), (("happy", NEUTRAL), "all seven")],
)
def test_data_that_cannot_teach_is_refused(model, emotions, message):
    with pytest.raises(InputError, match=message):
        collect(Studio(model, emotions), model)


def test_actors_of_a_few_clips_and_part_of_the_crowd_judge():
    full = [Sample(f"mead/M030_{e}", "mead", "M030", e, True) for e in (*EMOTIONS, NEUTRAL)]
    few = [Sample("mead/x", "mead", "M024", "surprised", True)]
    crowd = [Sample(f"faces_open/{i}", "faces_open", f"open_{i}", "happy", False) for i in range(400)]
    judges = judge_people([*full, *few, *crowd])
    assert "M030" not in judges and {"M024", "W011"} <= judges
    share = len([p for p in judges if p.startswith("open_")]) / 400
    assert 0.3 <= share <= 0.45
    assert judges == judge_people([*full, *few, *crowd])


def test_sad_is_kept_apart_from_angry(model):
    """As long as before, closer to what anger is not, and nothing else is touched."""
    basis = model.at_landmarks(model.exp_basis).reshape(-1, 64)
    directions = np.random.default_rng(5).normal(size=(2, len(EMOTIONS), 64)).astype(np.float32)
    sad, angry = EMOTIONS.index("sad"), EMOTIONS.index("angry")
    directions[:, sad] += directions[:, angry]
    out = keep_apart(directions, model)
    for before, after in zip(directions, out, strict=True):
        (was, now), anger = (basis @ before[sad], basis @ after[sad]), basis @ before[angry]
        np.testing.assert_allclose(np.linalg.norm(now), np.linalg.norm(was), rtol=1e-4)
        # What is left of the common part, but for the length that was made up: 1 - APART[2] of it.
        scale = np.linalg.norm(was) / np.linalg.norm(was - APART[2] * (was @ anger) / (anger @ anger) * anger)
        np.testing.assert_allclose(now @ anger, (1 - APART[2]) * (was @ anger) * scale, rtol=1e-3)
    rest = [j for j in range(len(EMOTIONS)) if j != sad]
    np.testing.assert_array_equal(out[:, rest], directions[:, rest])
