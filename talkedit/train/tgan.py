"""``talkedit train tgan``: the texture GAN.

Recipe ``open`` trains encoder and generator together (`talkedit.train.autoencoder`); recipe ``paper`` trains a
StyleGAN2 on the textures of FFHQ and then goes on with those of MEAD, both prepared by ``talkedit prepare``; the
encoder follows with ``talkedit train encoder``. With ``--start-from`` it begins with a generator of StyleGAN2-ADA
instead of an untrained one.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from talkedit.data.collection import Collection
from talkedit.device import choose_device
from talkedit.errors import InputError
from talkedit.facemodel.load import load_face_model
from talkedit.facemodel.model import FaceModel
from talkedit.texture import gan_file
from talkedit.texture.stylegan import (
    Discriminator,
    Generator,
    W,
    budget,
    follow_average,
    path_lengths,
    path_penalty,
    r1_penalty,
)
from talkedit.texture.stylegan2_ada import read_generator, write_texture_channels
from talkedit.texture.uv_map import UvTemplate
from talkedit.train.autoencoder import AutoencoderConfig, AutoencoderRun
from talkedit.train.faces import split
from talkedit.train.linear import edit_mask
from talkedit.train.run import TrainingRun, add_run_arguments, finish_run
from talkedit.train.settings import read_settings
from talkedit.train.texture_batches import TextureBatch, TextureSampler
from talkedit.train.textures import Textures, load_textures, prepared_textures

# Where emotion moves nothing a texel still counts this much.
ELSEWHERE = 0.25
# Penalties are taken every so many steps, and count that much more.
LAZY_R1, LAZY_PATH = 16, 4
# Overfitting shows as scores of real textures that are mostly positive: augmentation holds them at this share.
TARGET_SIGN = 0.6


@dataclass(frozen=True)
class GanConfig:
    """Settings of recipe ``paper``; ``--config`` names a JSON file with any of them.

    Attributes:
        seed: of initialisation and batches.
        size: texels a side.
        most, base: channels at resolution r are min(base / r, most).
        layers: of the mapping.
        published: see `Synthesis`; ``--start-from`` sets it.
        batch: textures a step (even).
        steps: on the first data.
        tune_steps: on the second, after them.
        rate: learning rate of both networks.
        r1: weight of the penalty on the gradient.
        path: weight of the path-length penalty.
        mixing: share of steps with two codes mixed.
        keep: of the moving average.
        save_every: steps between snapshots.
    """

    seed: int = 0
    size: int = 512
    most: int = 512
    base: int = 16384
    layers: int = 8
    published: bool = False
    batch: int = 16
    steps: int = 300_000
    tune_steps: int = 30_000
    rate: float = 2e-3
    r1: float = 10.0
    path: float = 2.0
    mixing: float = 0.9
    keep: float = 0.999
    save_every: int = 1000

    def __post_init__(self) -> None:
        if self.size < 16 or self.size & (self.size - 1):
            raise InputError(f"'size' must be a power of two from 16 up, not {self.size}")
        if self.batch < 4 or self.batch % 4:
            raise InputError(f"'batch' must be a multiple of 4, not {self.batch}")

    @property
    def channels(self) -> dict[int, int]:
        """Of generator and discriminator at each resolution."""
        return budget(self.size, self.most, self.base)


def augment(texture: Tensor, share: float, noise: torch.Generator) -> Tensor:
    """What may happen to a UV texture without moving its features: contrast, an even light, a tint.

    Mirroring is left to the sampler. Geometric changes, StyleGAN2-ADA's strongest, would teach textures off the
    template.

    Args:
        texture: (B, 3, T, T).
        share: of the textures that each change happens to, 0..1.
        noise: where the draws come from.
    """

    def draw() -> tuple[Tensor, Tensor]:
        u = torch.rand(len(texture), 1, 1, 1, generator=noise, device=noise.device).to(texture.device)
        amount = torch.randn(len(texture), 3, 1, 1, generator=noise, device=noise.device)
        return amount.to(texture.device), (u < share).to(texture)

    amount, on = draw()
    texture = texture * torch.exp(0.2 * amount[:, :1] * on)
    amount, on = draw()
    return texture + amount * on * texture.new_tensor([0.1, 0.05, 0.05])[:, None, None]


class GanRun(TrainingRun):
    """StyleGAN2 training in a folder: logistic loss, lazy R1 and path length, mixing, EMA, adaptive augmentation.

    Args:
        config: settings.
        first, second: textures to train and to fine-tune on.
        folder: of the run; a snapshot in it is continued.
        device: "cpu" or "cuda".
        start: a generator of these settings to begin with.

    Attributes:
        average: the generator's moving average: what is used afterwards.

    Raises:
        InputError: the snapshot belongs to other settings or is damaged.
    """

    def __init__(self, config: GanConfig, first: Textures, second: Textures, folder: Path, device: str = "cpu",
                 start: Generator | None = None) -> None:  # fmt: skip
        super().__init__(config, folder, device)
        self.generator = (start or Generator(config.channels, config.layers, config.published)).train().to(device)
        self.critic = Discriminator(config.channels).to(device)
        self.average = copy.deepcopy(self.generator).eval()
        self.networks = {"generator": self.generator, "critic": self.critic, "average": self.average}
        self._draw = [TextureSampler(textures, 16, device) for textures in (first, second)]
        self.optimisers = [
            torch.optim.Adam(network.parameters(), config.rate, betas=(0.0, 0.99))
            for network in (self.generator, self.critic)
        ]
        self._path_mean = torch.zeros((), device=device)
        self.share = 0.0
        self.total = config.steps + config.tune_steps
        self.resume()

    def one_step(self) -> dict[str, float]:
        c = self.config
        rng = np.random.default_rng([c.seed, self.step])
        noise = torch.Generator(self.device).manual_seed(c.seed * 1_000_003 + self.step)
        batch = self._draw[self.step >= c.steps](c.batch, c.size, rng)
        made, _ = self._make(c.batch, rng, noise)
        loss = functional.softplus(-self._judge(made, batch, noise)).mean()
        terms = {"fool": loss}
        if self.step % LAZY_PATH == 0:
            y = torch.randn(made[: c.batch // 2].shape, generator=noise, device=noise.device)
            short, w = self._make(c.batch // 2, rng, noise)
            terms["path"], self._path_mean = path_penalty(path_lengths(short, w, y), self._path_mean)
            loss = loss + LAZY_PATH * c.path * terms["path"]
        self.descend(0, loss, self.generator)
        with torch.no_grad():
            made, _ = self._make(c.batch, rng, noise)
        real = self._judge(batch.channels, batch, noise)
        terms["critic"] = (functional.softplus(self._judge(made, batch, noise)) + functional.softplus(-real)).mean()
        loss = terms["critic"]
        if self.step % LAZY_R1 == 0:
            terms["r1"] = r1_penalty(lambda x: self.critic(x, batch.seen, batch.colour), batch.channels)
            loss = loss + LAZY_R1 * c.r1 / 2 * terms["r1"]
        self.descend(1, loss, self.critic)
        self.share = float(np.clip(self.share + 1e-3 * np.sign(real.detach().sign().mean().item() - TARGET_SIGN), 0, 1))
        follow_average(self.average, self.generator, min(c.keep, (self.step + 1) / (self.step + 10)))
        return {name: float(value.detach()) for name, value in terms.items()} | {"augmented": self.share}

    def _make(self, count: int, rng: np.random.Generator, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        z, other = (torch.randn(count, W, generator=noise, device=noise.device) for _ in range(2))
        mixed = rng.random() < self.config.mixing
        cut = int(rng.integers(1, self.generator.synthesis.codes)) if mixed else None
        return self.generator(z, other if mixed else None, cut, noise)

    def _judge(self, texture: Tensor, batch: TextureBatch, noise: torch.Generator) -> Tensor:
        return self.critic(augment(texture, self.share, noise), batch.seen, batch.colour)

    def state(self) -> dict[str, Any]:
        """See :class:`TrainingRun`."""
        return super().state() | {"path_mean": self._path_mean, "share": self.share}

    def restore(self, state: dict[str, Any]) -> None:
        """See :class:`TrainingRun`."""
        super().restore(state)
        self._path_mean, self.share = state["path_mean"], float(state["share"])


def importance(model: FaceModel, size: int) -> np.ndarray:
    """(T, T) in 0..1, how much each texel matters: most where emotion moves the skin."""
    mask = edit_mask(model, UvTemplate(model, size))
    return ELSEWHERE + (1 - ELSEWHERE) * mask / mask.max()


def sheet(pictures: list[np.ndarray]) -> np.ndarray:
    """(T, N·T) uint8 sample sheet of (T, T) log-luminance textures."""
    return np.hstack([np.clip(128 + 100 * p, 0, 255).astype(np.uint8) for p in pictures])


@torch.no_grad()
def samples(run: TrainingRun, textures: Textures, count: int = 6) -> np.ndarray:
    """A sheet: training textures over what the autoencoder makes of them, or samples of the GAN at the mean light."""
    rows = np.linspace(0, len(textures) - 1, count).astype(int)
    if isinstance(run, GanRun):
        z = torch.randn(count, W, generator=torch.Generator().manual_seed(0)).to(run.device)
        made = run.average.synthesis(run.average.mapping(z, 0.7)[:, None].repeat(1, run.average.synthesis.codes, 1))
        return sheet(list(made[:, 0].cpu().numpy()))
    encoder, generator = run.average
    channels, seen = textures.read(rows)
    inputs = [torch.from_numpy(a).to(run.device) for a in (channels, seen, textures.colour[rows].astype(np.float32))]
    made = generator(encoder(*inputs))[:, 0].cpu().numpy() * seen[:, 0]
    return np.vstack([sheet(list(channels[:, 0])), sheet(list(made))])


def add_data_options(p: argparse.ArgumentParser) -> None:
    """Options that all stages of the texture editor's training share."""
    p.add_argument("--recipe", choices=("open", "paper"), default="open", help="what to learn from, and how")
    p.add_argument("--data", type=Path, help="recipe open: folder of the collection")
    p.add_argument("--cache", type=Path, default=Path("build/cache"), help="recipe open: folder for tracked landmarks")
    p.add_argument("--textures", type=Path, default=Path("build/textures"), help="recipe open: folder for UV textures")
    p.add_argument("--ffhq", type=Path, help="recipe paper: FFHQ as prepared by 'talkedit prepare'")
    p.add_argument("--mead", type=Path, help="recipe paper: MEAD as prepared by 'talkedit prepare'")
    add_run_arguments(p, "build/texture")


def add_start_option(p: argparse.ArgumentParser) -> None:
    """``--start-from``, of the stages that train a generator."""
    text = "recipe paper: begin with this .pkl of StyleGAN2-ADA for PyTorch; nothing in it is executed"
    p.add_argument("--start-from", type=Path, metavar="FILE", help=text)


def open_textures(args: argparse.Namespace, model: FaceModel, size: int) -> tuple[Textures, Collection]:
    """Recipe open: all textures of the collection, held-out people included, and the collection.

    Raises:
        InputError: ``--data`` is missing or unusable.
    """
    if args.data is None:
        raise InputError("recipe open needs --data, the folder of the collection")
    collection = Collection(args.data, args.cache)
    return load_textures(collection, model, args.textures, size), collection


def paper_textures(args: argparse.Namespace, model: FaceModel) -> tuple[Textures, Textures]:
    """Recipe paper: FFHQ's textures and MEAD's training textures.

    Raises:
        InputError: a folder is missing, or the two were prepared at different sizes.
    """
    if args.ffhq is None or args.mead is None:
        raise InputError("recipe paper needs --ffhq and --mead, both folders made by 'talkedit prepare'")
    ffhq, mead = prepared_textures(args.ffhq, model), prepared_textures(args.mead, model)
    if ffhq.size != mead.size:
        raise InputError(f"FFHQ was prepared at {ffhq.size} texels and MEAD at {mead.size}; they must be the same")
    return ffhq, mead


def begin_from(path: Path, config: GanConfig) -> tuple[GanConfig, Generator]:
    """Settings and generator of a training that begins with a network of StyleGAN2-ADA.

    Raises:
        InputError: it is no such network, or not of the size that the settings say.
    """
    start = write_texture_channels(read_generator(path))
    shape = (start.synthesis.channels, len(start.mapping.layers))
    if shape != (config.channels, config.layers):
        raise InputError(f"'{path}' has {shape[1]} layers of mapping and channels {shape[0]}, the settings say "
                         f"{config.layers} and {config.channels}; change 'size', 'most', 'base', 'layers'")  # fmt: skip
    return replace(config, published=True), start


def train(run: TrainingRun, textures: Textures, tensorboard: bool) -> None:
    """Does what is left of a run; prints the log and leaves a sample sheet."""
    finish_run(run, tensorboard)
    cv2.imwrite(str(run.folder / "samples.png"), samples(run, textures))


def main(argv: list[str] | None = None) -> int:
    """Trains, or continues, and writes ``generator.safetensors`` (recipe open: and the encoder) to the run's folder."""
    p = argparse.ArgumentParser(prog="talkedit train tgan", description=__doc__.split("\n")[0])
    add_data_options(p)
    add_start_option(p)
    args = p.parse_args(argv)
    device, model = choose_device(args.device), load_face_model("open")
    if args.recipe == "open":
        if args.start_from:
            raise InputError("--start-from belongs to recipe paper; recipe open starts from eigen-textures")
        config = read_settings(AutoencoderConfig, args.config)
        textures, collection = open_textures(args, model, config.size)
        if config.leave_out:
            textures, _ = split(textures, collection)
        run = AutoencoderRun(config, textures, importance(model, config.size), args.run / "tgan", device)
        train(run, textures, args.tensorboard)
        gan_file.save_network(args.run / gan_file.ENCODER, run.average[0])
        gan_file.save_network(args.run / gan_file.GENERATOR, run.average[1])
        return 0
    ffhq, mead = paper_textures(args, model)
    config = read_settings(GanConfig, args.config)
    if config.size != ffhq.size:
        raise InputError(f"the data was prepared at {ffhq.size} texels, the settings say {config.size}")
    start = None
    if args.start_from:
        config, start = begin_from(args.start_from, config)
    run = GanRun(config, ffhq, mead, args.run / "tgan", device, start)
    train(run, mead, args.tensorboard)
    gan_file.save_network(args.run / gan_file.GENERATOR, run.average)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
