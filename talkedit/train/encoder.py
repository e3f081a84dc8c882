"""``talkedit train encoder``: the encoder to W+ for a generator that stays as it is (the second stage of the paper).

Recipe ``open`` has trained one together with the generator; there this stage trains that encoder further.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from talkedit.device import choose_device
from talkedit.errors import InputError
from talkedit.facemodel.load import load_face_model
from talkedit.texture import gan_file, losses
from talkedit.texture.encoder import READ_SIZE, Encoder
from talkedit.texture.stylegan import Synthesis, follow_average
from talkedit.train.autoencoder import restoration_terms
from talkedit.train.faces import split
from talkedit.train.run import TrainingRun
from talkedit.train.settings import read_settings
from talkedit.train.texture_batches import TextureSampler
from talkedit.train.textures import Textures
from talkedit.train.tgan import add_data_options, importance, open_textures, paper_textures, train


@dataclass(frozen=True)
class EncoderConfig:
    """Settings of a run; ``--config`` names a JSON file with any of them.

    Attributes:
        seed: of initialisation and batches.
        width: of the encoder, a multiple of 8.
        batch: textures a step (even).
        steps: of the training.
        rate: learning rate.
        pixel, gradient, pair, perceptual, latent: weights of the losses.
        keep: of the moving average.
        leave_out: recipe open: keep the people of ``held_out_people`` out of the training.
        save_every: steps between snapshots.
    """

    seed: int = 0
    width: int = 48
    batch: int = 8
    steps: int = 300_000
    rate: float = 1e-4
    pixel: float = 1.0
    gradient: float = 1.0
    pair: float = 1.0
    perceptual: float = 0.8
    latent: float = 2e-3
    keep: float = 0.999
    leave_out: bool = True
    save_every: int = 1000

    def __post_init__(self) -> None:
        if self.width < 8 or self.width % 8:
            raise InputError(f"the width of the encoder must be a multiple of 8, not {self.width}")
        if self.batch < 2 or self.batch % 2:
            raise InputError(f"'batch' must be even, not {self.batch}")


class EncoderRun(TrainingRun):
    """One training run in a folder.

    Args:
        config: settings.
        generator: G, left as it is.
        textures: to train on.
        weight: (T, T) in 0..1, how much each texel matters.
        folder: of the run; a snapshot in it is continued.
        device: "cpu" or "cuda".
        start: an encoder to begin with, None for a fresh one whose mean is G's answer to nothing.
        perceptual: a perceptual loss, where there is a network for it.

    Attributes:
        average: the encoder's moving average, and G.

    Raises:
        InputError: the snapshot belongs to other settings or is damaged.
    """

    def __init__(self, config: EncoderConfig, generator: Synthesis, textures: Textures, weight: np.ndarray,
                 folder: Path, device: str = "cpu", start: Encoder | None = None,
                 perceptual: losses.Perceptual | None = None) -> None:  # fmt: skip
        super().__init__(config, folder, device)
        self.generator = generator.to(device).requires_grad_(False)
        self.encoder = Encoder(generator.size, config.width) if start is None else copy.deepcopy(start)
        self.encoder = self.encoder.requires_grad_(True).train().to(device)
        self._mean = copy.deepcopy(self.encoder)
        self._weight = torch.from_numpy(weight.astype(np.float32))[None, None].to(device)
        self._perceptual = perceptual
        self._draw = TextureSampler(textures, READ_SIZE, device)
        self._optimiser = torch.optim.Adam(self.encoder.parameters(), config.rate, betas=(0.9, 0.99))
        self.total = config.steps
        self.resume()

    @property
    def average(self) -> tuple[Encoder, Synthesis]:
        """See the class."""
        return self._mean, self.generator

    def one_step(self) -> dict[str, float]:
        c, size = self.config, self.generator.size
        batch = self._draw(c.batch, size, np.random.default_rng([c.seed, self.step]))
        codes = self.encoder(batch.small, batch.small_seen, batch.colour)
        made = self.generator(codes)
        terms = restoration_terms(made, codes, self.encoder.mean, batch, self._weight)
        if self._perceptual is not None:
            terms["perceptual"] = self._perceptual(made * batch.seen, batch.channels)
        self._optimiser.zero_grad(set_to_none=True)
        sum(getattr(c, name) * value for name, value in terms.items()).backward()
        self._optimiser.step()
        follow_average(self._mean, self.encoder, min(c.keep, (self.step + 1) / (self.step + 10)))
        return {name: float(value.detach()) for name, value in terms.items()}

    def state(self) -> dict[str, Any]:
        """See :class:`TrainingRun`."""
        return {"encoder": self.encoder.state_dict(), "average": self._mean.state_dict(),
                "optimiser": self._optimiser.state_dict()}  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """See :class:`TrainingRun`."""
        self.encoder.load_state_dict(state["encoder"])
        self._mean.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])


def main(argv: list[str] | None = None) -> int:
    """Trains, or continues, and writes ``encoder.safetensors`` to the run's folder."""
    p = argparse.ArgumentParser(prog="talkedit train encoder", description=__doc__.split("\n")[0])
    add_data_options(p)
    args = p.parse_args(argv)
    config, device, model = (
        read_settings(EncoderConfig, args.config),
        choose_device(args.device),
        load_face_model("open"),
    )
    generator = gan_file.load_network(args.run / gan_file.GENERATOR)
    start = None
    if args.recipe == "open":
        textures, collection = open_textures(args, model, generator.size)
        if config.leave_out:
            textures, _ = split(textures, collection)
        start = gan_file.load_network(args.run / gan_file.ENCODER)
    else:
        textures = paper_textures(args, model)[1]
    weight = importance(model, generator.size)
    run = EncoderRun(config, generator, textures, weight, args.run / "encoder", device, start)
    train(run, textures, args.tensorboard)
    gan_file.save_network(args.run / gan_file.ENCODER, run.average[0])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
