"""``talkedit train teeth``: the network that fills in what a mouth hides (paper 3.3).

Real open mouths have their inside hidden and restored: an L1 loss over several scales and on gradients, then also a
discriminator (logistic loss, R1) with feature matching. Most of the crowd's pictures are grey, so they teach luminance
only, and the discriminator sees luminance of all. What a run knows is its step: draws follow from (seed, step).
"""

from __future__ import annotations

import argparse
import copy
import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from talkedit.data.collection import Collection
from talkedit.device import choose_device
from talkedit.mouth.alignment import HEIGHT, WIDTH, hidden
from talkedit.mouth.completion import Completion, save_completion
from talkedit.texture.stylegan import Conv, activate, follow_average, r1_penalty
from talkedit.texture.uv_map import LUMINANCE
from talkedit.train.faces import split
from talkedit.train.manifest import CROWD, about_crops, update_manifest
from talkedit.train.mouths import Mouths, load_mouths
from talkedit.train.run import TrainingRun, add_run_arguments, finish_run
from talkedit.train.settings import read_settings

# Steps of the discriminator from one R1 penalty to the next.
LAZY = 8
# How much faster it learns than the generator.
AHEAD = 3.0


@dataclass(frozen=True)
class Config:
    """Settings of a run; ``--config`` names a JSON file with any of them.

    Attributes:
        seed: of initialisation, draws and augmentation.
        width: of the network, see `talkedit.mouth.completion.Completion`.
        steps: in all.
        batch: crops a step.
        rate: highest learning rate; it falls along a line from half of the steps on.
        grey: share of each batch that is drawn from the grey pictures.
        sharpest: share of the grey pictures that is used, those with the finest detail.
        warm_up: steps before the discriminator joins in.
        restored: weight of the distance from the real mouth, once the discriminator has.
        adversary: weight of its loss.
        matching: weight of feature matching.
        r1: weight of the penalty on the discriminator's gradient.
        keep: of the moving average of the weights, which is what is used afterwards.
        leave_out: keep the people of ``held_out_people`` out of the training.
        save_every: steps between snapshots.
    """

    seed: int = 0
    width: int = 1
    steps: int = 6000
    batch: int = 8
    rate: float = 2e-3
    grey: float = 0.25
    sharpest: float = 0.4
    warm_up: int = 2500
    restored: float = 0.5
    adversary: float = 1.0
    matching: float = 4.0
    r1: float = 1.0
    keep: float = 0.995
    leave_out: bool = True
    save_every: int = 250


@dataclass(frozen=True)
class Batch:
    """Crops on their device: images (B, 3, h, w) in 0..1, mask (B, 1, h, w) of what is hidden, colour (B,) 0 or 1."""

    images: Tensor
    mask: Tensor
    colour: Tensor


class Discriminator(nn.Module):
    """Real or completed, for patches of a luminance crop, and the features that tell."""

    def __init__(self, channels: tuple[int, ...] = (32, 64, 96)) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Conv(*pair, stride=2) for pair in pairwise((3, *channels)))
        self.last = Conv(channels[-1], 1)

    def forward(self, grey: Tensor, mask: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 1, h, w) luminance and mask to (B, 1, h/8, w/8) scores and the features of each layer."""
        # Lines between teeth are faint beside lips and cavity.
        fine = 4 * (grey - functional.avg_pool2d(grey, 5, 1, 2, count_include_pad=False))
        x, features = torch.cat([grey * 2 - 1, fine, mask], 1), []
        for layer in self.layers:
            x = activate(layer(x))
            features.append(x)
        return self.last(x), features


def luminance(images: Tensor) -> Tensor:
    """(B, 1, h, w) of (B, 3, h, w) RGB."""
    return (images * torch.from_numpy(LUMINANCE).to(images)[:, None, None]).sum(1, keepdim=True)


def masked_loss(made: Tensor, batch: Batch) -> Tensor:
    """Mean absolute difference under the mask, on three scales, and of gradients; what is not hidden has no part.

    Args:
        made: (B, 3, h, w) completed crops.
        batch: the real ones; those without colour count by luminance.
    """
    colour = batch.colour[:, None, None, None]
    real = batch.images
    wrong = (made - real) * colour + luminance(made - real) * (1 - colour)
    wrong = wrong * batch.mask
    area = batch.mask.sum().clamp(min=1) * 3
    total = wrong.abs().sum() / area
    total = total + 2 * (wrong.diff(dim=2).abs().sum() + wrong.diff(dim=3).abs().sum()) / area
    for size in (4, 8):  # means over larger and larger cells: the broad layout of teeth and cavity
        total = total + functional.avg_pool2d(wrong, size).abs().sum() * size**2 / area
    return total


def draw_batch(mouths: Mouths, masks: np.ndarray, rows: np.ndarray, rng: np.random.Generator, device: str) -> Batch:
    """Crops of the given rows: mirrored, turned, scaled, shifted and lit differently at random.

    Args:
        mouths: to draw from.
        masks: (N, HEIGHT, WIDTH) float32 of all of them.
        rows: (B,) indices.
        rng: where chance comes from.
        device: where the batch goes.
    """
    images = torch.from_numpy(mouths.images[rows]).permute(0, 3, 1, 2).float() / 255
    stack = torch.cat([images, torch.from_numpy(masks[rows])[:, None]], 1)
    count = len(rows)
    angle, scale = rng.normal(0, 0.05, count), rng.uniform(0.93, 1.08, count)
    flip = np.where(rng.random(count) < 0.5, -1.0, 1.0)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    shift = rng.normal(0, 0.02, (2, count))
    aspect = WIDTH / HEIGHT
    theta = np.stack([flip * cos, -sin / aspect, shift[0], flip * sin * aspect, cos, shift[1]], 1).reshape(-1, 2, 3)
    grid = functional.affine_grid(torch.from_numpy(theta.astype(np.float32)), list(stack.shape), align_corners=False)
    stack = functional.grid_sample(stack, grid, padding_mode="border", align_corners=False)
    images, mask = stack[:, :3], (stack[:, 3:] > 0.2).float()
    gamma = torch.from_numpy(np.exp(rng.normal(0, 0.18, (count, 1, 1, 1))).astype(np.float32))
    tint = torch.from_numpy(np.exp(rng.normal(0, 0.05, (count, 3, 1, 1))).astype(np.float32))
    images = (images.clamp(1e-3, 1) ** gamma * tint).clamp(0, 1)
    colour = torch.from_numpy(mouths.colour[rows].astype(np.float32))
    images = torch.where(colour[:, None, None, None] > 0, images, luminance(images).expand_as(images))
    return Batch(images.to(device), mask.to(device), colour.to(device))


def sharpness(mouths: Mouths) -> np.ndarray:
    """(N,) how fine the detail of each crop is: variance of the Laplacian over the variance."""
    grey = mouths.images @ LUMINANCE
    return np.array([cv2.Laplacian(g, cv2.CV_32F).var() / (g.var() + 1) for g in grey.astype(np.float32)])


class Run(TrainingRun):
    """One training run in a folder.

    Args:
        config: settings.
        mouths: to train on.
        folder: of the run; a snapshot in it is continued.
        device: "cpu" or "cuda".

    Attributes:
        average: moving average of the generator's weights: what is used afterwards.

    Raises:
        InputError: the snapshot belongs to other settings or is damaged.
    """

    def __init__(self, config: Config, mouths: Mouths, folder: Path, device: str = "cpu") -> None:
        super().__init__(config, folder, device)
        self.mouths = mouths
        self.masks = np.stack([hidden(loop) for loop in mouths.loops])
        fine = sharpness(mouths)
        grey = np.flatnonzero(~mouths.colour)
        limit = np.quantile(fine[grey], 1 - config.sharpest) if len(grey) else 0
        self.grey = grey[fine[grey] >= limit]
        # Each person is drawn as often as any other, however long their clips are.
        people = np.unique(mouths.people[mouths.colour])
        self.colour = [np.flatnonzero(mouths.colour & (mouths.people == name)) for name in people]
        self.generator, self.discriminator = Completion(config.width).to(device), Discriminator().to(device)
        for network in (self.generator, self.discriminator):
            network.to(memory_format=torch.channels_last)  # a sixth less time on a CPU
        self.average = copy.deepcopy(self.generator)
        self.optimisers = [
            torch.optim.Adam(network.parameters(), config.rate, betas=(0.5, 0.99))
            for network in (self.generator, self.discriminator)
        ]
        self.networks = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "average": self.average,
        }
        self.total = config.steps
        self.resume()

    def one_step(self) -> dict[str, float]:
        config = self.config
        rng = np.random.default_rng([config.seed, self.step])
        for optimiser, ahead in zip(self.optimisers, (1.0, AHEAD), strict=True):
            optimiser.param_groups[0]["lr"] = ahead * config.rate * min(1.0, 2.02 - 2 * self.step / config.steps)
        batch = draw_batch(self.mouths, self.masks, self._rows(rng), rng, self.device)
        made = self.generator(batch.images, batch.mask)
        loss = masked_loss(made, batch)
        terms = {"restored": loss}
        if self.step >= config.warm_up:
            real, fake = luminance(batch.images), luminance(made)
            scores, features = self.discriminator(real, batch.mask)
            wrong, _ = self.discriminator(fake.detach(), batch.mask)
            # Only where something was hidden is there anything to tell.
            share = functional.avg_pool2d(batch.mask, batch.mask.shape[-1] // scores.shape[-1])
            share = share / share.sum()
            terms["judge"] = (share * (functional.softplus(-scores) + functional.softplus(wrong))).sum()
            judged = terms["judge"]
            if self.step % LAZY == 0:
                terms["r1"] = r1_penalty(lambda x: len(x) * share * self.discriminator(x, batch.mask)[0], real)
                judged = judged + LAZY * config.r1 / 2 * terms["r1"]
            self.descend(1, judged, self.discriminator)
            features = [f.detach() for f in features]
            scores, seen = self.discriminator(fake, batch.mask)
            terms["fooled"] = (share * functional.softplus(-scores)).sum()
            terms["matching"] = sum((a - b).abs().mean() for a, b in zip(seen, features, strict=True))
            loss = config.restored * loss + config.adversary * terms["fooled"] + config.matching * terms["matching"]
        self.descend(0, loss, self.generator)
        follow_average(self.average, self.generator, min(config.keep, (self.step + 1) / (self.step + 10)))
        return {name: float(value.detach()) for name, value in terms.items()}

    def _rows(self, rng: np.random.Generator) -> np.ndarray:
        count = round(self.config.batch * self.config.grey) if len(self.grey) else 0
        rows = list(rng.choice(self.grey, count)) if count else []
        for person in rng.integers(0, len(self.colour), self.config.batch - count):
            rows.append(rng.choice(self.colour[person]))
        return np.array(rows)

    def continues(self, stored: dict[str, Any]) -> bool:
        """See :class:`TrainingRun`; lengths, rates and weights may change where a run is continued."""
        fixed = ("seed", "width", "grey", "sharpest", "leave_out")
        return all(stored[name] == getattr(self.config, name) for name in fixed)


def finish(network: Completion, config: Config, mouths: Mouths, output: Path, manifest: Path) -> None:
    """Writes the weights and their entry in the manifest."""
    output.parent.mkdir(parents=True, exist_ok=True)
    save_completion(output, network, {"config": json.dumps(asdict(config))})
    what = "teeth completion: fills the hidden inside of an aligned mouth crop"
    sources = (CROWD, "London set", "MEAD", "LivePortrait examples")
    update_manifest(manifest, output, about_crops(what, sources, len(mouths), config.leave_out))


def main(argv: list[str] | None = None) -> int:
    """Trains, or continues, and writes the weights."""
    p = argparse.ArgumentParser(prog="talkedit train teeth", description=__doc__.split("\n")[0])
    p.add_argument("--data", type=Path, required=True, help="folder of the open recipe's collection")
    p.add_argument("--cache", type=Path, default=Path("build/cache"), help="folder for tracked landmarks")
    p.add_argument("--crops", type=Path, default=Path("build/mouths"), help="folder for mouth crops")
    add_run_arguments(p, "build/teeth")
    p.add_argument("-o", "--output", type=Path, default=Path("checkpoints/teeth.safetensors"))
    p.add_argument("--manifest", type=Path, default=Path("checkpoints/manifest.json"))
    args = p.parse_args(argv)
    config, device = read_settings(Config, args.config), choose_device(args.device)
    collection = Collection(args.data, args.cache)
    mouths = load_mouths(collection, args.crops)
    if config.leave_out:
        mouths, _ = split(mouths, collection)
    run = Run(config, mouths, args.run, device)
    finish_run(run, args.tensorboard)
    finish(run.average.cpu(), config, mouths, args.output, args.manifest)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
