"""The picture reader, and directions turned towards what it reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from talkedit import resources
from talkedit.editor import load_face_model
from talkedit.emotions import EMOTIONS
from talkedit.errors import InputError
from talkedit.facemodel.camera import CAMERA, screen_points_numpy
from talkedit.facemodel.model import FaceModel
from talkedit.geometry.gan import EXP, TARGETS
from talkedit.reconstruct.coefficients import LAYOUT
from talkedit.texture.gan import SpeakerTexture, TextureGan, load_texture_gan
from talkedit.track.topology import LIP_PAIRS
from talkedit.train import guide_texture
from talkedit.train.crops import Crops
from talkedit.train.guide import GUIDED, Guidance, Held, Shown, gains, guided, neutral_faces
from talkedit.train.guide_texture import Shaded, ShadeGuidance, _Changes
from talkedit.train.picture_reader import (
    SIZES,
    Config,
    PictureReader,
    Pictures,
    Reader,
    Run,
    disturbed,
    load_reader,
    look,
    recall,
    save_reader,
    view,
)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model("open")


@pytest.fixture(scope="module")
def faces(model: FaceModel) -> Crops:
    """Four made-up frontal faces: smooth random pictures with the model's mean face over them."""
    rng = np.random.default_rng(0)
    coefficients = np.zeros((4, LAYOUT["translation"].stop), np.float32)
    coefficients[:, LAYOUT["identity"]] = 0.5 * rng.standard_normal((4, 80))
    small = torch.from_numpy(rng.random((4, 3, 14, 14), np.float32))
    images = torch.nn.functional.interpolate(small, (112, 112), mode="bicubic").clamp(0, 1)
    points = []
    for row in coefficients:
        mesh = model.at_landmarks(model.mean) + model.at_landmarks(model.id_basis) @ row[LAYOUT["identity"]]
        points.append(screen_points_numpy(mesh, row[LAYOUT["angle"]], row[LAYOUT["translation"]])[:, :2])
    return Crops(
        (255 * images.movedim(1, 3)).numpy().astype(np.uint8), coefficients, np.array(points, np.float32),
        np.array(["a", "b", "c", "c"]), np.array(["london", "faces_open", "faces_open", "mead"]), np.ones(4, bool),
    )  # fmt: skip


def test_a_view_shows_the_middle_of_a_crop() -> None:
    ramp = torch.linspace(-1, 1, 113)[None, None, None, 1:].expand(1, 1, 112, 112) - 1 / 112
    seen = look(ramp, view(56))
    expected = (torch.arange(56) + 0.5) / 56 * 2 - 1
    torch.testing.assert_close(seen[0, 0, 20], 0.85 * expected, atol=1e-5, rtol=0)


def test_disturbed_pictures_follow_the_seed_and_stay_pictures() -> None:
    grey = torch.rand(6, 1, 112, 112, generator=torch.Generator().manual_seed(1))
    once, again, other = (disturbed(grey, 48, np.random.default_rng(s)) for s in (3, 3, 4))
    assert once.shape == (6, 1, 48, 48) and torch.equal(once, again) and not torch.equal(once, other)
    assert torch.isfinite(once).all() and once.abs().max() < 3


def test_reader_does_not_see_brightness_and_contrast() -> None:
    network = PictureReader().eval()
    grey = torch.rand(3, 1, 48, 48, generator=torch.Generator().manual_seed(0)) * 20  # far above the floor on contrast
    torch.testing.assert_close(network(2 * grey + 5), network(grey), atol=1e-2, rtol=0)


def striped(count: int) -> Pictures:
    """Two emotions that anybody could tell: stripes along, stripes across."""
    rng = np.random.default_rng(2)
    line = 127 + 120 * np.sin(np.arange(112) / 4)
    along = np.repeat(line[None], 112, 0)
    grey = np.stack([(along if i % 2 else along.T) + rng.normal(0, 5, (112, 112)) for i in range(count)])
    return Pictures(grey.clip(0, 255).astype(np.uint8), np.arange(count) % 2, np.array(["x"] * count))


def test_a_reader_learns_continues_and_is_saved(tmp_path: Path) -> None:
    pictures, config = striped(40), Config(batch=8, steps=24, save_every=12, rate=1e-2)
    whole = Run(config, pictures, tmp_path / "whole")
    lines = list(whole.train())
    assert lines[-1]["step"] == 24 and lines[-1]["loss48"] < lines[0]["loss48"]
    halted = Run(config, pictures, tmp_path / "halted")
    next(iter(halted.train()))
    resumed = Run(config, pictures, tmp_path / "halted")
    assert resumed.step == 12
    list(resumed.train())
    for a, b in zip(whole.readers, resumed.readers, strict=True):
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
            torch.testing.assert_close(x, y)
    reader = Reader(whole.readers)
    found = recall(reader, pictures)
    assert set(found) == {TARGETS[0], TARGETS[1]} and np.mean(list(found.values())) > 0.8
    save_reader(tmp_path / "reader.safetensors", reader, {"config": json.dumps({})})
    again = load_reader(tmp_path / "reader.safetensors")
    grey = torch.rand(2, 1, SIZES[-1], SIZES[-1])
    assert torch.equal(reader(grey), again(grey))
    torch.testing.assert_close(again(grey).exp().sum(1), torch.ones(2), atol=0.3, rtol=0)


def test_a_file_that_is_no_reader_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="not a picture reader"):
        load_reader(tmp_path / "x.safetensors")


def test_held_moves_are_linear_and_keep_lips_shut(model: FaceModel) -> None:
    held = Held(model)
    a, b = torch.randn(2, 5, EXP, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(held(a + 2 * b), held(a) + 2 * held(b), atol=1e-4, rtol=1e-4)
    gap = held(a)[:, LIP_PAIRS[:, 0], 1] - held(a)[:, LIP_PAIRS[:, 1], 1]
    assert gap.abs().max() < 1e-4
    torch.testing.assert_close(held.size(3 * a), 3 * held.size(a))


def test_a_face_at_rest_is_shown_as_it_is_and_a_shift_shifts_it(model: FaceModel, faces: Crops) -> None:
    shown = Shown(faces, model)
    rows = torch.arange(len(shown))
    still = shown(rows, torch.zeros(4, 468, 3))
    grey = torch.from_numpy(faces.images.mean(-1).astype(np.uint8))[:, None].float() / 255
    torch.testing.assert_close(still, look(grey, view(SIZES[-1]).expand(4, -1, -1, -1)), atol=1e-4, rtol=0)
    moved = torch.zeros(4, 468, 3)
    pixel = 2 * 0.85 * CAMERA.distance / CAMERA.focal * CAMERA.size / 2 / SIZES[-1]  # of the picture, in model units
    moved[:, :, 0] = 2 * pixel
    middle = shown(rows, moved)[:, :, 24:32, 24:32]
    torch.testing.assert_close(middle, still[:, :, 24:32, 22:30], atol=0.03, rtol=0)


def test_gradients_of_shown_pictures(model: FaceModel, faces: Crops) -> None:
    shown, rows = Shown(faces, model), torch.tensor([1])
    draw = torch.Generator().manual_seed(4)
    delta = (0.01 * torch.randn(1, 468, 3, generator=draw)).requires_grad_(True)
    weights = torch.randn(1, 1, 56, 56, generator=draw)
    (slope,) = torch.autograd.grad((shown(rows, delta) * weights).sum(), delta)
    told, found = [], []
    for _ in range(12):
        way = torch.randn(1, 468, 3, generator=draw)
        with torch.no_grad():
            ends = [(shown(rows, delta + s * 2e-4 * way).double() * weights).sum() for s in (1, -1)]
        told.append(float((slope * way).sum()))
        found.append(float(ends[0] - ends[1]) / 4e-4)
    # Between the picture's pixels the slope has steps, so single differences are a little off.
    assert np.corrcoef(told, found)[0, 1] > 0.98 and 0.9 < np.polyfit(told, found, 1)[0] < 1.1


def test_neutral_faces_leaves_people_out(faces: Crops) -> None:
    emotions = np.array(["neutral", "neutral", "neutral", "happy"])
    chosen = neutral_faces(faces, emotions, np.array([False, False, True, False]), 5)
    assert chosen.people.tolist() == ["a", "b"]


class BrightLow(torch.nn.Module):
    """A reader for which faces are sad whose lower left is brighter than their upper right."""

    def forward(self, grey: torch.Tensor) -> torch.Tensor:
        score = 20 * (grey[:, 0, 28:, :28] - grey[:, 0, :28, 28:]).mean((1, 2))
        logits = torch.zeros(len(grey), len(TARGETS))
        logits[:, EMOTIONS.index("sad")] = score
        logits[:, EMOTIONS.index("angry")] = -score
        return logits.log_softmax(1)


def test_guided_directions_read_better_at_the_same_length_on_both_sides_alike(model: FaceModel, faces: Crops) -> None:
    rng = np.random.default_rng(7)
    directions = rng.standard_normal((7, EXP)).astype(np.float32)
    shown, held = Shown(faces, model), Held(model)
    turned = guided(directions, np.eye(EXP, dtype=np.float32), BrightLow(), shown, model, Guidance(30, 8, 0.05, 1e-4))
    np.testing.assert_allclose(held.size(torch.from_numpy(turned)), held.size(torch.from_numpy(directions)), rtol=1e-4)
    kept = [i for i, e in enumerate(EMOTIONS) if e not in GUIDED]
    np.testing.assert_allclose(turned[kept], directions[kept], rtol=1e-5)
    before, after = (gains(d, BrightLow(), shown, model) for d in (directions, turned))
    assert all(after[e] > before[e] for e in GUIDED)
    from talkedit.train.reconstruction import Mirror

    for e in GUIDED:  # what was added, but for the change of length, is its own mirror image
        i = EMOTIONS.index(e)
        one, two = torch.from_numpy(directions[i]), torch.from_numpy(turned[i])
        flip = Mirror(model).expression(torch.stack([one, two]))
        odd = held((torch.stack([one, two]) - flip) / 2)
        alike = torch.nn.functional.cosine_similarity(odd[0].flatten(), odd[1].flatten(), 0)
        assert alike > 0.99
    none = guided(directions, np.eye(EXP, dtype=np.float32), BrightLow(), shown, model, Guidance(0))
    np.testing.assert_allclose(none, directions, rtol=1e-5)


@pytest.fixture(scope="module")
def texture_gan() -> TextureGan:
    return load_texture_gan(resources.find("checkpoints", "texture_gan.safetensors"))


def test_shaded_pictures_follow_the_change(model: FaceModel, faces: Crops, texture_gan: TextureGan) -> None:
    shaded, rows = Shaded(faces, model), torch.arange(4)
    still = shaded(rows, torch.zeros(256, 256))
    grey = torch.from_numpy(faces.images.mean(-1).astype(np.uint8))[:, None].float() / 255
    torch.testing.assert_close(still, look(grey, view(SIZES[-1]).expand(4, -1, -1, -1)))
    lit = shaded(rows, torch.full((256, 256), 0.2)) / still.clamp(min=1e-6)
    torch.testing.assert_close(lit[:, :, 26:30, 26:30], torch.full((4, 1, 4, 4), float(np.exp(0.2))), rtol=1e-4, atol=0)
    assert torch.equal(lit[:, :, 0, 0].round(decimals=4), torch.ones(4, 1))  # the corner shows no face


def test_differentiable_change_is_the_editors(texture_gan: TextureGan) -> None:
    code = texture_gan.encoder.mean.numpy()
    changes = _Changes(texture_gan, np.stack([code, code]))
    people = np.full(len(texture_gan.people), 1 / len(texture_gan.people), np.float32)
    speaker = SpeakerTexture(texture_gan, code, people)
    for j in (0, 4):
        expected = speaker.log_ratio(np.eye(len(EMOTIONS), dtype=np.float32)[j])
        with torch.no_grad():
            found = changes(torch.from_numpy(code), j, torch.zeros(code.shape)).numpy()
        assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_guided_shading_reads_better_at_the_wanted_strength(
    model: FaceModel, faces: Crops, texture_gan: TextureGan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guide_texture, "EXTENT", {"sad": 0.8})
    codes, shaded = texture_gan.encoder.mean.numpy()[None], Shaded(faces, model)
    settings = ShadeGuidance(rounds=4, batch=4, rate=0.05, keep=0.0)
    out = guide_texture.guided(texture_gan, codes, UpperDarker(), shaded, settings)
    j, zero = EMOTIONS.index("sad"), torch.zeros(codes.shape[1:])
    before, after = (_Changes(g, codes).strength(j, zero) for g in (texture_gan, out))
    assert float(after / before) == pytest.approx(0.8, rel=0.02)
    weak = guide_texture.guided(texture_gan, codes, UpperDarker(), shaded, ShadeGuidance(rounds=0))
    told = [guide_texture.gains(g, codes, UpperDarker(), shaded)["sad"] for g in (weak, out)]
    assert told[1] > told[0]
    kept = np.setdiff1d(np.arange(len(out.directions.values)), texture_gan.directions.row[:, j])
    np.testing.assert_array_equal(out.directions.values[kept], texture_gan.directions.values[kept])


class UpperDarker(torch.nn.Module):
    """A reader for which faces are sad whose upper half is darker than the lower one."""

    def forward(self, grey: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(grey), len(TARGETS))
        logits[:, EMOTIONS.index("sad")] = 50 * (grey[:, 0, 28:] - grey[:, 0, :28]).mean((1, 2))
        return logits.log_softmax(1)
