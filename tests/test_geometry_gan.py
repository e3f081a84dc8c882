"""Losses of the geometry GAN by hand and by finite differences, the networks, their training, and the editor."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from talkedit import resources
from talkedit.checkpoint import load_gan, load_linear, save_gan
from talkedit.demo.speaker import Speaker, make_script
from talkedit.editor import ClipEditor
from talkedit.emotions import EMOTIONS, Timeline
from talkedit.errors import InputError
from talkedit.facemodel.load import load_face_model
from talkedit.geometry import losses
from talkedit.geometry.brows import HIGHEST, LEAST, TALLEST, UNFOLDED, BrowHold
from talkedit.geometry.gan import (
    EXP,
    ID,
    TARGETS,
    Discriminator,
    GanGeometryEditor,
    Generator,
    neutral_code,
    speech_projection,
    visible_scale,
)
from talkedit.geometry.holds import Holds
from talkedit.geometry.openings import Openings
from talkedit.geometry.skull import RIGID, SkullHold
from talkedit.options import GEOMETRIES, EditOptions
from talkedit.reconstruct.fit import Fitter
from talkedit.report import StageClock
from talkedit.train.codes import Codes
from talkedit.train.expression_reader import held_expressions, train_reader
from talkedit.train.geometry import (
    FURTHER,
    Config,
    Run,
    Sampler,
    discriminator_terms,
    editor,
    generator_terms,
    with_neutral,
)
from talkedit.train.linear import REACH
from talkedit.train.settings import read_settings
from talkedit.types import Frame

CODE = ID + EXP
rng = np.random.default_rng(0)


def tensor(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def faces(count: int = 2, points: int = 68) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).standard_normal((count, points, 3))).requires_grad_(True)


# ---- Eqs. 6-16


def test_emotion_loss_by_hand():
    assert losses.emotion_loss(tensor([1, 0], [0, 2]), tensor([0, 0], [0, 0])).item() == pytest.approx((1 + 4) / 2)


def test_critic_and_adversarial_loss_by_hand():
    real, fake = tensor(3, 1), tensor(-1, 2)
    assert losses.critic_loss(real, fake).item() == pytest.approx(0.5 - 2)
    assert losses.adversarial_loss(fake).item() == pytest.approx(-0.5)


def test_gradient_penalty_by_hand():
    slope = tensor(3, 4)  # a linear critic: its slope is 5 everywhere
    real, fake, mix = torch.ones(4, 2).double(), torch.zeros(4, 2).double(), torch.rand(4, 1).double()
    assert losses.gradient_penalty(lambda s: s @ slope, real, fake, mix).item() == pytest.approx(16)
    assert losses.gradient_penalty(lambda s: s @ slope / 5, real, fake, mix).item() == pytest.approx(0, abs=1e-12)


def test_gradient_penalty_looks_between_the_codes():
    seen = []
    real, fake = torch.full((1, 2), 10.0), torch.zeros(1, 2)
    losses.gradient_penalty(
        lambda s: (seen.append(s.detach()), s.square().sum(1))[1], real, fake, torch.tensor([[0.3]])
    )
    assert torch.allclose(seen[0], torch.full((1, 2), 3.0))


def test_gradient_penalty_teaches_the_critic():
    weight = tensor(3, 4).requires_grad_(True)
    losses.gradient_penalty(lambda s: s @ weight, torch.ones(1, 2).double(), torch.zeros(1, 2).double(),
                            tensor([0.5])).backward()  # fmt: skip
    # d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|
    assert torch.allclose(weight.grad, 8 * tensor(0.6, 0.8))


def test_surface_loss_by_hand():
    a = torch.zeros(1, 2, 3)
    b = torch.tensor([[[1.0, 2, 2], [0, 0, 1]]])
    assert losses.surface_loss(a, b).item() == pytest.approx((9 + 1) / 2)


def test_region_loss_weighs_regions_not_points():
    source, moved = torch.zeros(1, 68, 3), torch.zeros(1, 68, 3)
    moved[0, 27, 0] = 3.0  # one of the nose's nine points
    weights = {"nose": 2.0, "eyes": 5.0}
    assert losses.region_loss(source, moved, weights).item() == pytest.approx(2 * 9 / 9)
    moved[0, 36:48, 1] = 1.0
    assert losses.region_loss(source, moved, weights).item() == pytest.approx(2 + 5)


def test_regions_cover_every_keypoint_once():
    covered = np.concatenate([np.arange(68)[part] for part in losses.REGIONS.values()])
    np.testing.assert_array_equal(np.sort(covered), np.arange(68))


def test_lip_loss_reads_the_two_mid_lines_only():
    source, moved = torch.zeros(1, 68, 3), torch.zeros(1, 68, 3)
    source[0, 51, 1], source[0, 62, 1] = 2.0, 1.0
    moved[0, 51, 1], moved[0, 62, 1] = 1.0, 3.0
    assert losses.lip_loss(source, moved).item() == pytest.approx(abs(4 - 1) + abs(1 - 9))
    moved[:] = source + 5.0  # the whole mouth moves
    moved[0, 60] += 1.0  # and a corner
    assert losses.lip_loss(source, moved).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(
    "loss", [losses.surface_loss, losses.region_loss, losses.lip_loss, losses.emotion_loss], ids=lambda f: f.__name__
)
def test_gradients_match_finite_differences(loss):
    if loss is losses.emotion_loss:
        a, b = (torch.randn(3, 7, dtype=torch.float64, requires_grad=True) for _ in range(2))
    else:
        a, b = faces(), (faces().detach() * 1.3 + 0.1).requires_grad_(True)
    assert torch.autograd.gradcheck(loss, (a, b), eps=1e-6, atol=1e-5)


def test_totals_are_eqs_9_and_16():
    weights = losses.LossWeights(emotion=2, penalty=3, cycle=5, region=7, lip=11, keep=13)
    of = {name: torch.tensor(float(10**i)) for i, name in enumerate(("critic", "emotion", "penalty"))}
    assert losses.discriminator_total(of, weights).item() == 1 + 2 * 10 + 3 * 100
    names = ("adversarial", "emotion", "cycle", "region", "lip", "keep")
    of = {name: torch.tensor(float(10**i)) for i, name in enumerate(names)}
    assert losses.generator_total(of, weights).item() == 1 + 20 + 500 + 7000 + 110_000 + 1_300_000


def test_face_points_are_the_models(model):
    points = losses.FacePoints(model)
    code = rng.standard_normal(CODE).astype(np.float32)
    vertices = model.vertices(code[:ID], code[ID:])
    batch = torch.from_numpy(code[None])
    np.testing.assert_allclose(points.surface(batch)[0], model.at_landmarks(vertices), atol=1e-4)
    np.testing.assert_allclose(points.keypoints(batch)[0], vertices[model.keypoints], atol=1e-4)


# ---- networks


@pytest.fixture(scope="module")
def model():
    return load_face_model("open")


@pytest.fixture(scope="module")
def projection(model) -> np.ndarray:
    mean = model.at_landmarks(model.exp_basis)
    gap = mean[13, 1] - mean[14, 1]
    return speech_projection(gap, gap / (gap @ gap))


@pytest.fixture(scope="module")
def toy(model, projection) -> Codes:
    """Two people and a crowd in whose faces each emotion is one direction of expression space."""
    draw = np.random.default_rng(1)
    directions = np.zeros((8, EXP), np.float32)
    directions[:7] = (draw.standard_normal((7, EXP)) * 0.5) @ projection.T
    people, count = 6, 40
    who, label = np.repeat(np.arange(people), 8 * count), np.tile(np.repeat(np.arange(8), count), people)
    identity = draw.standard_normal((people, ID)) * 0.5
    amount = np.where(label < 7, draw.uniform(0.3, 1, len(label)), 0).astype(np.float32)
    expression = directions[label] * amount[:, None] + 0.05 * draw.standard_normal((len(label), EXP))
    code = np.concatenate([identity[who], expression], 1).astype(np.float32)
    condition = [code[(who == p) & (label == 7)] for p in range(people)]
    return Codes(
        code, who, label, amount, who // 2, condition, np.zeros((468, 3), np.float32), projection,
        visible_scale(model.id_basis, model.exp_basis), directions, np.ones(8, np.float32), np.zeros(7, np.float32),
        [f"p{i}" for i in range(people)], ["a", "b", "crowd"],
    )  # fmt: skip


@pytest.fixture
def generator(toy) -> Generator:
    torch.manual_seed(0)
    g = Generator(torch.from_numpy(toy.directions), torch.from_numpy(toy.projection), torch.from_numpy(toy.scale), 16)
    torch.nn.init.normal_(g.residual[-1].weight, std=0.05)
    return g


def test_speech_projection_closes_the_lips_along_words():
    gap, words = rng.standard_normal(EXP), rng.standard_normal(EXP)
    p = speech_projection(gap, words)
    beta = rng.standard_normal(EXP)
    assert gap @ (p @ beta) == pytest.approx(0, abs=1e-4)
    np.testing.assert_allclose(p @ words, 0, atol=1e-4)
    np.testing.assert_allclose(p @ p, p, atol=1e-4)
    left = beta - p @ beta  # what is taken out is what words do
    np.testing.assert_allclose(left, words * (left @ words) / (words @ words), atol=1e-4)


def test_visible_scale_follows_the_basis():
    id_basis, exp_basis = np.ones((2, 3, ID)), np.ones((2, 3, EXP))
    exp_basis[..., 5] = 0.5
    scale = visible_scale(id_basis, exp_basis)
    assert scale.shape == (CODE,) and scale[ID + 5] == pytest.approx(0.5) and scale[0] == scale[ID] == 1


def test_generator_is_exact_at_zero_linear_in_the_target_and_keeps_identity(generator, toy):
    code, neutral = torch.from_numpy(toy.code[:5]), torch.from_numpy(toy.code[100:105])
    happy, sad = torch.eye(8)[[0] * 5], torch.eye(8)[[2] * 5]
    assert torch.equal(generator(code, torch.zeros(5, 8), neutral), code)
    with torch.no_grad():
        full = generator(code, happy, neutral) - code
        part = generator(code, 0.3 * happy, neutral) - code
        mixed = generator(code, 0.3 * happy + 0.5 * sad, neutral) - code
        other = generator(code, 0.5 * sad, neutral) - code
    assert not full[:, :ID].any() and full[:, ID:].norm() > 0.1
    assert torch.allclose(part, 0.3 * full, atol=1e-5) and torch.allclose(mixed, part + other, atol=1e-5)


def test_generator_adds_nothing_to_words(generator, toy, model):
    rows = model.at_landmarks(model.exp_basis)
    with torch.no_grad():
        code = torch.from_numpy(toy.code[:3])
        change = (generator(code, torch.eye(8)[:3], code) - code)[:, ID:].numpy()
    moved = np.einsum("lck,nk->nlc", rows, change)
    np.testing.assert_allclose(moved[:, 13, 1], moved[:, 14, 1], atol=1e-4)


def test_condition_matters_and_can_be_left_out(generator, toy):
    code, one, other = (torch.from_numpy(toy.code[i : i + 1]) for i in (0, 30, 900))
    target = torch.eye(8)[:1]
    assert not torch.allclose(generator(code, target, one), generator(code, target, other), atol=1e-4)
    generator.condition.fill_(0)
    assert torch.equal(generator(code, target, one), generator(code, target, other))


def test_discriminator_shapes_and_blindness_to_words(toy):
    d = Discriminator(torch.from_numpy(toy.projection), torch.from_numpy(toy.scale), 16)
    code, neutral = torch.from_numpy(toy.code[:4]), torch.from_numpy(toy.code[10:14])
    score, read = d(code, neutral)
    assert score.shape == (4,) and read.shape == (4, 7)
    spoken = code.clone()
    words = torch.from_numpy(np.linalg.svd(np.eye(EXP) - toy.projection)[0][:, 0].astype(np.float32))
    spoken[:, ID:] += 2 * words
    assert torch.allclose(d(spoken, neutral)[1], read, atol=1e-3)


# ---- training


def test_batches_balance_emotions_and_draw_neutral_codes_of_the_same_person(toy):
    rare = np.r_[np.flatnonzero(toy.label != 0), np.flatnonzero((toy.label == 0) & (toy.person == 0))[:3]]
    few = replace(toy, code=toy.code[rare], person=toy.person[rare], label=toy.label[rare], amount=toy.amount[rare],
                  group=toy.group[rare])  # fmt: skip
    batch = Sampler(few)(4000, np.random.default_rng(0))
    share = (batch.emotion[:, 0] > 0).float().mean().item()
    assert share == pytest.approx(1 / 8, abs=0.03)
    # One disturbance moves a code and its condition, so their identities differ by nothing.
    assert torch.allclose(batch.code[:, :ID], batch.neutral[:, :ID], atol=1e-5)
    assert torch.allclose(batch.target.sum(1), torch.ones(4000))


def test_critic_sees_real_codes_beside_their_own_condition_and_fakes_beside_gs(toy):
    calls = []

    def d(code, neutral):
        calls.append((code, neutral))
        return code[:, 0] * 1.0, code[:, :7]

    draw = Sampler(toy)
    real, source = draw(8, np.random.default_rng(0)), draw(8, np.random.default_rng(1))
    given = []

    def g(code, target, neutral):
        given.append((code, target, neutral))
        return code + 1

    terms = discriminator_terms(d, g, real, source, source.emotion, torch.full((8, 1), 0.5))
    assert set(terms) == {"critic", "emotion", "penalty"}
    assert torch.equal(calls[0][0], real.code) and torch.equal(calls[0][1], real.neutral)
    assert torch.equal(calls[1][0], source.code + 1) and torch.equal(calls[1][1], source.neutral)
    assert torch.equal(calls[2][1], real.neutral)  # Eq. 8 uses the real's condition
    assert torch.equal(given[0][2], source.neutral)
    assert terms["emotion"].item() == pytest.approx(losses.emotion_loss(real.code[:, :7], real.emotion).item())


def test_cycle_asks_for_the_sources_own_emotion(toy, model):
    given = []

    def g(code, target, neutral):
        given.append(target)
        return code

    source = Sampler(toy)(6, np.random.default_rng(0))
    wanted = source.emotion.roll(1, 0)
    d = Discriminator(torch.from_numpy(toy.projection), torch.from_numpy(toy.scale), 8)
    terms = generator_terms(d, g, losses.FacePoints(model), source, wanted)
    assert torch.equal(given[0], with_neutral(wanted)) and torch.equal(given[1], source.target)
    assert all(terms[name].item() == 0 for name in ("cycle", "region", "lip", "keep"))


def test_training_learns_continues_and_repeats(toy, model, tmp_path):
    config = Config(steps=30, batch=64, width=16, critic_steps=2, save_every=10, rate=2e-3)
    whole = Run(config, model, toy, tmp_path / "whole")
    lines = list(whole.train())
    assert [line["step"] for line in lines] == [10, 20, 30]
    assert lines[-1]["d_emotion"] < 0.85 * lines[0]["d_emotion"]
    logged = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    assert logged == lines

    first = Run(config, model, toy, tmp_path / "parts")
    next(first.train())
    second = Run(config, model, toy, tmp_path / "parts")
    assert second.step == 10
    list(second.train())
    for a, b in zip(whole.generator.parameters(), second.generator.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    with pytest.raises(InputError, match="other settings"):
        Run(replace(config, seed=1), model, toy, tmp_path / "parts")


def test_shipped_moves_go_as_much_further_as_stated(toy, model, tmp_path):
    run = Run(Config(steps=1, width=16), model, replace(toy, reach=np.full(8, 1.7, np.float32)), tmp_path)
    reach = editor(run, run.draw._codes, model).reach
    expected = [1.7 * FURTHER[name] for name in EMOTIONS]
    np.testing.assert_allclose(reach[:7], expected, rtol=1e-4)  # untrained, G is the directions themselves
    assert reach[7] == REACH


@pytest.mark.parametrize("bad", ['{"steps": 0}', '{"steps": "many"}', '{"speed": 1}', "nonsense"])
def test_bad_settings_are_refused(tmp_path, bad):
    (tmp_path / "c.json").write_text(bad)
    with pytest.raises(InputError):
        read_settings(Config, tmp_path / "c.json")


def test_reader_tells_emotions_apart_on_other_people(toy):
    old = np.flatnonzero(toy.person < 4)
    taught = replace(toy, code=toy.code[old], person=toy.person[old], label=toy.label[old], amount=toy.amount[old],
                     group=toy.group[old])  # fmt: skip
    read = train_reader(taught)
    new = np.flatnonzero((toy.person >= 4) & ((toy.amount > 0.6) | (toy.label == 7)))
    rest = np.stack([toy.condition[p][:, ID:].mean(0) for p in toy.person[new]])
    odds = read(toy.code[new][:, ID:], rest)
    np.testing.assert_allclose(odds.sum(1), 1, atol=1e-5)
    assert (odds.argmax(1) == toy.label[new]).mean() > 0.8


# ---- the editor and its file


def test_file_reads_back(generator, tmp_path):
    made = GanGeometryEditor(generator.eval(), np.arange(8, dtype=np.float32), np.ones(7, np.float32),
                             np.ones((468, 3), np.float32), np.zeros(CODE, np.float32))  # fmt: skip
    save_gan(tmp_path / "g.safetensors", made, {})
    again = load_gan(tmp_path / "g.safetensors")
    identity, expression = rng.standard_normal(ID), rng.standard_normal(EXP)
    code = np.eye(8)[3]
    a, b = (e.edit(identity, expression, code, np.ones(1)) for e in (made, again))
    np.testing.assert_allclose(a, b, atol=1e-6)
    assert again.opening(np.ones(7), np.ones(1)) == pytest.approx(7)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"not this")
    with pytest.raises(InputError, match="not a geometry GAN file"):
        load_gan(tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="not a geometry GAN file"):
        load_gan(resources.find("checkpoints", "linear_editor.safetensors"))


def test_neutral_code_is_the_quiet_quarter():
    expressions = np.linspace(0.1, 10, 8)[:, None] * np.ones(EXP)
    got = neutral_code(np.arange(ID), expressions)
    np.testing.assert_allclose(got[:ID], np.arange(ID))
    np.testing.assert_allclose(got[ID:], expressions[:2].mean(), rtol=1e-6)


@pytest.fixture(scope="module")
def shipped() -> GanGeometryEditor:
    return load_gan(resources.find("checkpoints", "geometry_gan.safetensors"))


@pytest.fixture(scope="module")
def speaker(shipped) -> tuple[GanGeometryEditor, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(5)
    identity, expression = 0.6 * draw.standard_normal(ID), 0.4 * draw.standard_normal(EXP)
    return shipped.of(np.r_[identity, 0.5 * expression].astype(np.float32)), identity, expression.astype(np.float32)


@pytest.mark.parametrize("target", range(7), ids=EMOTIONS)
def test_shipped_displacement_grows_with_intensity_and_spares_the_skull(model, speaker, target):
    edit, identity, expression = speaker
    rows = model.at_landmarks(model.exp_basis)
    mean = model.at_landmarks(model.mean)
    eye = np.linalg.norm(mean[33] - mean[263])
    sizes = []
    for strength in np.linspace(0, 1, 21):
        moved = rows @ (edit.edit(identity, expression, strength * np.eye(8)[target], np.ones(1)) - expression)
        sizes.append(np.linalg.norm(moved, axis=1).mean())
    steps = np.diff(sizes)
    assert sizes[0] == 0 and (steps > 0).all() and steps.max() < 3 * steps.mean()
    assert sizes[-1] > 0.004 * eye
    held = SkullHold(mean, Openings(mean).distances)(moved)
    assert np.linalg.norm(held[RIGID], axis=1).max() < 0.005 * eye
    assert np.linalg.norm(held, axis=1).mean() > 0.45 * sizes[-1]  # the rest is drift of the whole mesh


def test_cartilage_and_jaw_move_less_than_skin_and_the_rest_is_left_alone(model):
    mean = model.at_landmarks(model.mean)
    hold = SkullHold(mean, Openings(mean).distances)
    left = hold(np.ones((468, 3), np.float32))[:, 0]
    assert left[RIGID].max() == 0
    assert left[[1, 4]].max() <= 0.2 and left[[1, 4]].min() > 0  # the nose's tip
    assert left[[98, 327]].max() <= 0.6 and left[[152, 172, 397]].max() <= 0.4 + 1e-6  # its wings, the jaw
    assert left[[61, 291, 66, 296]].min() > 0.95  # corners of the lips, brows
    assert left[[10, 109, 338]].min() > 0 and left[[10, 109, 338]].max() <= 0.4 + 1e-6  # the hairline
    stretched = np.zeros((468, 3), np.float32)
    stretched[:, 1] = np.minimum(mean[:, 1] - mean[[168, 6], 1].mean(), 0)  # a face that gets longer below the bridge
    below = mean[:, 1] < mean[[1, 4, 5], 1].mean()
    assert np.abs(hold(stretched)[~below]).max() < 0.1 * np.abs(stretched[~below]).max()
    tip, corners = stretched[[1, 4, 5], 1].mean(), [61, 291]
    expected = (stretched[corners, 1] - tip) * left[corners]
    np.testing.assert_allclose(hold(stretched)[corners, 1], expected, rtol=1e-4)


@pytest.mark.parametrize("side", ((70, 63, 105, 66, 107, 46, 53, 52, 65, 55), (300, 293, 334, 296, 336, 276, 283)))
def test_brows_move_in_one_piece(model, side):
    mean = model.at_landmarks(model.mean)
    hold = BrowHold(mean, Openings(mean).distances)
    pulled = np.random.default_rng(1).standard_normal((468, 3)).astype(np.float32)
    once = hold(pulled)
    np.testing.assert_allclose(hold(once)[list(side)], once[list(side)], atol=1e-5)  # nothing more to do
    even = np.full((468, 3), 0.3, np.float32)
    np.testing.assert_allclose(hold(even), even, atol=1e-5)  # a face that moves as a whole
    far = np.setdiff1d(np.arange(468), np.flatnonzero(np.abs(once - pulled).max(1)))
    assert {1, 13, 61, 291, 152, 10, 159, 386} <= set(far.tolist())
    # A brow pulled apart: the edges rise by different amounts, and end up rising by their mean.
    apart = np.zeros((468, 3), np.float32)
    apart[[63, 105, 66, 293, 334, 296], 1], apart[[53, 52, 65, 283, 282, 295], 1] = 1.0, 0.5
    np.testing.assert_allclose(hold(apart)[[105, 52, 334, 282], 1], 0.75, atol=1e-6)


def test_skin_between_the_brows_goes_with_their_inner_ends_and_not_the_other_way(model):
    """Inner ends raised in sadness over skin that sinks would tear the hair between them apart."""
    mean = model.at_landmarks(model.mean)
    torn = np.zeros((468, 3), np.float32)
    torn[[107, 55, 336, 285], 1] = 1.0
    torn[[9, 8, 193, 417, 108, 151, 337], 1] = -0.5
    moved = BrowHold(mean, Openings(mean).distances)(torn)[:, 1]
    assert moved[107] == pytest.approx(1) and moved[168] == 0  # the bridge of the nose is bone
    assert moved[9] == pytest.approx(0.85 - 0.15 * 0.5)
    assert 1 > moved[9] > moved[8] > 0.3 and min(moved[[193, 417]]) > 0.3 and min(moved[[108, 151, 337]]) > 0.2


def test_reader_does_not_see_what_is_held(model):
    held, fitter, mean = held_expressions(model), Fitter(model), model.at_landmarks(model.mean)
    distances, draw = Openings(mean).distances, np.random.default_rng(3)
    expression = draw.standard_normal(EXP).astype(np.float32)
    moved = Holds(mean, distances)(model.at_landmarks(model.exp_basis) @ expression)
    found = fitter.expression((mean + moved).astype(np.float32)) - fitter.expression(mean)
    np.testing.assert_allclose(held @ expression, found, atol=2e-3)


def test_brows_are_raised_so_far_and_no_further(model):
    mean = model.at_landmarks(model.mean)
    openings, eye = Openings(mean), float(np.linalg.norm(mean[33] - mean[263]))
    hold, lids = BrowHold(mean, openings.distances), openings.lid_reference(mean)
    heights = []
    for raised in (0.0, 0.01, 0.05, 0.1, 0.2, 0.4):
        delta = np.zeros((468, 3), np.float32)
        delta[:, 1] = raised * eye
        moved = hold.limited(delta, mean, lids)
        heights.append(moved[[105, 52, 334, 282], 1].mean() / eye)
        below = mean[:, 1] < mean[[145, 374], 1].mean()
        np.testing.assert_array_equal(moved[below], delta[below])  # cheeks and mouth
    assert (np.diff(heights) > 0).all() and heights[-1] < HIGHEST
    assert heights[1] == pytest.approx(0.01, rel=0.02)  # small ones are left alone
    # A brow that sits low over one eye has a narrow strip below it, which unfolds in proportion.
    low, raised = mean.copy(), np.zeros((468, 3), np.float32)
    low[[224, 223, 222], 1] -= 0.01 * eye
    raised[:, 1] = 0.4 * eye
    right, left = (hold.limited(raised, low, lids)[[52, 282], 1]) / eye
    strip = (low[[224, 223, 222], 1] - low[[144, 145, 153], 1]).mean() - lids[0]
    assert right < 1.02 * UNFOLDED * strip / eye < left < HIGHEST
    # Brows that the speaker has raised already are raised less, yet always a little.
    strip, more = (mean[[224, 223, 222], 1] - mean[[144, 145, 153], 1]).mean() / eye - lids[0] / eye, []
    for height in (TALLEST - 0.05, TALLEST - 0.03, TALLEST, TALLEST + 0.05):
        high = mean.copy()
        high[[224, 223, 222, 442, 443, 444], 1] += (height - strip) * eye
        more.append(hold.limited(raised, high, lids)[52, 1] / eye)
    np.testing.assert_allclose(more, [0.05, 0.03, LEAST, LEAST], atol=3e-3)


def test_brows_sink_to_the_lids_and_no_further(model):
    mean = model.at_landmarks(model.mean)
    openings, eye = Openings(mean), float(np.linalg.norm(mean[33] - mean[263]))
    hold, lids = BrowHold(mean, openings.distances), openings.lid_reference(mean)
    low = mean.copy()  # deep-set eyes: brows lie right above them
    low[[224, 223, 222, 442, 443, 444], 1] -= 0.05 * eye
    room = [(face[[224, 223, 222], 1] - face[[144, 145, 153], 1]).mean() / eye - lids[0] / eye for face in (mean, low)]
    sunk = []
    for face in (mean, low):
        for way in (0.02, 0.06, 0.1, 0.3):
            delta = np.zeros((468, 3), np.float32)
            delta[:, 1] = -way * eye
            moved = hold.limited(delta, face, lids)
            sunk.append(-moved[52, 1] / eye)
            below = mean[:, 1] < mean[[145, 374], 1].mean()
            np.testing.assert_array_equal(moved[below], delta[below])
    np.testing.assert_allclose(sunk[:2], [0.02, 0.06], rtol=0.03)  # most brows have room
    assert sunk[0] < sunk[1] < sunk[2] < sunk[3] <= 1.02 * room[0]
    assert sunk[4] == pytest.approx(0.02, rel=0.1) and sunk[7] < 1.02 * room[1] < 0.06


def test_shipped_neutral_takes_a_smile_out(speaker):
    edit, identity, _ = speaker
    smile = load_linear(resources.find("checkpoints", "linear_editor.safetensors")).geometry.directions.mean(0)[0]
    p = edit.generator.inputs.projection.numpy()
    smiling = (edit.neutral[ID:] + 0.6 * p @ smile).astype(np.float32)
    calm = edit.edit(identity, smiling, np.eye(8)[TARGETS.index("neutral")], np.ones(1))
    before, after = ((p @ (x - edit.neutral[ID:])) @ (p @ smile) for x in (smiling, calm))
    assert after + 0.3 * before >= 0 and after < 0.7 * before


def test_shipped_editor_is_fast(speaker):
    edit, identity, expression = speaker
    code = np.eye(8)[0]
    edit.edit(identity, expression, code, np.ones(1))
    times = []
    for _ in range(30):
        start = time.perf_counter()
        edit.edit(identity, expression, code, np.ones(1))
        times.append(time.perf_counter() - start)
    assert min(times) < 0.005  # the best of thirty: other programs may run beside the tests


def test_edited_lips_follow_the_source_whatever_the_editor(model, speaker):
    edit, identity, _ = speaker
    mean = model.at_landmarks(model.mean)
    openings = Openings(mean)
    rows = model.at_landmarks(model.exp_basis)
    closed = mean.copy()
    closed[14, 1] = closed[13, 1]
    beta = np.zeros(EXP, np.float32)
    delta = (rows @ edit.edit(identity, beta, np.eye(8)[3], np.ones(1))).astype(np.float32)
    held = openings.lips(closed, delta, edit.speech, edit.opening(np.eye(7)[3], np.ones(1)), 0.0)
    after = closed + held
    assert abs(after[13, 1] - after[14, 1]) < 0.01 * np.linalg.norm(mean[33] - mean[263])


def test_a_clip_is_edited_by_either_editor():
    speaker, script = Speaker(seed=0, size=256, oversample=1), make_script(0)
    frames = [Frame(i, speaker.picture(script, 20 + i), i) for i in range(3)]
    pictures = []
    for geometry in GEOMETRIES:
        clip = ClipEditor(EditOptions(geometry=geometry, only="geometry"), StageClock())
        for frame in frames:
            clip.observe(frame)
        clip.solve()
        assert clip.edit(frames[1], Timeline.constant("happy", 0)) is frames[1].rgb
        pictures.append(clip.edit(frames[1], Timeline.constant("happy")))
        assert (pictures[-1] != frames[1].rgb).any()
    assert (pictures[0] != pictures[1]).any()


def test_unknown_editor_is_refused():
    with pytest.raises(InputError, match="geometry must be one of"):
        EditOptions(geometry="magic")
