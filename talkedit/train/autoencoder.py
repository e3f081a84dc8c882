"""Recipe ``open`` of the texture GAN: encoder and generator trained together, within an hour or so of one core.

The generator learns to make what the encoder saw, first 64 texels a side, then 128, then all; a light adversary comes
at the end. What a run knows is its step: all that is random follows from (seed, step).
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from talkedit.errors import InputError
from talkedit.texture import losses
from talkedit.texture.encoder import READ_SIZE, Encoder
from talkedit.texture.stylegan import Discriminator, Synthesis, codes_of, follow_average, r1_penalty, resolutions
from talkedit.train.eigen_textures import eigen_textures, start_from
from talkedit.train.run import TrainingRun
from talkedit.train.texture_batches import TextureBatch, TextureSampler
from talkedit.train.textures import Textures


@dataclass(frozen=True)
class AutoencoderConfig:
    """Settings of a run; ``--config`` names a JSON file with any of them.

    Attributes:
        seed: of initialisation and batches.
        size: texels a side.
        most, base: channels at resolution r are base / r, rounded up to eights, at most ``most``.
        width: of the encoder.
        components: eigen-textures that both networks start from, a multiple of the number of codes.
        batch: textures a step (even); half as many at the full size.
        coarse, middle, fine, adversary: steps at a quarter, at half, at the full size, and with the adversary.
        rate: learning rate; it falls to a tenth along a cosine.
        pixel, gradient, pair, latent, fool: weights of the losses.
        r1: weight of the penalty on the adversary's gradient.
        keep: of the moving average.
        leave_out: keep the people of ``held_out_people`` out of the training.
        save_every: steps between snapshots.
    """

    seed: int = 0
    size: int = 256
    most: int = 128
    base: int = 1536
    width: int = 48
    components: int = 126
    batch: int = 16
    coarse: int = 100
    middle: int = 600
    fine: int = 250
    adversary: int = 20
    rate: float = 2e-3
    pixel: float = 1.0
    gradient: float = 1.0
    pair: float = 1.0
    latent: float = 1e-3
    fool: float = 0.003
    r1: float = 1.0
    keep: float = 0.99
    leave_out: bool = True
    save_every: int = 50

    def __post_init__(self) -> None:
        if self.size < 32 or self.size & (self.size - 1):
            raise InputError(f"'size' must be a power of two from 32 up, not {self.size}")
        if self.batch < 4 or self.batch % 4:
            raise InputError(f"'batch' must be a multiple of 4, not {self.batch}")
        if self.components < 0 or self.components % codes_of(self.size):
            raise InputError(f"'components' must be a multiple of {codes_of(self.size)}, not {self.components}")

    @property
    def channels(self) -> dict[int, int]:
        """Of generator and adversary at each resolution."""
        return {r: min(8 * math.ceil(self.base / r / 8), self.most) for r in resolutions(self.size)}


def restoration_terms(
    made: Tensor, codes: Tensor, mean: Tensor, batch: TextureBatch, importance: Tensor
) -> dict[str, Tensor]:
    """How far a generator's answer to an encoder's codes is from the textures that were encoded.

    Args:
        made: (B, 3, S, S).
        codes: (B, L, 512).
        mean: (L, 512), the encoder's.
        batch: the textures, at S.
        importance: (1, 1, T, T) in 0..1, how much each texel matters.
    """
    weight = batch.seen * functional.interpolate(importance, made.shape[-2:], mode="area")
    return {
        "pixel": losses.pixel_loss(made, batch.channels, weight, batch.colour),
        "gradient": losses.gradient_loss(made, batch.channels, weight),
        "pair": losses.pair_loss(made, batch.channels, weight, batch.paired),
        "latent": losses.latent_loss(codes, mean),
    }


class AutoencoderRun(TrainingRun):
    """One training run in a folder.

    Args:
        config: settings.
        textures: to train on.
        importance: (T, T) in 0..1, how much each texel matters.
        folder: of the run; a snapshot in it is continued.
        device: "cpu" or "cuda".

    Attributes:
        average: (encoder, generator), their moving averages: what is used afterwards.

    Raises:
        InputError: the snapshot belongs to other settings or is damaged.
    """

    def __init__(self, config: AutoencoderConfig, textures: Textures, importance: np.ndarray, folder: Path,
                 device: str = "cpu") -> None:  # fmt: skip
        super().__init__(config, folder, device)
        self.encoder = Encoder(config.size, config.width, config.components).to(device)
        self.generator = Synthesis(config.channels, config.components).to(device)
        self.critic = Discriminator(config.channels).to(device)
        self._importance = torch.from_numpy(importance.astype(np.float32))[None, None].to(device)
        self._draw = TextureSampler(textures, READ_SIZE, device)
        if config.components and not (folder / "snapshot.pt").exists():
            eigen = eigen_textures(textures, self._draw.weight, importance, config.components)
            start_from(self.encoder, self.generator, eigen)
        self.average = (copy.deepcopy(self.encoder), copy.deepcopy(self.generator))
        both = [*self.encoder.parameters(), *self.generator.parameters()]
        self.networks = {
            "encoder": self.encoder,
            "generator": self.generator,
            "critic": self.critic,
            "average_encoder": self.average[0],
            "average_generator": self.average[1],
        }
        self.optimisers = [
            torch.optim.Adam(both, config.rate, betas=(0.5, 0.99)),
            torch.optim.Adam(self.critic.parameters(), config.rate, betas=(0.0, 0.99)),
        ]
        self._shared = both
        self.total = config.coarse + config.middle + config.fine + config.adversary
        self.resume()

    def continues(self, stored: dict[str, Any]) -> bool:
        """See :class:`TrainingRun`; lengths may change where a run is continued."""
        lengths = dict.fromkeys(("coarse", "middle", "fine", "adversary", "save_every"))
        return stored | lengths == asdict(self.config) | lengths

    def stage(self) -> tuple[int, int, bool]:
        """Texels a side, textures a step, and whether the adversary plays, at the present step."""
        c = self.config
        if self.step < c.coarse:
            return c.size // 4, c.batch, False
        if self.step < c.coarse + c.middle:
            return c.size // 2, c.batch, False
        return c.size, c.batch // 2, self.step >= c.coarse + c.middle + c.fine

    def one_step(self) -> dict[str, float]:
        c = self.config
        size, count, adversary = self.stage()
        self._set_rate()
        batch = self._draw(count, size, np.random.default_rng([c.seed, self.step]))
        codes = self.encoder(batch.small, batch.small_seen, batch.colour)
        noise = torch.Generator(self.device).manual_seed(c.seed * 1_000_003 + self.step)
        made = self.generator(codes, size, noise)
        terms = restoration_terms(made, codes, self.encoder.mean, batch, self._importance)
        if adversary:
            terms["fool"] = functional.softplus(-self.critic(made, batch.seen, batch.colour)).mean()
        loss = sum(getattr(c, name) * value for name, value in terms.items())
        self.optimisers[0].zero_grad(set_to_none=True)
        loss.backward(inputs=self._shared)
        torch.nn.utils.clip_grad_norm_(self._shared, 1.0)
        self.optimisers[0].step()
        if adversary:
            terms |= self._teach(made.detach(), batch)
        keep = min(c.keep, (self.step + 1) / (self.step + 10))
        for average, network in zip(self.average, (self.encoder, self.generator), strict=True):
            follow_average(average, network, keep)
        return {name: float(value.detach()) for name, value in terms.items()} | {"size": float(size)}

    def _set_rate(self) -> None:
        warm = min(1.0, (self.step + 1) / 100)
        rate = self.config.rate * warm * (0.1 + 0.45 * (1 + math.cos(math.pi * self.step / self.total)))
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate

    def _teach(self, made: Tensor, batch: TextureBatch) -> dict[str, Tensor]:
        """One step of the adversary, with R1 in every fourth."""

        def judge(x: Tensor) -> Tensor:
            return self.critic(x, batch.seen, batch.colour)

        terms = {"critic": (functional.softplus(judge(made)) + functional.softplus(-judge(batch.channels))).mean()}
        loss = terms["critic"]
        if self.step % 4 == 0:
            terms["critic_r1"] = r1_penalty(judge, batch.channels)
            loss = loss + 4 * self.config.r1 / 2 * terms["critic_r1"]
        self.descend(1, loss, self.critic)
        return terms
