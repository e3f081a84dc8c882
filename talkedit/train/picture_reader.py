"""``talkedit train reader``: reads emotions off pictures of faces, for moves that are to be seen as an emotion.

Small convolutional networks on grey crops, trained on the same people as the geometry GAN. Labels of crowds are noisy
and actors few, so what one network takes for an emotion is in part chance: several are trained, at different sizes,
and `Reader` averages them. Nothing of it ships or runs at edit time, see `talkedit.train.guide`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.nn import functional

from talkedit.data.collection import Collection
from talkedit.device import choose_device
from talkedit.emotions import EMOTIONS
from talkedit.errors import InputError
from talkedit.facemodel.load import load_face_model
from talkedit.geometry.gan import TARGETS
from talkedit.tensor_file import read_tensors
from talkedit.train.codes import judge_people
from talkedit.train.crops import Crops, emotions_of, load_crops
from talkedit.train.run import TrainingRun, add_run_arguments, finish_run
from talkedit.train.settings import read_settings

SOURCES = ("mead", "london", "faces_open")
SIZES = (48, 56)
"""Pixels a side of what each network reads."""
ZOOM = 0.85
"""How much of a 112-pixel crop's half side the pictures show."""
_WIDTHS = (16, 32, 64, 96)
_NOISE = 0.03


class PictureReader(nn.Module):
    """Logits of ``TARGETS`` for grey pictures; contrast and brightness are taken out first."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in zip((1, *_WIDTHS), _WIDTHS, strict=False):
            for channels in (before, width):
                layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            layers.append(nn.AvgPool2d(2))
        self.body = nn.Sequential(*layers)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(_WIDTHS[-1], len(TARGETS))

    def forward(self, grey: Tensor) -> Tensor:
        """(B, 8) logits of (B, 1, S, S) pictures, 0..1, S a multiple of 8 pixels."""
        grey = (grey - grey.mean((2, 3), keepdim=True)) / (grey.std((2, 3), keepdim=True) + 0.05)
        return self.out(self.drop(self.body(grey).mean((2, 3))))


class Reader(nn.Module):
    """Several networks as one: the mean of their log probabilities.

    Args:
        networks: one for each of ``SIZES``.
    """

    def __init__(self, networks: list[PictureReader]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.eval().requires_grad_(False)

    def forward(self, grey: Tensor) -> Tensor:
        """(B, 8) log probabilities of (B, 1, S, S) pictures, 0..1."""
        return torch.stack([network(grey).log_softmax(1) for network in self.networks]).mean(0)


def save_reader(path: Path, reader: Reader, metadata: dict[str, str]) -> None:
    """Writes the networks as safetensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: np.ascontiguousarray(t.numpy()) for name, t in reader.state_dict().items()}
    save_file(tensors, str(path), metadata=metadata)


def load_reader(path: Path) -> Reader:
    """Reads them.

    Raises:
        InputError: the file is damaged or something else.
    """
    try:
        tensors, _ = read_tensors(path)
        reader = Reader([PictureReader() for _ in SIZES])
        reader.load_state_dict({name: torch.from_numpy(t) for name, t in tensors.items()})
        return reader
    except (SafetensorError, OSError, RuntimeError) as error:
        raise InputError(f"{path} is not a picture reader ({error})") from error


@dataclass(frozen=True)
class Config:
    """Settings of a run; ``--config`` names a JSON file with any of them.

    Attributes:
        seed: of initialisation and batches.
        batch: pictures a step and network.
        steps: in all.
        rate: highest learning rate; it rises over the first tenth and falls along half a cosine.
        decay: of the weights.
        leave_out: keep the people of `talkedit.train.codes.judge_people` out of the training.
        save_every: steps between snapshots and lines of the log.
    """

    seed: int = 0
    batch: int = 64
    steps: int = 1800
    rate: float = 3e-3
    decay: float = 1e-2
    leave_out: bool = True
    save_every: int = 100


@dataclass(frozen=True)
class Pictures:
    """What is read: (N, 112, 112) uint8 grey crops, (N,) index into ``TARGETS``, (N,) names of their sources."""

    grey: np.ndarray
    label: np.ndarray
    source: np.ndarray

    @classmethod
    def of(cls, crops: Crops, emotions: np.ndarray, chosen: np.ndarray) -> Pictures:
        """Those crops of a mask that have a label."""
        label = np.array([TARGETS.index(e) if e in TARGETS else -1 for e in emotions])
        chosen = chosen & (label >= 0)
        return cls(grey_of(crops.images[chosen]), label[chosen], crops.sources[chosen])


def grey_of(images: np.ndarray) -> np.ndarray:
    """(N, H, W) uint8 means of (N, H, W, 3) uint8 channels."""
    return np.stack([i.mean(-1) for i in images]).astype(np.uint8)


def view(size: int, turn: Tensor | None = None) -> Tensor:
    """(B, S, S, 2) where on a crop, -1..1, a picture's pixels lie; ``turn`` (B, 2, 3) moves them."""
    line = (torch.arange(size) + 0.5) / size * 2 - 1
    grid = torch.stack([*torch.meshgrid(line, line, indexing="xy"), torch.ones(size, size)], -1)
    still = torch.tensor([[[ZOOM, 0, 0], [0, ZOOM, 0]]]) if turn is None else turn * ZOOM
    return torch.einsum("hwk,bck->bhwc", grid, still)


def look(grey: Tensor, grid: Tensor) -> Tensor:
    """(B, 1, S, S) samples of (B, 1, H, W) pictures on a (B, S, S, 2) grid."""
    return functional.grid_sample(grey, grid, padding_mode="border", align_corners=False)


def disturbed(grey: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """(B, 1, S, S) pictures of (B, 1, 112, 112) crops, 0..1: turned, mirrored, relit, blurred, noisy, covered."""
    count = len(grey)

    def normal(spread: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(0, spread, shape).astype(np.float32))

    angle, scale, aspect = normal(0.12, count), normal(0.07, count).exp(), normal(0.05, count).exp()
    side = torch.from_numpy(rng.choice(np.float32([-1, 1]), count))
    c, s, shift = angle.cos() * scale, angle.sin() * scale, normal(0.05, 2, count)
    rows = [torch.stack([c * side * aspect, -s, shift[0]], 1), torch.stack([s * side, c, shift[1]], 1)]
    out = look(grey, view(size, torch.stack(rows, 1)))
    out = out.clamp(1e-3, 1) ** normal(0.25, count, 1, 1, 1).exp()
    line, slope = torch.linspace(-1, 1, size), normal(0.2, 2, count, 1, 1, 1)
    out = out * (1 + slope[0] * line[None, None, None] + slope[1] * line[None, None, :, None])
    soft = functional.interpolate(functional.avg_pool2d(out, 2), scale_factor=2.0, mode="bilinear")
    out = torch.where(torch.from_numpy(rng.random((count, 1, 1, 1)) < 0.4), soft, out)
    out = out + normal(0.03, *out.shape) * torch.from_numpy(rng.random((count, 1, 1, 1), np.float32))
    for b in np.flatnonzero(rng.random(count) < 0.25):
        high, wide = rng.integers(size // 8, size // 3, 2)
        y, x = rng.integers(0, size - high), rng.integers(0, size - wide)
        out[b, :, y : y + high, x : x + wide] = float(rng.random())
    return out


def noisy(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """(B, 1, S, S) pictures with a little noise, so that no slope leads to what only a network sees."""
    return pictures + _NOISE * torch.from_numpy(rng.standard_normal(pictures.shape, np.float32))


def strangers(crops: Crops, collection: Collection) -> np.ndarray:
    """(N,) bool: crops of people whom a reader that leaves people out has not learned from."""
    return np.isin(crops.people, sorted(judge_people([s for s in collection.samples if s.source in SOURCES])))


class Run(TrainingRun):
    """One training run in a folder: ``snapshot.pt`` and ``log.jsonl``.

    Args:
        config: settings.
        pictures: to learn from.
        folder: of the run; a snapshot in it is continued.
        device: "cpu" or "cuda".
    """

    def __init__(self, config: Config, pictures: Pictures, folder: Path, device: str = "cpu") -> None:
        super().__init__(config, folder, device)
        self.grey, self.label = torch.from_numpy(pictures.grey)[:, None], pictures.label
        # Emotions weigh alike; within one, a source by the root of how much of it there is.
        self.cells = [
            [rows for s in np.unique(pictures.source)
             if len(rows := np.flatnonzero((pictures.label == k) & (pictures.source == s)))]
            for k in np.unique(pictures.label)
        ]  # fmt: skip
        self.readers = [PictureReader().to(device) for _ in SIZES]
        self.networks = {f"reader{size}": reader for size, reader in zip(SIZES, self.readers, strict=True)}
        self.optimisers = [
            torch.optim.AdamW(reader.parameters(), config.rate, weight_decay=config.decay) for reader in self.readers
        ]
        self.total = config.steps
        self.resume()

    def one_step(self) -> dict[str, float]:
        done = self.step / self.config.steps
        falling = 0.5 + 0.5 * float(np.cos(np.pi * max(done - 0.1, 0) / 0.9))
        rate = self.config.rate * min(done / 0.1 + 0.04, falling)
        seen = {}
        for i, (size, reader) in enumerate(zip(SIZES, self.readers, strict=True)):
            rng = np.random.default_rng([self.config.seed, self.step, i])
            torch.manual_seed(int(rng.integers(2**31)))  # dropout
            rows = self._draw(rng)
            shown = disturbed(self.grey[rows].float() / 255, size, rng).to(self.device)
            wanted = torch.from_numpy(self.label[rows]).to(self.device)
            loss = functional.cross_entropy(reader(shown), wanted, label_smoothing=0.1)
            self.optimisers[i].param_groups[0]["lr"] = rate
            self.descend(i, loss, reader)
            seen[f"loss{size}"] = float(loss.detach())
        return seen

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        out = np.empty(self.config.batch, int)
        for i, k in enumerate(rng.integers(0, len(self.cells), self.config.batch)):
            shares = np.array([len(rows) for rows in self.cells[k]]) ** 0.5
            rows = self.cells[k][rng.choice(len(shares), p=shares / shares.sum())]
            out[i] = rows[rng.integers(len(rows))]
        return out


@torch.no_grad()
def recall(reader: Reader, pictures: Pictures) -> dict[str, float]:
    """Share of each emotion's pictures that are read as it."""
    grid = view(SIZES[-1])
    read = []
    for start in range(0, len(pictures.grey), 256):
        grey = torch.from_numpy(pictures.grey[start : start + 256])[:, None].float() / 255
        read.append(reader(look(grey, grid.expand(len(grey), -1, -1, -1))).argmax(1).numpy())
    hit = np.concatenate(read) == pictures.label
    return {TARGETS[k]: round(float(hit[pictures.label == k].mean()), 3) for k in np.unique(pictures.label)}


@torch.no_grad()
def growth(reader: Reader, count: int, show: Callable[[Tensor, int | None], Tensor]) -> dict[str, float]:
    """By how much each emotion's mean probability grows on pictures that an edit changes.

    Args:
        reader: of the pictures.
        count: how many there are.
        show: (rows, index of the emotion or None for the pictures as they are) → (B, 1, S, S).
    """

    def read(emotion: int | None) -> Tensor:
        return torch.cat([reader(show(rows, emotion)).exp() for rows in torch.arange(count).split(64)])

    still = read(None)
    return {name: round(float((read(k) - still)[:, k].mean()), 4) for k, name in enumerate(EMOTIONS)}


def main(argv: list[str] | None = None) -> int:
    """Trains, or continues, and writes the reader."""
    p = argparse.ArgumentParser(prog="talkedit train reader", description=__doc__.split("\n")[0])
    p.add_argument("--data", type=Path, required=True, help="folder of the collection")
    p.add_argument("--cache", type=Path, default=Path("build/cache"), help="folder for landmarks and crops")
    add_run_arguments(p, "build/reader")
    p.add_argument("-o", "--output", type=Path, default=Path("build/picture_reader.safetensors"))
    args = p.parse_args(argv)
    config = read_settings(Config, args.config)
    collection = Collection(args.data, args.cache)
    crops = load_crops(collection, load_face_model("open"), SOURCES, args.cache)
    emotions = emotions_of(collection, SOURCES)
    out = strangers(crops, collection)
    run = Run(config, Pictures.of(crops, emotions, ~out | (not config.leave_out)), args.run,
              choose_device(args.device))  # fmt: skip
    finish_run(run, args.tensorboard)
    reader = Reader([network.cpu() for network in run.readers])
    if config.leave_out:
        print(json.dumps({"recall": recall(reader, Pictures.of(crops, emotions, out))}), flush=True)
    save_reader(args.output, reader, {"config": json.dumps(asdict(config))})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
