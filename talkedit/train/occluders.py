"""``talkedit train occluders``: the network that sees what stands before a face.

Faces without labels have made-up things drawn before them; what these hide is known. Beards, glasses, fringes, teeth
and shadows are in the pictures as they are, and teach what is no occluder. What a run knows is its step: draws follow
from (seed, step).
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional

from talkedit.data.collection import Collection
from talkedit.device import choose_device
from talkedit.facemodel.load import load_face_model
from talkedit.texture.stylegan import follow_average
from talkedit.texture.uv_map import LUMINANCE
from talkedit.track.cover_network import CoverNetwork, normalised, save_cover
from talkedit.track.texels import SIZE, Texels
from talkedit.train.crops import Crops, load_crops
from talkedit.train.faces import split
from talkedit.train.manifest import CROWD, about_crops, update_manifest
from talkedit.train.run import TrainingRun, add_run_arguments, finish_run
from talkedit.train.settings import read_settings
from talkedit.train.things import Scene, seen_through

SOURCES = ("faces_open", "london", "mead")


@dataclass(frozen=True)
class Config:
    """Settings of a run; ``--config`` names a JSON file with any of them.

    Attributes:
        seed: of initialisation, draws and augmentation.
        steps: in all.
        batch: faces a step.
        rate: highest learning rate; it falls to 0 along a cosine.
        bare: share of the faces with nothing before them.
        second: share of the others that have two things.
        shaded: chance, below 1, that a face gets a made-up shadow or light, and then one more.
        few: share of each batch that is drawn from the few people of the clips and the studio.
        keep: of the moving average of the weights, which is what is used afterwards.
        leave_out: keep the people of ``held_out_people`` out of the training.
        save_every: steps between snapshots.
    """

    seed: int = 0
    steps: int = 4000
    batch: int = 40
    rate: float = 2e-3
    bare: float = 0.4
    second: float = 0.2
    shaded: float = 0.5
    few: float = 0.2
    keep: float = 0.998
    leave_out: bool = True
    save_every: int = 200


class Maker:
    """Draws things before the faces of crops and takes the texels.

    Args:
        crops: pictures and landmarks.
        texels: where they are sampled.
        config: settings.
    """

    def __init__(self, crops: Crops, texels: Texels, config: Config) -> None:
        self.crops, self.texels, self.config = crops, texels, config
        self._scale = crops.images.shape[1] / 224

    def example(self, row: int, rng: np.random.Generator) -> np.ndarray:
        """(N, 3) float32 of one face's texels: luminance, how much is hidden (0..1), and whether that is known."""
        crops, config = self.crops, self.config
        grey = (crops.images[row] @ LUMINANCE).astype(np.float32)
        other = (crops.images[rng.integers(len(crops))] @ LUMINANCE).astype(np.float32)
        points = crops.landmarks[row] * self._scale
        face = np.stack([points.min(0), points.max(0)])
        while rng.random() < config.shaded:
            grey = Scene(grey, face, other, rng).shade()
        cover, known = np.zeros_like(grey), (crops.images[row].max(2) > 0).astype(np.uint8)  # black beyond the picture
        for _ in range(0 if rng.random() < config.bare else 1 + (rng.random() < config.second)):
            grey, one = Scene(grey, face, other, rng).draw()
            cover = np.maximum(cover, one)
        # Where a face is found is never quite certain, least of all behind something.
        spread = np.ptp(points[:, 0]) * np.float32(0.012)
        points = points + rng.normal(0, spread, 2) + rng.normal(0, 0.3 * spread, points.shape)
        known = np.maximum(cv2.morphologyEx(known, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)), cover > 0.5)
        stack = np.dstack([seen_through(grey, rng), 255 * cover, 255 * known]).clip(0, 255).astype(np.uint8)
        sampled = self.texels.sample(stack, points.astype(np.float32)).astype(np.float32)
        return sampled / np.float32([1, 255, 255])

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, 1, SIZE, SIZE) inputs, what is hidden, and where that is known."""
        examples = np.stack([self.example(r, rng) for r in rows]).transpose(2, 0, 1)
        examples[0] = normalised(examples[0])
        out = np.zeros((3, len(rows), SIZE, SIZE), np.float32)
        out[:, :, self.texels.inside] = examples
        flip = rng.random(len(rows)) < 0.5
        out[:, flip] = out[:, flip, :, ::-1]
        return tuple(torch.from_numpy(part)[:, None] for part in out)


class Run(TrainingRun):
    """One training run in a folder.

    Args:
        config: settings.
        crops: to train on.
        folder: of the run; a snapshot in it is continued.
        device: "cpu" or "cuda".

    Attributes:
        average: moving average of the weights: what is used afterwards.

    Raises:
        InputError: the snapshot belongs to other settings or is damaged.
    """

    def __init__(self, config: Config, crops: Crops, folder: Path, device: str = "cpu") -> None:
        super().__init__(config, folder, device)
        self.maker = Maker(crops, Texels(load_face_model("open")), config)
        crowd = crops.sources == "faces_open"
        self._crowd, self._few = np.flatnonzero(crowd), np.flatnonzero(~crowd)
        self.network = CoverNetwork().to(device)
        self.average = copy.deepcopy(self.network)
        self.optimisers = [torch.optim.AdamW(self.network.parameters(), config.rate, weight_decay=1e-2)]
        self.networks = {"network": self.network, "average": self.average}
        self.total = config.steps
        self.resume()

    def one_step(self) -> dict[str, float]:
        config = self.config
        rng = np.random.default_rng([config.seed, self.step])
        rate = config.rate * 0.5 * (1 + math.cos(math.pi * self.step / config.steps))
        self.optimisers[0].param_groups[0]["lr"] = rate
        few = round(config.batch * config.few) if len(self._few) and len(self._crowd) else 0
        pools = (self._crowd, config.batch - few), (self._few, few)
        rows = np.concatenate([rng.choice(pool, count) for pool, count in pools if len(pool)])
        inputs, hidden, known = (part.to(self.device) for part in self.maker.batch(rows, rng))
        logits = self.network(inputs)
        loss = functional.binary_cross_entropy_with_logits(logits, hidden, known)
        with torch.no_grad():
            found, true = (logits > 0).float() * known, (hidden > 0.5).float() * known
            overlap = (found * true).sum() / (found + true - found * true).sum().clamp(min=1)
        self.descend(0, loss, self.network)
        follow_average(self.average, self.network, min(config.keep, (self.step + 1) / (self.step + 10)))
        for name, value in self.network.named_buffers():
            self.average.get_buffer(name).copy_(value)
        return {"loss": float(loss.detach()), "overlap": float(overlap)}


def finish(network: CoverNetwork, config: Config, crops: Crops, output: Path, manifest: Path) -> None:
    """Writes the weights and their entry in the manifest."""
    output.parent.mkdir(parents=True, exist_ok=True)
    save_cover(output, network, {"config": json.dumps(asdict(config))})
    what, sources = "occluder network: what hides a face, from its 64-texel texture", (CROWD, "London set", "MEAD")
    update_manifest(manifest, output, about_crops(what, sources, len(crops), config.leave_out))


def main(argv: list[str] | None = None) -> int:
    """Trains, or continues, and writes the weights."""
    p = argparse.ArgumentParser(prog="talkedit train occluders", description=__doc__.split("\n")[0])
    p.add_argument("--data", type=Path, required=True, help="folder of the open recipe's collection")
    p.add_argument("--cache", type=Path, default=Path("build/cache"), help="folder for tracked landmarks and crops")
    add_run_arguments(p, "build/occluders")
    p.add_argument("-o", "--output", type=Path, default=Path("checkpoints/occluders.safetensors"))
    p.add_argument("--manifest", type=Path, default=Path("checkpoints/manifest.json"))
    args = p.parse_args(argv)
    config, device = read_settings(Config, args.config), choose_device(args.device)
    collection = Collection(args.data, args.cache)
    crops = load_crops(collection, load_face_model("open"), SOURCES, args.cache)
    if config.leave_out:
        crops, _ = split(crops, collection)
    run = Run(config, crops, args.run, device)
    finish_run(run, args.tensorboard)
    finish(run.average.cpu().eval(), config, crops, args.output, args.manifest)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
