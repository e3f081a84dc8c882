"""The texture GAN's networks and its editor, on tiny nets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from talkedit import resources
from talkedit.demo.speaker import Speaker, make_script
from talkedit.editor import ClipEditor
from talkedit.emotions import EMOTIONS, Timeline
from talkedit.errors import InputError
from talkedit.options import EditOptions
from talkedit.report import StageClock
from talkedit.texture.editor import LIMIT, PersonClassifier
from talkedit.texture.encoder import Encoder, face_channels
from talkedit.texture.gan import Directions, Look, TextureGan, load_texture_gan, save_texture_gan
from talkedit.texture.refine import MeanTexture, refine
from talkedit.texture.stylegan import (
    Discriminator,
    Generator,
    ModulatedConv,
    Synthesis,
    W,
    budget,
    codes_of,
    follow_average,
    path_lengths,
    path_penalty,
    r1_penalty,
    resolutions,
    spread,
)
from talkedit.types import Frame

TINY = {r: 8 for r in resolutions(32)}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_modulated_convolution_is_a_convolution_with_each_samples_own_weights():
    layer = ModulatedConv(3, 5)
    x, w = torch.randn(2, 3, 6, 6), torch.randn(2, W)
    for b in range(2):
        style = w[b] @ (layer.affine.weight * layer.affine.gain).T + layer.affine.bias
        weight = layer.weight * layer.gain * style[None, :, None, None]
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        wanted = torch.nn.functional.conv2d(x[b : b + 1], weight, padding=1)
        assert torch.allclose(layer(x, w)[b : b + 1], wanted, atol=1e-5)


def test_demodulation_gives_unit_variance_whatever_the_style():
    layer = ModulatedConv(64, 64)
    x = torch.randn(4, 64, 32, 32)
    y = layer(x, 5 * torch.randn(4, W))[..., 1:-1, 1:-1]
    assert y.var().item() == pytest.approx(1, abs=0.1)
    assert ModulatedConv(64, 64, demodulate=False)(x, 5 * torch.randn(4, W)).var() > 4


def test_w_plus_shapes():
    assert (codes_of(256), codes_of(512)) == (14, 16)
    assert budget(512)[4] == 512 and budget(512)[512] == 32
    for size in (256, 512):
        net = Synthesis({r: 8 for r in resolutions(size)})
        assert net(torch.zeros(1, codes_of(size), W)).shape == (1, 3, size, size)
        assert Encoder(size, 8)(torch.zeros(1, 3, 64, 64), torch.ones(1, 1, 64, 64), torch.ones(1)).shape == (
            1, codes_of(size), W,
        )  # fmt: skip


def test_every_code_reaches_the_texture_and_stages_end_early():
    net = Synthesis(TINY)
    codes = torch.randn(1, net.codes, W, requires_grad=True)
    net(codes).square().sum().backward()
    assert (codes.grad.abs().sum((0, 2)) > 0).all()
    assert net(codes, 8).shape == (1, 3, 8, 8)


def test_noise_is_drawn_and_left_out():
    net = Synthesis(TINY)
    for block in net.blocks:
        for layer in block.layers:
            layer.strength.data.fill_(1.0)
    codes = torch.randn(1, net.codes, W)
    assert torch.equal(net(codes), net(codes))
    noisy = net(codes, noise=torch.Generator().manual_seed(0))
    assert not torch.allclose(noisy, net(codes))
    assert torch.equal(noisy, net(codes, noise=torch.Generator().manual_seed(0)))


def test_mixing_takes_later_codes_from_the_other():
    g = Generator(TINY, 2).eval()
    z, other = torch.randn(2, W), torch.randn(2, W)
    codes = g(z, other, 3)[1]
    assert torch.equal(codes[:, :3], g(z)[1][:, :3]) and torch.equal(codes[:, 3:], g(other)[1][:, 3:])


def test_discriminator_ignores_unseen_texels_and_grey_pictures_chroma():
    d = Discriminator(TINY)
    x, seen = torch.randn(4, 3, 32, 32), (torch.rand(4, 1, 32, 32) > 0.5).float()
    colour = torch.tensor([1.0, 1, 0, 0])
    before = d(x, seen, colour)
    hidden = torch.where(seen > 0, x, torch.randn_like(x))
    assert torch.equal(d(hidden, seen, colour), before)
    tinted = x.clone()
    tinted[2:, 1:] += 1
    assert torch.equal(d(tinted, seen, colour), before)
    tinted[:2, 1:] += 1
    assert not torch.allclose(d(tinted, seen, colour)[:2], before[:2])
    assert not torch.allclose(d(x + seen, seen, colour), before)


def test_encoder_ignores_unseen_texels():
    e = Encoder(32, 8)
    x, seen = torch.randn(2, 3, 128, 128), (torch.rand(2, 1, 128, 128) > 0.5).float()
    hidden = torch.where(seen > 0, x, torch.randn_like(x))
    assert torch.allclose(e(x, seen, torch.ones(2)), e(hidden, seen, torch.ones(2)), atol=1e-6)


def test_minibatch_spread():
    x = torch.zeros(4, 2, 3, 3)
    x[1], x[3] = 2.0, 2.0
    assert spread(x)[0].item() == pytest.approx(1.0, abs=1e-3)
    assert spread(torch.ones(4, 2, 3, 3)).max() < 1e-3


def test_r1_by_hand_and_its_gradient_by_finite_differences():
    x = torch.randn(3, 1, 2, 2)
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)

    def penalty(s):
        return r1_penalty(lambda t: (s * t.square()).sum((1, 2, 3)), x.double())

    value = penalty(scale)
    wanted = (2 * 1.5 * x.double()).square().sum((1, 2, 3)).mean()
    assert value.item() == pytest.approx(wanted.item())
    value.backward()
    step = 1e-5
    slope = (penalty(scale.detach() + step) - penalty(scale.detach() - step)) / (2 * step)
    assert scale.grad.item() == pytest.approx(slope.item(), rel=1e-6)


def test_path_length_of_a_linear_map_by_hand_and_its_gradient():
    a = torch.randn(12, 2 * W, dtype=torch.float64)
    codes = torch.randn(3, 2, W, dtype=torch.float64, requires_grad=True)
    noise = torch.randn(3, 3, 2, 2, dtype=torch.float64)
    factor = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def lengths(f):
        return path_lengths((f * codes.flatten(1) @ a.T).reshape(3, 3, 2, 2), codes, noise)

    wanted = (0.7 * noise.flatten(1) @ a / 2).reshape(3, 2, W).square().sum(2).mean(1).sqrt()
    assert torch.allclose(lengths(factor), wanted)
    loss, mean = path_penalty(lengths(factor), torch.tensor(1.0, dtype=torch.float64))
    assert mean.item() == pytest.approx(0.99 + 0.01 * wanted.mean().item())
    assert loss.item() == pytest.approx((wanted - mean).square().mean().item())
    loss.backward()
    step = 1e-6
    high, low = ((lengths(factor.detach() + s) - mean).square().mean().item() for s in (step, -step))
    assert factor.grad.item() == pytest.approx((high - low) / (2 * step), rel=1e-4)


def test_moving_average():
    a, b = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    wanted = 0.9 * a.weight.detach() + 0.1 * b.weight.detach()
    follow_average(a, b, 0.9)
    assert torch.allclose(a.weight, wanted)


# -- the editor


@pytest.fixture
def gan() -> TextureGan:
    rng = np.random.default_rng(0)
    synthesis, encoder = Synthesis(TINY).eval(), Encoder(32, 8).eval()
    values = rng.standard_normal((9, synthesis.codes, W)).astype(np.float32)
    row = np.tile(2 + np.arange(7), (3, 1))
    row[0, 0], row[1, 0] = 0, 1
    classifier = PersonClassifier(rng.standard_normal((3, 64)).astype(np.float32), np.zeros(3, np.float32), 8)
    mask = np.zeros((32, 32), np.float32)
    mask[8:24, 8:24] = 1
    rest = np.zeros((7, 32, 32), np.float32)
    flat = np.arange(7) == 5
    return TextureGan(encoder, synthesis, Directions(values, row), classifier, ("a", "b", "c"), mask, flat, rest)


def test_directions_are_mixed_by_weight(gan):
    v = gan.directions.values
    mixed = gan.directions.mixed(0, np.array([0.5, 0.3, 0.2]))
    assert np.allclose(mixed, 0.5 * v[0] + 0.3 * v[1] + 0.2 * v[2], atol=1e-6)  # the third person has the pooled one
    assert np.allclose(gan.directions.mixed(4, np.array([0.5, 0.3, 0.2])), v[6], atol=1e-6)


def test_zero_strength_changes_nothing_and_the_mask_holds(gan):
    speaker = gan.of([Look(np.zeros((gan.synthesis.codes, W), np.float32), np.ones(64, np.float32))])
    assert not speaker.log_ratio(np.zeros(7, np.float32)).any()
    ratio = speaker.log_ratio(np.eye(7, dtype=np.float32)[0])
    assert ratio.any() and np.abs(ratio).max() <= LIMIT
    assert not ratio[gan.mask == 0].any()


def test_change_is_that_of_the_generator_and_interpolated_between_intensities(gan):
    codes = np.random.default_rng(1).standard_normal((gan.synthesis.codes, W)).astype(np.float32)
    speaker = gan.of([Look(codes, np.ones(64, np.float32))])
    move = gan.directions.mixed(0, speaker.people)

    def exact(amount: float) -> np.ndarray:
        with torch.inference_mode():
            pair = gan.synthesis(torch.from_numpy(np.stack([codes + np.float32(amount) * move, codes])))[:, 0].numpy()
        return LIMIT * np.tanh(gan.shaped(pair[0] - pair[1], 0) / LIMIT)

    half, full = (speaker.log_ratio(np.eye(7, dtype=np.float32)[0] * a) for a in (0.5, 1.0))
    assert np.allclose(half, exact(0.5), atol=1e-4) and np.allclose(full, exact(1.0), atol=1e-4)
    between = np.arctanh(speaker.log_ratio(np.eye(7, dtype=np.float32)[0] * 0.6) / LIMIT * 0.9999)
    low, high = (
        np.arctanh(speaker.log_ratio(np.eye(7, dtype=np.float32)[0] * a) / LIMIT * 0.9999) for a in (0.5, 0.75)
    )
    assert np.allclose(between, 0.6 * low + 0.4 * high, atol=2e-2)


def test_without_classifier_people_weigh_alike(gan):
    looks = [Look(np.zeros((gan.synthesis.codes, W), np.float32), np.ones(64, np.float32))]
    assert np.allclose(gan.of(looks, classify=False).people, 1 / 3)
    assert not np.allclose(gan.of(looks).people, 1 / 3, atol=1e-3)


def test_refined_codes_lie_closer_to_what_was_seen_and_only_that_counts(gan):
    draw = torch.Generator().manual_seed(4)
    start, wanted = (torch.randn(1, gan.synthesis.codes, W, generator=draw) for _ in range(2))
    seen = torch.ones(1, 1, 32, 32)
    seen[..., :8] = 0
    real = gan.synthesis(wanted) * seen
    hidden = torch.where(seen > 0, real, torch.randn_like(real))
    a, b = (refine(gan.synthesis, start, x, seen, torch.ones(1), steps=20) for x in (real, hidden))
    assert torch.allclose(a, b, atol=1e-4)

    def wrong(codes):
        return ((gan.synthesis(codes) - real) * seen).abs().mean().item()

    assert wrong(a) < 0.7 * wrong(start)
    assert torch.equal(refine(gan.synthesis, start, real, seen, torch.ones(1), steps=0), start)


def test_the_mean_texture_is_of_what_was_seen_of_each_frame(gan):
    rng, view = np.random.default_rng(0), MeanTexture()
    code = np.zeros((gan.synthesis.codes, W), np.float32)
    assert view.refined(gan.synthesis, code, 5) is code  # nothing was seen
    texture = rng.integers(60, 200, (32, 32, 3)).astype(np.float32)
    halves = np.zeros((2, 32, 32), bool)
    halves[0, :, :20], halves[1, :, 12:] = True, True
    for seen in halves:
        view.add(texture, seen)
    found = view.refined(gan.synthesis, code, 5)
    mean = sum(face_channels(texture, s) * s for s in halves) / np.maximum(halves.sum(0), 1)
    parts = [torch.from_numpy(np.float32(a))[None] for a in (code, mean, halves.mean(0)[None])]
    wanted = refine(gan.synthesis, *parts, torch.ones(1), steps=5)[0].numpy()
    assert np.allclose(found, wanted, atol=1e-6) and not np.allclose(found, code)


def test_channels_of_a_face():
    texture = np.full((64, 64, 3), (120.0, 100, 80), np.float32)
    seen = np.ones((64, 64), bool)
    seen[:8] = False
    texture[20:24, 20:40] *= 0.7  # a darker fold of the same colour
    channels = face_channels(texture, seen)
    assert channels.shape == (3, 64, 64) and not channels[:, :8].any()
    assert channels[0, 22, 30] < -0.2
    assert np.abs(face_channels(1.0 * texture[..., ::-1], seen)[0]).max() < 1
    assert np.abs(channels[1:, 10:]).max() < 0.05
    assert not face_channels(texture, np.zeros_like(seen)).any()


def test_file_round_trip_and_bad_files(tmp_path, gan):
    path = tmp_path / "texture_gan.safetensors"
    save_texture_gan(path, gan, {"recipe": "test"})
    back = load_texture_gan(path)
    assert back.people == gan.people and (back.directions.row == gan.directions.row).all()
    codes = np.random.default_rng(2).standard_normal((1, gan.synthesis.codes, W)).astype(np.float32)
    assert np.allclose(back.detail(codes), gan.detail(codes), atol=0.05)
    with pytest.raises(InputError):
        load_texture_gan(tmp_path / "missing.safetensors")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError):
        load_texture_gan(path)
    assert len(EMOTIONS) == back.remainder.shape[0]


# -- what ships


@pytest.fixture(scope="module")
def shipped() -> TextureGan:
    return load_texture_gan(resources.find("checkpoints", "texture_gan.safetensors"))


@pytest.fixture(scope="module")
def demo() -> list[Frame]:
    speaker, script = Speaker(seed=0, size=256, oversample=1), make_script(0)
    return [Frame(i, speaker.picture(script, 20 + i), i) for i in range(3)]


def learn(frames: list[Frame], **options) -> ClipEditor:
    editor = ClipEditor(EditOptions(texture="tgan", **options), StageClock())
    for frame in frames:
        editor.observe(frame)
    editor.solve()
    return editor


def test_shipped_weights_have_the_papers_layout(shipped):
    assert shipped.synthesis.size == 256 and shipped.directions.values.shape[1:] == (14, W)
    assert not shipped.remainder[:, shipped.mask == 0].any()
    assert resources.find("checkpoints", "texture_gan.safetensors").stat().st_size <= 16e6


@pytest.mark.parametrize("only", [None, "texture"])
def test_shipped_weights_edit_and_leave_the_background(demo, only):
    editor, frame = learn(demo, only=only), demo[1]
    assert editor.edit(frame, Timeline.constant("happy", 0.0)) is frame.rgb
    edited = editor.edit(frame, Timeline.constant("angry", 1.0))
    changed = np.abs(edited.astype(int) - frame.rgb).max(2) > 0
    assert changed.mean() > 0.02
    assert not changed[:20].any() and not changed[:, :20].any() and not changed[:, -20:].any()
    again = learn(demo, only=only).edit(frame, Timeline.constant("angry", 1.0))
    np.testing.assert_array_equal(again, edited)


def test_ablation_weighs_people_alike(demo):
    with_it, without = learn(demo, only="texture"), learn(demo, only="texture", classifier=False)
    weights = [next(iter(e._speakers.values())).texture.people for e in (with_it, without)]
    assert np.allclose(weights[1], 1 / len(weights[1])) and not np.allclose(weights[0], weights[1])
    a, b = (e.edit(demo[1], Timeline.constant("happy", 1.0)) for e in (with_it, without))
    assert not np.array_equal(a, b)


def test_refinement_moves_the_code_the_same_way_every_time(demo):
    plain, first, second = (learn(demo[:1], only="texture", refine=n) for n in (0, 2, 2))
    codes = [next(iter(e._speakers.values())).texture.code for e in (plain, first, second)]
    assert np.array_equal(codes[1], codes[2]) and not np.array_equal(codes[0], codes[1])
    happy = Timeline.constant("happy", 1.0)
    np.testing.assert_array_equal(first.edit(demo[0], happy), second.edit(demo[0], happy))
    with pytest.raises(InputError, match="tgan"):
        EditOptions(texture="linear", refine=40)
    for steps in (-1, 100_000):
        with pytest.raises(InputError, match="steps"):
            EditOptions(texture="tgan", refine=steps)


def test_interpolated_intensities_cannot_be_told_from_exact_ones(shipped):
    code = shipped.encoder.mean.numpy()
    speaker = shipped.of([Look(code, np.ones(shipped.classifier.size**2, np.float32))])
    for j in range(len(EMOTIONS)):
        asked = 0.6 * np.eye(7, dtype=np.float32)[j]
        moved = code + 0.6 * shipped.directions.mixed(j, speaker.people)
        change = shipped.shaped(shipped.detail(moved[None])[0] - shipped.detail(code[None])[0], j)
        exact = LIMIT * np.tanh((change + 0.6 * shipped.remainder[j]) / LIMIT)
        picture = [128 * np.exp(r) for r in (exact, speaker.log_ratio(asked))]
        assert 10 * np.log10(255**2 / ((picture[0] - picture[1]) ** 2).mean()) >= 40


def test_missing_weights_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "folders", lambda kind: [tmp_path] if kind == "checkpoints" else [tmp_path.parent])
    with pytest.raises(InputError):
        ClipEditor(EditOptions(texture="tgan"), StageClock())
    with pytest.raises(InputError, match="texture must be one of"):
        EditOptions(texture="oil")
