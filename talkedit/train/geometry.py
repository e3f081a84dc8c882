"""``talkedit train geometry``: the GAN that moves expression coefficients towards an emotion (Eqs. 6-16).

Actors and crowds, people and emotions weigh alike in every batch. What a run knows is its step: all that is random
follows from (seed, step), so an interrupted run continues to the same end as an uninterrupted one.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from talkedit.checkpoint import save_gan
from talkedit.data.collection import Collection
from talkedit.device import choose_device
from talkedit.emotions import EMOTIONS, NEUTRAL
from talkedit.errors import InputError
from talkedit.facemodel.load import load_face_model
from talkedit.facemodel.model import FaceModel
from talkedit.geometry import losses
from talkedit.geometry.gan import ID, TARGETS, Discriminator, GanGeometryEditor, Generator
from talkedit.geometry.holds import Holds
from talkedit.geometry.openings import Openings
from talkedit.train.codes import Codes, collect, judge_people
from talkedit.train.crops import emotions_of, load_crops
from talkedit.train.guide import Guidance, Shown, gains, guided, neutral_faces
from talkedit.train.linear import REACH
from talkedit.train.manifest import update_manifest
from talkedit.train.picture_reader import SOURCES, Reader, load_reader, strangers
from talkedit.train.run import TrainingRun, add_run_arguments, finish_run
from talkedit.train.settings import read_settings

RECIPES = {"mead": ("mead",), "open": ("mead", "london", "faces_open")}
"""Which sources of a collection each recipe learns from."""
# Coefficients get this much noise, in units of their spread: thousands of faces are few for 144 numbers.
NOISE = 0.15
# How much further than the linear editor's the moves go, as far as `Holds` lets them. What G adds for
# each speaker reads better in fear and costs identity in contempt; directions turned towards what reads on pictures
# (anger, sadness) need less.
FURTHER = {
    "happy": 1.03, "angry": 0.75, "sad": 0.77, "surprised": 1.0, "fear": 0.93, "disgusted": 1.0, "contempt": 0.72
}  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Settings of a run; ``--config`` names a JSON file with any of them.

    Attributes:
        seed: of initialisation and batches.
        width: of the hidden layers.
        batch: codes a step.
        steps: of the generator.
        critic_steps: of the discriminator before each of them.
        rate: learning rate of both; it falls to a tenth along a line.
        emotion, penalty, cycle, region, lip, keep: see `talkedit.geometry.losses.LossWeights`.
        anchor: weight of the squared distance that G's residual alone moves the face; the paper has no such term. Few
            actors teach directions better than they teach what surrounds them.
        guide_steps, guide_keep: of the directions' turn towards what reads on pictures, see `talkedit.train.guide`.
        condition: False leaves the neutral code out of both networks (an ablation).
        leave_out: keep the people of `talkedit.train.codes.judge_people` out of the training.
        save_every: steps between snapshots and lines of the log.
    """

    seed: int = 0
    width: int = 128
    batch: int = 128
    steps: int = 800
    critic_steps: int = 3
    rate: float = 3e-4
    emotion: float = losses.LossWeights.emotion
    penalty: float = losses.LossWeights.penalty
    cycle: float = losses.LossWeights.cycle
    region: float = losses.LossWeights.region
    lip: float = losses.LossWeights.lip
    keep: float = losses.LossWeights.keep
    anchor: float = 5000.0
    guide_steps: int = Guidance.steps
    guide_keep: float = Guidance.keep
    condition: bool = True
    leave_out: bool = True
    save_every: int = 100

    def __post_init__(self) -> None:
        for name in ("width", "batch", "steps", "critic_steps", "save_every"):
            if getattr(self, name) < 1:
                raise InputError(f"'{name}' must be at least 1, not {getattr(self, name)}")

    @property
    def weights(self) -> losses.LossWeights:
        """Those of the losses."""
        return losses.LossWeights(self.emotion, self.penalty, self.cycle, self.region, self.lip, self.keep)


@dataclass(frozen=True)
class Batch:
    """Real codes (B, 144), their emotion codes (B, 7), and a random neutral code of each one's person (B, 144)."""

    code: Tensor
    emotion: Tensor
    neutral: Tensor

    @property
    def target(self) -> Tensor:
        """(B, 8) the emotion codes as weights of ``TARGETS``; what is left of 1 is neutral."""
        return with_neutral(self.emotion)


def with_neutral(emotion: Tensor) -> Tensor:
    """(B, 8) weights of ``TARGETS`` that add up to 1, for (B, 7) emotion codes that add up to at most 1."""
    return torch.cat([emotion, 1 - emotion.sum(1, keepdim=True)], 1)


class Sampler:
    """Draws batches in which emotions weigh alike, and within each the actors and crowds that show it.

    Args:
        codes: the training faces.
        device: where batches go.
    """

    def __init__(self, codes: Codes, device: str = "cpu") -> None:
        self._codes, self._device = codes, device
        cells = [
            [np.flatnonzero((codes.label == k) & (codes.group == g)) for g in range(len(codes.groups))]
            for k in range(len(TARGETS))
        ]
        self._cells = [[rows for rows in of_one if len(rows)] for of_one in cells if any(map(len, of_one))]
        self._neutral = np.concatenate(codes.condition)
        self._count = np.array([len(own) for own in codes.condition])
        self._first = np.cumsum(self._count) - self._count
        self._spread = (NOISE * codes.code.std(0)).astype(np.float32)

    def __call__(self, count: int, rng: np.random.Generator) -> Batch:
        """A batch of ``count`` codes, slightly disturbed."""
        rows = np.empty(count, int)
        shares = rng.random((count, 3))
        for i, (emotion, group, face) in enumerate(shares.tolist()):
            cells = self._cells[int(emotion * len(self._cells))]
            cell = cells[int(group * len(cells))]
            rows[i] = cell[int(face * len(cell))]
        codes = self._codes
        person = codes.person[rows]
        neutral = self._neutral[self._first[person] + rng.integers(self._count[person])]
        # One disturbance for a code and its condition: it is another person, not another expression.
        shift = rng.standard_normal(neutral.shape, np.float32) * self._spread
        arrays = (codes.code[rows] + shift, codes.emotion(rows), neutral + shift)
        return Batch(*(torch.from_numpy(a).to(self._device) for a in arrays))


def discriminator_terms(d: Discriminator, g: Generator, real: Batch, source: Batch, wanted: Tensor,
                        mix: Tensor) -> dict[str, Tensor]:  # fmt: skip
    """The terms of Eq. 9: real codes beside their people's neutral, edited ones beside G's own condition."""
    with torch.no_grad():
        fake = g(source.code, with_neutral(wanted), source.neutral)
    score, read = d(real.code, real.neutral)
    return {
        "critic": losses.critic_loss(score, d(fake, source.neutral)[0]),
        "emotion": losses.emotion_loss(read, real.emotion),
        "penalty": losses.gradient_penalty(lambda s: d(s, real.neutral)[0], real.code, fake, mix),
    }


def generator_terms(d: Discriminator, g: Generator, points: losses.FacePoints, source: Batch,
                    wanted: Tensor) -> dict[str, Tensor]:  # fmt: skip
    """The terms of Eq. 16; Eqs. 12 and 13 on the way there and back, Eqs. 14 and 15 on the edit."""
    edited = g(source.code, with_neutral(wanted), source.neutral)
    again = g(edited, source.target, source.neutral)
    score, read = d(edited, source.neutral)
    surface, keypoints = points.surface(source.code), points.keypoints(source.code)
    return {
        "adversarial": losses.adversarial_loss(score),
        "emotion": losses.emotion_loss(read, wanted),
        "cycle": losses.surface_loss(points.surface(again), surface),
        "region": losses.region_loss(keypoints, points.keypoints(again)),
        "lip": losses.lip_loss(keypoints, points.keypoints(edited)),
        "keep": losses.surface_loss(points.surface(edited), surface),
    }


class Run(TrainingRun):
    """One training run in a folder: ``snapshot.pt`` and ``log.jsonl``.

    Args:
        config: settings.
        model: the face model.
        codes: to train on.
        folder: of the run; a snapshot in it is continued.
        device: "cpu" or "cuda".

    Raises:
        InputError: the snapshot belongs to other settings or is damaged.
    """

    digits = 6

    def __init__(self, config: Config, model: FaceModel, codes: Codes, folder: Path, device: str = "cpu") -> None:
        super().__init__(config, folder, device)
        shape = (torch.from_numpy(codes.projection), torch.from_numpy(codes.scale), config.width, config.condition)
        self.generator = Generator(torch.from_numpy(codes.directions), *shape).to(device)
        self.discriminator = Discriminator(*shape).to(device)
        self.points = losses.FacePoints(model).to(device)
        self.draw = Sampler(codes, device)
        self.optimisers = [
            torch.optim.Adam(network.parameters(), config.rate, betas=(0.0, 0.9))
            for network in (self.generator, self.discriminator)
        ]
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        self.total = config.steps
        self.resume()

    def one_step(self) -> dict[str, float]:
        rng = np.random.default_rng([self.config.seed, self.step])
        for optimiser in self.optimisers:
            optimiser.param_groups[0]["lr"] = self.config.rate * (1 - 0.9 * self.step / self.config.steps)
        seen = {}
        for _ in range(self.config.critic_steps):
            real, source, wanted = self._draw(rng)
            mix = torch.from_numpy(rng.random((len(wanted), 1), np.float32)).to(self.device)
            terms = discriminator_terms(self.discriminator, self.generator, real, source, wanted, mix)
            self.descend(1, losses.discriminator_total(terms, self.config.weights), self.discriminator)
            seen = {f"d_{name}": float(value.detach()) for name, value in terms.items()}
        _, source, wanted = self._draw(rng)
        terms = generator_terms(self.discriminator, self.generator, self.points, source, wanted)
        terms["anchor"] = self._strayed(source, with_neutral(wanted))
        total = losses.generator_total(terms, self.config.weights) + self.config.anchor * terms["anchor"]
        self.descend(0, total, self.generator)
        return seen | {f"g_{name}": float(value.detach()) for name, value in terms.items()}

    def _strayed(self, source: Batch, target: Tensor) -> Tensor:
        """Mean squared distance, squared model units, that G's residual moves the face; without that of neutral."""
        g = self.generator
        straight = target.clone()
        straight[:, -1] = 0
        moves = g.moves(source.code, source.neutral) - g.directions
        change = torch.einsum("bk,bkc->bc", straight, moves)
        moved = torch.cat([source.code[:, :ID], source.code[:, ID:] + change], 1)
        return losses.surface_loss(self.points.surface(moved), self.points.surface(source.code))

    def _draw(self, rng: np.random.Generator) -> tuple[Batch, Batch, Tensor]:
        """Real codes, codes to edit, and the (B, 7) emotion codes to edit them to: as strong as real ones are."""
        real, source = self.draw(self.config.batch, rng), self.draw(self.config.batch, rng)
        return real, source, real.emotion[torch.from_numpy(rng.permutation(self.config.batch)).to(self.device)]


@torch.no_grad()
def validate(run: Run, codes: Codes, seed: int = 0) -> dict[str, float]:
    """How the discriminator reads people it was not trained on, and G's edits of their neutral faces.

    Returns:
        ``val_real``: mean squared error of D_e on real faces; ``val_hit``: share of edits whose strongest reading is
        the target; ``val_hit_NAME``: the same for each emotion.
    """
    drawn = Sampler(codes, run.device)(2000, np.random.default_rng(seed))
    out = {"val_real": float(losses.emotion_loss(run.discriminator(drawn.code, drawn.neutral)[1], drawn.emotion))}
    for k, name in enumerate(EMOTIONS):
        wanted = torch.zeros_like(drawn.target)
        wanted[:, k] = 1
        edited = run.generator(drawn.neutral, wanted, drawn.neutral)
        read = run.discriminator(edited, drawn.neutral)[1]
        out[f"val_hit_{name}"] = float((read.argmax(1) == k).float().mean())
    out["val_hit"] = float(np.mean([out[f"val_hit_{name}"] for name in EMOTIONS]))
    return {name: round(value, 4) for name, value in out.items()}


def turned(
    codes: Codes, reader: Reader, collection: Collection, cache: Path, model: FaceModel, config: Config
) -> Codes:
    """The codes with directions that read better on pictures, and how much better by people left out, printed."""
    crops, emotions = load_crops(collection, model, SOURCES, cache), emotions_of(collection, SOURCES)
    left_out = strangers(crops, collection)
    settings = Guidance(steps=config.guide_steps, keep=config.guide_keep)
    shown = Shown(neutral_faces(crops, emotions, left_out, settings.pictures), model)
    full = codes.directions[:-1] * codes.reach[:-1, None]
    moves = guided(full, codes.projection, reader, shown, model, settings, config.seed)
    others = Shown(neutral_faces(crops, emotions, ~left_out, settings.pictures // 3), model)
    told = {name: gains(m, reader, others, model) for name, m in (("before", full), ("after", moves))}
    print(json.dumps({"read_on_people_left_out": told}), flush=True)
    directions = np.concatenate([moves / codes.reach[:-1, None], codes.directions[-1:]])
    return replace(codes, directions=directions.astype(np.float32))


@torch.no_grad()
def editor(run: Run, codes: Codes, model: FaceModel) -> GanGeometryEditor:
    """What ships of a run: the generator, scaled to move neutral faces ``FURTHER`` than the linear editor does.

    The losses pull every move a little shorter, and the tracker shows less of a movement than there is. Lengths are
    those of the landmarks' movement that `Holds` leaves.
    """
    drawn = Sampler(codes, run.device)(200, np.random.default_rng(run.config.seed))
    mean, basis = model.at_landmarks(model.mean), model.at_landmarks(model.exp_basis)
    distances = Openings(mean).distances
    holds = Holds(mean, distances)

    def length(moves: np.ndarray) -> np.ndarray:
        return np.linalg.norm(holds(np.einsum("vck,...k->...vc", basis, moves)), axis=-1).mean(-1)

    moved = length(run.generator.moves(drawn.neutral, drawn.neutral).cpu().numpy()).mean(0)
    further = np.array([FURTHER.get(name, 1.0) for name in TARGETS])
    reach = (further * codes.reach * length(codes.directions) / np.maximum(moved, 1e-6)).astype(np.float32)
    reach[TARGETS.index(NEUTRAL)] = REACH
    neutral = np.zeros(codes.code.shape[1], np.float32)
    return GanGeometryEditor(run.generator.cpu().eval(), reach, codes.openings, codes.speech, neutral)


def main(argv: list[str] | None = None) -> int:
    """Trains, or continues, and writes ``geometry_gan.safetensors``."""
    p = argparse.ArgumentParser(prog="talkedit train geometry", description=__doc__.split("\n")[0])
    p.add_argument("--data", type=Path, required=True, help="folder of the collection")
    p.add_argument("--recipe", choices=sorted(RECIPES), default="open", help="which of its sources to learn from")
    p.add_argument("--cache", type=Path, default=Path("build/cache"), help="folder for tracked landmarks")
    p.add_argument("--reader", type=Path, help="picture reader (talkedit train picture_reader) that turns directions")
    add_run_arguments(p, "build/geometry")
    p.add_argument("-o", "--output", type=Path, default=Path("checkpoints/geometry_gan.safetensors"))
    args = p.parse_args(argv)
    config = read_settings(Config, args.config)
    device = choose_device(args.device)
    collection, model = Collection(args.data, args.cache), load_face_model("open")
    kept = [s for s in collection.samples if s.source in RECIPES[args.recipe]]
    held_out = judge_people(kept)
    learned = {s.person for s in kept} - (held_out if config.leave_out else set())
    codes = collect(collection, model, learned)
    if args.reader is not None:
        codes = turned(codes, load_reader(args.reader), collection, args.cache, model, config)
    run = Run(config, model, codes, args.run, device)
    finish_run(run, args.tensorboard)
    if config.leave_out:
        print(json.dumps(validate(run, collect(collection, model, held_out, mirror=False))), flush=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_gan(args.output, editor(run, codes, model), {"config": json.dumps(asdict(config)), "recipe": args.recipe})
    update_manifest(
        args.output.parent / "manifest.json",
        args.output,
        {
            "what": "geometry GAN: expression coefficients of the open face model towards an emotion",
            "trained_on": "MEAD (front view), London set, muxspace/facial_expressions"
            + ("; without the people that figures are measured on (MEAD W011 among them)" if config.leave_out else ""),
            "licence": "research, non-commercial (follows from MEAD)",
        },
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
