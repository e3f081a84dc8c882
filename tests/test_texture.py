"""The UV template, luminance-ratio maps, the person classifier and what it looks at."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talkedit import resources
from talkedit.checkpoint import LinearEditors, load_linear, save_linear
from talkedit.editor import load_face_model
from talkedit.emotions import EMOTIONS, code
from talkedit.errors import InputError
from talkedit.facemodel.model import FaceModel
from talkedit.texture.editor import (
    LIMIT,
    TYPICAL_CONTRAST,
    LinearTextureEditor,
    PersonClassifier,
    contrast_gain,
    detail_of,
)
from talkedit.texture.uv_map import UvTemplate
from talkedit.train.linear import edit_mask, train_classifier


@cache
def model() -> FaceModel:
    return load_face_model("open")


@cache
def template() -> UvTemplate:
    return UvTemplate(model())


@cache
def editors() -> LinearEditors:
    return load_linear(resources.find("checkpoints", "linear_editor.safetensors"))


def people() -> np.ndarray:
    return np.full(len(editors().people), 1 / len(editors().people), np.float32)


def mesh(scale: float = 200) -> np.ndarray:
    """The mean face in the middle of a picture of 2.1 x 2.3 times its scale."""
    return (model().mean * np.float32([scale, -scale, -scale]) + np.float32([1.05, 1.1, 0]) * scale).astype(np.float32)


def far_from_face(texels: int) -> np.ndarray:
    """(T, T) bool: at least so many texels away from the face's own."""
    size = 2 * texels + 1
    return cv2.dilate(template().inside.astype(np.uint8), np.ones((size, size), np.uint8)) == 0


# -- unwrapping ----------------------------------------------------------------------------------------------------


def test_source_map_of_vertices() -> None:
    where = template().source_map(mesh())
    at = model().uv * template().size - 0.5
    got = cv2.remap(where, *at.T[..., None].astype(np.float32), cv2.INTER_LINEAR)[:, 0]
    face = (model().skirt == 1) & ~model().eyeball
    error = np.linalg.norm(got - mesh()[:, :2], axis=1)[face]
    assert np.median(error) < 0.1 and np.percentile(error, 90) < 1


@pytest.mark.parametrize("scale", [60, 200, 500])
def test_unwrapping_a_ramp_gives_the_ramp(scale: int) -> None:
    y, x = np.mgrid[0 : round(2.3 * scale), 0 : round(2.1 * scale)].astype(np.float32)
    ramp = np.stack([x, y, (30 * x + 20 * y) / scale + 10], -1)
    got = template().unwrap(ramp, mesh(scale))
    where = template().source_map(mesh(scale))
    inside = template().inside
    np.testing.assert_allclose(got[..., :2][inside], where[inside], atol=0.05)
    expected = (30 * where[..., 0] + 20 * where[..., 1]) / scale + 10
    np.testing.assert_allclose(got[..., 2][inside], expected[inside], atol=0.05)
    one = template().unwrap(ramp[..., 2], mesh(scale))
    np.testing.assert_allclose(one[inside], got[..., 2][inside], atol=1e-3)


def test_large_frames_are_sampled_without_aliasing() -> None:
    """A checkerboard of single pixels, twice as fine as the template can hold, becomes grey and not noise."""
    y, x = np.mgrid[0:3450, 0:3150]
    board = (255.0 * ((x + y) % 2)).astype(np.float32)
    assert template().unwrap(board, mesh(1500))[template().inside].std() < 10


def turned(degrees: float, scale: float = 200) -> np.ndarray:
    """The mean face turned about the vertical axis, positive = its own left side comes forward."""
    a = np.radians(degrees)
    turn = np.float32([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    return ((model().mean @ turn.T) * np.float32([1, -1, -1]) * scale + np.float32([300, 300, 0])).astype(np.float32)


def test_visible_texels_of_a_frontal_face() -> None:
    t, middle = template(), np.zeros_like(template().inside)
    middle[60:200, 75:181] = True
    front = t.visible(mesh())
    assert not (front & ~t.inside).any()
    assert front[middle & t.inside].mean() > 0.97
    assert (t.visible(mesh(60)) == t.visible(mesh(500)))[t.inside].mean() > 0.97


@pytest.mark.parametrize("degrees", [-40, 40])
def test_visible_texels_of_a_turned_face(degrees: int) -> None:
    """The far cheek turns away and the nose hides what lies behind it; the near side stays."""
    t = template()
    seen, front = t.visible(turned(degrees)), t.visible(turned(0))
    left, right = np.s_[60:200, :110], np.s_[60:200, 146:]
    shares = [seen[half][front[half]].mean() for half in (left, right)]
    far, near = (shares[0], shares[1]) if degrees < 0 else (shares[1], shares[0])
    assert far < 0.6 and near > 0.97


def test_a_fold_hides_what_lies_behind_it() -> None:
    """The forehead moved in front of the chin: the chin is hidden, the forehead is seen."""
    m, points = model(), mesh().copy()
    top = m.mean[:, 1] > 0.35
    points[top, 1] += 1.1 * 200
    points[top, 2] -= 300
    t = template()
    hidden = t.visible(mesh()) & ~t.visible(points)
    rows = np.flatnonzero(hidden.any(1))
    assert hidden.sum() > 1000 and rows.mean() > 128


def test_inside_is_the_face_without_eyeballs_mouth_and_skirt() -> None:
    t = template()
    texel = np.clip((model().uv * t.size).astype(int), 0, t.size - 1)
    hit = t.inside[texel[:, 1], texel[:, 0]]
    assert not hit[model().skirt < 0.6].any()
    deep = np.flatnonzero(model().eyeball)
    assert hit[deep].mean() < 0.35  # only lid rims
    mouth = model().uv[model().mouth_loop].mean(0) * t.size
    assert not t.inside[int(mouth[1]), int(mouth[0])] and not t.mesh[int(mouth[1]), int(mouth[0])]
    cheeks_and_brow = texel[[50, 280, 151, 199]]
    assert t.inside[cheeks_and_brow[:, 1], cheeks_and_brow[:, 0]].all()
    assert (t.mesh | ~t.inside).all()


# -- luminance ratios ----------------------------------------------------------------------------------------------


def test_zero_code_changes_nothing() -> None:
    assert (editors().texture.log_ratio(np.zeros(7, np.float32), people()) == 0).all()


@given(st.integers(0, 1000), st.floats(0.01, 50))
@settings(max_examples=25, deadline=None)
def test_ratio_is_softly_limited_and_mixed_by_person(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    directions = (size * rng.normal(size=(3, 7, 8, 8))).astype(np.float32)
    p, e = rng.dirichlet(np.ones(3)), rng.uniform(0, 1, 7)
    got = LinearTextureEditor(directions).log_ratio(e, p)
    raw = sum(p[n] * e[j] * directions[n, j].astype(np.float64) for n in range(3) for j in range(7))
    np.testing.assert_allclose(got, LIMIT * np.tanh(raw / LIMIT), atol=1e-4)
    assert np.abs(got).max() <= LIMIT + 1e-6 <= 0.35 + 1e-5 and got.dtype == np.float32
    small = np.abs(raw) < 0.05
    np.testing.assert_allclose(got[small], raw[small], atol=1e-3)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_shipped_ratios_are_limited_and_stay_on_the_face(emotion: str) -> None:
    ratio = editors().texture.log_ratio(code(emotion, 1.5), people())
    assert 0.1 < np.abs(ratio).max() <= LIMIT
    assert np.abs(ratio[~template().inside]).max() < 0.08  # the mask's soft edge
    assert (ratio[far_from_face(4)] == 0).all()  # eyeballs, mouth and surroundings
    assert far_from_face(4).sum() > 5000
    assert abs(ratio[template().inside].mean()) < 0.05  # wrinkles, not another skin


def test_edit_mask_spares_eyeballs_mouth_and_outline() -> None:
    mask = edit_mask(model(), template())
    assert mask.min() >= 0 and mask.max() <= 1.001
    assert (mask[far_from_face(5)] == 0).all()
    where = (model().uv[:468] * template().size).astype(int)

    def at(*landmarks: int) -> np.ndarray:
        return mask[where[list(landmarks), 1], where[list(landmarks), 0]]

    assert at(10, 152, 234, 454).max() < 0.05  # outline
    assert at(205, 425, 9).min() > 0.8  # cheeks, between the brows
    assert at(159, 386).max() < 0.6  # lids
    assert at(0, 13, 14, 17, 61, 291).max() < 0.05 and at(18, 200).max() < 0.4  # lips, and the chin under them


# -- detail and contrast -------------------------------------------------------------------------------------------


def skin(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(256, 256)).astype(np.float32)
    return np.clip(140 + 250 * cv2.GaussianBlur(noise, (0, 0), 3), 40, 250)


def test_detail_ignores_what_is_masked_out() -> None:
    inside, other = template().inside, skin()
    other[~inside] = np.random.default_rng(1).uniform(0, 255, (~inside).sum())
    np.testing.assert_array_equal(detail_of(other, inside), detail_of(skin(), inside))
    assert (detail_of(skin(), inside)[~inside] == 0).all()


@pytest.mark.parametrize("gain", [0.7, 0.85, 1.02])
def test_detail_hardly_depends_on_brightness(gain: float) -> None:
    inside = template().inside
    a, b = detail_of(skin(), inside), detail_of(gain * skin(), inside)
    assert a[inside].std() > 0.1
    assert np.abs(a - b).max() < 0.07 * np.abs(a).max()
    assert np.corrcoef(a[inside], b[inside])[0, 1] > 0.999


def test_detail_takes_light_from_one_side_out() -> None:
    inside = template().inside
    light = np.linspace(0.6, 1.2, 256, dtype=np.float32)[None]
    a, b = detail_of(skin(), inside)[inside], detail_of(skin() * light, inside)[inside]
    raw = np.log(light * np.ones((256, 1)))[inside]
    assert (a - b).std() < 0.45 * raw.std()
    assert np.corrcoef(a, b)[0, 1] > 0.9


def test_detail_of_an_even_face_is_nothing() -> None:
    assert np.abs(detail_of(np.full((256, 256), 120, np.float32), template().inside)).max() < 1e-3


@given(st.floats(0, 5))
@settings(max_examples=20, deadline=None)
def test_contrast_gain_stays_in_range_and_grows(strength: float) -> None:
    inside = template().inside
    base = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    base = (base - cv2.GaussianBlur(base, (0, 0), 10)) * TYPICAL_CONTRAST
    got = contrast_gain(np.float32(strength) * base, inside)
    assert 0.6 <= got <= 1
    assert got == pytest.approx(np.clip(strength, 0.6, 1), abs=0.03)


# -- who looks like whom -------------------------------------------------------------------------------------------


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_classifier_weights_sum_to_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    got = editors().classifier(editors().classifier.features(rng.normal(size=(256, 256)).astype(np.float32)))
    assert got.shape == (len(editors().people),) and (got >= 0).all()
    assert got.sum() == pytest.approx(1, abs=1e-6)


def test_classifier_is_a_softmax() -> None:
    rng = np.random.default_rng(0)
    c = PersonClassifier(rng.normal(size=(3, 16)).astype(np.float32), np.float32([0, 1, 500]), 4)
    f = rng.normal(size=16).astype(np.float32)
    assert c(f)[2] == pytest.approx(1)  # and no overflow
    c = PersonClassifier(c.weight, np.float32([0, 1, -1]), 4)
    e = np.exp(c.weight @ f + c.bias)
    np.testing.assert_allclose(c(f), e / e.sum(), rtol=1e-4)


def test_features_have_unit_length_and_no_strength() -> None:
    detail = np.random.default_rng(2).normal(size=(256, 256)).astype(np.float32)
    f = editors().classifier.features(detail)
    assert f.shape == (editors().classifier.size ** 2,) and np.linalg.norm(f) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(editors().classifier.features(3 * detail), f, atol=1e-5)
    assert np.isfinite(editors().classifier.features(np.zeros((256, 256), np.float32))).all()


def test_shipped_classifier_knows_its_people() -> None:
    for n, row in enumerate(editors().classifier.weight):
        size = editors().classifier.size
        seen = cv2.resize(row.reshape(size, size), (256, 256), interpolation=cv2.INTER_NEAREST)
        got = editors().classifier(editors().classifier.features(seen))
        assert got.argmax() == n and got[n] > 0.9


def test_training_recognises_new_pictures_of_the_same_people() -> None:
    rng = np.random.default_rng(3)
    faces = {p: cv2.GaussianBlur(rng.normal(size=(256, 256)).astype(np.float32), (0, 0), 12) for p in "ABC"}

    def picture(p: str) -> np.ndarray:
        return faces[p] + 0.01 * cv2.GaussianBlur(rng.normal(size=(256, 256)).astype(np.float32), (0, 0), 6)

    trained = train_classifier([(p, picture(p)) for p in "ABC" for _ in range(8)], ["A", "B", "C"])
    for n, p in enumerate("ABC"):
        assert trained(trained.features(picture(p))).argmax() == n
    stranger = cv2.GaussianBlur(rng.normal(size=(256, 256)).astype(np.float32), (0, 0), 12)
    sure = max(trained(trained.features(picture(p))).max() for p in "ABC")
    assert trained(trained.features(stranger)).max() < sure  # strangers get a mix


# -- the checkpoint ------------------------------------------------------------------------------------------------


def test_checkpoint_round_trip(tmp_path) -> None:
    save_linear(tmp_path / "a.safetensors", editors())
    got = load_linear(tmp_path / "a.safetensors")
    assert got.people == editors().people and got.classifier.size == editors().classifier.size
    for part, name in (("geometry", "directions"), ("geometry", "openings"), ("geometry", "speech"),
                       ("texture", "directions"), ("classifier", "weight"), ("classifier", "bias")):  # fmt: skip
        np.testing.assert_array_equal(getattr(getattr(got, part), name), getattr(getattr(editors(), part), name))


def test_damaged_checkpoints_are_refused(tmp_path) -> None:
    whole = resources.find("checkpoints", "linear_editor.safetensors").read_bytes()
    for name, data in (("empty", b""), ("cut", whole[:100_000]), ("noise", bytes(range(256)) * 8)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=name):
            load_linear(tmp_path / name)
    with pytest.raises(InputError):
        load_linear(resources.find("bfm", "open_face.safetensors"))
    with pytest.raises(InputError):
        load_linear(tmp_path / "missing")
