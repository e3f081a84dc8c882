"""Training of the texture editor, on synthetic textures of a few texels."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from talkedit.data.manifest import NAME, Row, manifest_text
from talkedit.emotions import EMOTIONS, NEUTRAL
from talkedit.errors import InputError
from talkedit.facemodel.load import load_face_model
from talkedit.texture import losses
from talkedit.texture.encoder import Encoder
from talkedit.texture.gan import load_texture_gan
from talkedit.texture.stylegan import Generator, Synthesis, resolutions
from talkedit.train import texture
from talkedit.train.autoencoder import AutoencoderConfig, AutoencoderRun
from talkedit.train.directions import directions
from talkedit.train.encoder import EncoderConfig, EncoderRun
from talkedit.train.linear import Group
from talkedit.train.texture_batches import TextureSampler
from talkedit.train.textures import Textures, prepared_textures
from talkedit.train.tgan import GanConfig, GanRun, augment

SIZE = 32
SMALL = AutoencoderConfig(
    size=SIZE, most=8, base=64, width=8, components=16, batch=4, coarse=2, middle=1, fine=1, adversary=2, save_every=3
)


def some_textures(count: int = 12) -> Textures:
    rng = np.random.default_rng(0)
    people = np.array([f"p{i // 4}" for i in range(count)])
    emotions = np.array([("neutral", "happy", "contempt", "neutral")[i % 4] for i in range(count)])
    return Textures(
        rng.integers(-100, 100, (count, SIZE, SIZE)).astype(np.int8),
        rng.integers(-50, 50, (count, 2, SIZE // 4, SIZE // 4)).astype(np.int8),
        np.packbits(rng.random((count, SIZE, SIZE)) < 0.9, axis=2),
        np.zeros((count, 468, 3), np.float32),
        np.zeros((count, 2), np.float32),
        people,
        emotions,
        np.array(["mead", "london"] * (count // 2)),
        np.arange(count) % 4 > 0,
    )


def same(a: dict, b: dict) -> bool:
    return all(torch.equal(v, b[k]) for k, v in a.items())


def test_batches_hold_pairs_of_one_person_and_mirror_all_but_contempt():
    draw = TextureSampler(some_textures(), 16)
    first, again = (draw(8, SIZE, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first.channels, again.channels)
    assert first.channels.shape == (8, 3, SIZE, SIZE) and first.small.shape == (8, 3, 16, 16)
    assert first.paired.min() == 1
    assert not first.channels[first.colour == 0][:, 1:].any()
    assert not (first.channels * (first.seen == 0)).any()
    with pytest.raises(InputError):
        TextureSampler(some_textures().where(np.zeros(12, bool)), 16)


def test_losses_ignore_what_was_not_seen_and_pairs_measure_the_change():
    real, weight = torch.randn(4, 3, 16, 16), (torch.rand(4, 1, 16, 16) > 0.5).float()
    made = torch.where(weight > 0, real, torch.randn_like(real))
    assert losses.pixel_loss(made, real, weight, torch.ones(4)).item() < 1e-6
    assert losses.gradient_loss(made, real, weight).item() < 1e-6
    shifted = real + torch.randn(2, 3, 16, 16).repeat_interleave(2, 0)  # the same mistake in both: the change is right
    assert losses.pair_loss(shifted, real, weight, torch.ones(2)).item() < 1e-6
    assert losses.pair_loss(real.flip(0), real, weight, torch.ones(2)).item() > 0.1
    assert losses.pair_loss(real.flip(0), real, weight, torch.zeros(2)).item() == 0
    tinted = real.clone()
    tinted[:, 1:] += 1
    assert losses.pixel_loss(tinted, real, weight, torch.zeros(4)).item() < 1e-6


def test_augmentation_is_the_same_for_the_same_draw_and_off_at_zero():
    x = torch.randn(4, 3, 8, 8)
    assert torch.equal(augment(x, 0.0, torch.Generator().manual_seed(1)), x)
    a, b = (augment(x, 1.0, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(a, b) and not torch.allclose(a, x)


def run_of(kind: str, folder, **changes):
    data = some_textures()
    if kind == "autoencoder":
        return AutoencoderRun(SMALL, data, np.ones((SIZE, SIZE)), folder)
    if kind == "gan":
        config = GanConfig(size=SIZE, most=8, base=64, layers=2, batch=4, steps=4, tune_steps=2, save_every=3)
        return GanRun(config, data, data, folder, **changes)
    generator = Synthesis({r: 8 for r in resolutions(SIZE)})
    generator.load_state_dict({k: torch.ones_like(v) * 0.1 for k, v in generator.state_dict().items()})
    config = EncoderConfig(width=8, batch=4, steps=6, save_every=3)
    return EncoderRun(config, generator, data, np.ones((SIZE, SIZE)), folder, **changes)


@pytest.mark.parametrize("kind", ["autoencoder", "gan", "encoder"])
def test_resumed_run_equals_an_uninterrupted_one(tmp_path, kind):
    whole = run_of(kind, tmp_path / "a")
    lines = list(whole.train())
    assert len(lines) == 2 and all(np.isfinite(list(line.values())).all() for line in lines)
    next(run_of(kind, tmp_path / "b").train())
    again = run_of(kind, tmp_path / "b")
    assert again.step == 3
    list(again.train())
    ours, theirs = whole.state(), again.state()
    for name, value in ours.items():
        if isinstance(value, dict) and name not in ("optimiser", "optimisers"):
            assert same(value, theirs[name]), name


def test_a_gan_begins_with_the_generator_it_is_given(tmp_path):
    start = Generator({r: 8 for r in resolutions(SIZE)}, 2, published=True)
    wanted = {k: v.clone() for k, v in start.state_dict().items()}
    run = run_of("gan", tmp_path, start=start)
    assert same(wanted, run.average.state_dict()) and run.average.synthesis.published
    list(run.train())
    assert not same(wanted, run.average.state_dict())


def test_discriminator_and_generator_of_the_autoencoder_move(tmp_path):
    run = run_of("autoencoder", tmp_path)
    before = {k: v.clone() for k, v in run.state()["critic"].items()}
    list(run.train())
    assert not same(before, run.state()["critic"])


def test_perceptual_loss_is_pluggable(tmp_path):
    run = run_of("encoder", tmp_path, perceptual=lambda made, real: (made - real).square().mean())
    assert "perceptual" in run.one_step()


def test_bad_settings():
    for wrong in ({"size": 100}, {"batch": 6}):
        with pytest.raises(InputError):
            AutoencoderConfig(**wrong)
        with pytest.raises(InputError):
            GanConfig(**wrong)


def test_directions_are_mean_emotional_less_mean_neutral_shrunk_to_the_pooled():
    rng = np.random.default_rng(0)
    shape = (6, 512)
    own = {p: {e: rng.standard_normal(shape) for e in EMOTIONS} for p in ("M1", "M2")}
    base = {p: rng.standard_normal(shape) for p in own}
    groups = {}
    for p in own:
        for e in (NEUTRAL, *EMOTIONS):
            groups[p, e] = Group()
            for k in range(16):
                strength = 0.0 if e == NEUTRAL else 1.0 if k >= 8 else 0.2  # half the frames are weak
                code = base[p] + strength * own[p].get(e, np.zeros(shape))
                # Neither depends on the head's turn.
                points = np.full((468, 3), strength * (1 + k / 1000), np.float32)
                groups[p, e].add(points, code.astype(np.float32), np.zeros(2, np.float32))
    found, flat = directions(groups, ["M1", "M2"], own=1.0)
    assert flat.all()
    j = EMOTIONS.index("happy")
    d = found.values[found.row[0, j]]
    cosine = (d * own["M1"]["happy"]).sum() / np.linalg.norm(d) / np.linalg.norm(own["M1"]["happy"])
    assert cosine > 0.999
    pooled, _ = directions(groups, ["M1", "M2"], own=0.0)
    assert np.allclose(pooled.values[pooled.row[0, j]], pooled.values[pooled.row[1, j]])
    half, _ = directions(groups, ["M1", "M2"], own=0.5)
    assert np.allclose(half.values[half.row[0, j]], (d + pooled.values[pooled.row[0, j]]) / 2, atol=1e-3)
    del groups["M2", "fear"]
    lacking, _ = directions(groups, ["M1", "M2"], own=0.5)
    assert lacking.row[1, EMOTIONS.index("fear")] == len(lacking.values) - 7 + EMOTIONS.index("fear")


def prepared(folder, people: list[str], emotions: list[str], count: int) -> None:
    """A folder such as ``talkedit prepare`` writes, of random textures."""
    rng, model = np.random.default_rng(0), load_face_model("open")
    landmarks = np.zeros((count, 478, 3), np.float32)
    landmarks[:, :468] = model.at_landmarks(model.mean) * np.float32([100, -100, -100]) + 112
    rows = []
    folder.mkdir()
    for n, (person, emotion) in enumerate((p, e) for p in people for e in emotions):
        noise = rng.standard_normal((count, 468, 3)) * 0.3
        landmarks[:, :468] += noise.astype(np.float32)
        arrays = {
            "frame": np.arange(count, dtype=np.int32), "time": np.zeros(count), "shot": np.zeros(count, np.int32),
            "coefficients": np.zeros((count, 257), np.float32), "crop": np.zeros((count, 3), np.float32),
            "landmarks": landmarks, "mouth": np.zeros((count, 8, 8, 3), np.uint8),
            "mouth_transform": np.zeros((count, 2, 3), np.float32),
            "texture": rng.integers(60, 200, (count, SIZE, SIZE, 3)).astype(np.uint8),
            "visible": np.packbits(np.ones((count, SIZE, SIZE), bool), axis=2),
            "texture_row": np.arange(count, dtype=np.int32),
        }  # fmt: skip
        save_file(arrays, str(folder / f"{n}.safetensors"))
        rows.append(Row(f"{n}.mp4", "train", person, emotion, 3, "front", f"{n}.safetensors", 0, count, 0, count,
                        100.0, 0.0, "0"))  # fmt: skip
    (folder / NAME).write_text(manifest_text(rows))


def test_the_papers_recipe_runs_through_and_its_file_edits(tmp_path):
    prepared(tmp_path / "ffhq", ["1"], [""], 6)
    prepared(tmp_path / "mead", ["M1", "W2"], [NEUTRAL, *EMOTIONS], 3)
    assert len(prepared_textures(tmp_path / "mead", load_face_model("open"))) == 48
    gan = {"size": SIZE, "most": 8, "base": 64, "layers": 1, "batch": 4, "steps": 2, "tune_steps": 1, "save_every": 2}
    (tmp_path / "gan.json").write_text(json.dumps(gan))
    (tmp_path / "encoder.json").write_text(json.dumps({"width": 8, "batch": 4, "steps": 2, "save_every": 2}))
    words = ["--recipe", "paper", "--ffhq", tmp_path / "ffhq", "--mead", tmp_path / "mead", "--run", tmp_path / "run",
             "--config", tmp_path / "gan.json", "--encoder-config", tmp_path / "encoder.json",
             "-o", tmp_path / "out" / "texture_gan.safetensors"]  # fmt: skip
    assert texture.main([str(w) for w in words]) == 0
    editor = load_texture_gan(tmp_path / "out" / "texture_gan.safetensors")
    assert editor.people == ("M1", "W2") and editor.synthesis.size == SIZE
    texture_seen = np.full((64, 64, 3), 120.0, np.float32)
    speaker = editor.of([editor.look(texture_seen, np.ones((64, 64), bool))])
    assert speaker.log_ratio(np.eye(7, dtype=np.float32)[1]).shape == (SIZE, SIZE)
    assert "texture_gan.safetensors" in json.loads((tmp_path / "out" / "manifest.json").read_text())["files"]
    assert (tmp_path / "run" / "tgan" / "samples.png").exists()


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(InputError, match="--data"):
        texture.main(["--run", str(tmp_path)])
    with pytest.raises(InputError, match="--ffhq"):
        texture.main(["--recipe", "paper", "--run", str(tmp_path)])
    from talkedit.train.classifier import load_classifier
    from talkedit.train.directions import networks

    with pytest.raises(InputError):
        networks(tmp_path)
    with pytest.raises(InputError, match="train classifier"):
        load_classifier(tmp_path)
    assert Encoder(SIZE, 8).size == SIZE
