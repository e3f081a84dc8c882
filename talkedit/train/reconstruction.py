"""``talkedit train reconstruction``: the small network that reads the 257 coefficients off an aligned crop.

First the fit teaches: where its model's landmarks lie, in three dimensions and in the picture, and its texture and
light. Then the self-supervised losses of Deep3DFaceRecon are added for a short while, through the renderer. What a run
knows is its step: order, mirroring and brightness follow from (seed, step), so an interrupted run continues to the same
end as an uninterrupted one.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn
from torch.nn import functional

from talkedit.data.collection import Collection
from talkedit.device import choose_device
from talkedit.errors import InputError
from talkedit.facemodel.camera import CAMERA, screen_points
from talkedit.facemodel.lighting import AMBIENT
from talkedit.facemodel.load import load_face_model
from talkedit.facemodel.model import FaceModel
from talkedit.facemodel.tensors import FaceTensors
from talkedit.reconstruct.coefficients import LAYOUT
from talkedit.reconstruct.losses import SelfSupervision
from talkedit.reconstruct.network import (
    SMALL_SIZE,
    SMALL_WIDTH,
    ReconstructionNetwork,
    save_small,
    small_network,
    to_tensor,
)
from talkedit.track.topology import IBUG68, LANDMARKS
from talkedit.train.crops import Crops, load_crops
from talkedit.train.faces import split
from talkedit.train.manifest import CROWD, about_crops, update_manifest
from talkedit.train.run import TrainingRun, add_run_arguments, finish_run
from talkedit.train.settings import read_settings

SOURCES = ("faces_open", "london", "mead", "expressive")
PIXEL = CAMERA.distance / CAMERA.focal
"""Model units that one pixel of the 224-pixel crop spans at the face."""


@dataclass(frozen=True)
class Config:
    """Settings of a run; ``--config`` names a JSON file with any of them.

    Attributes:
        seed: of initialisation, order and augmentation.
        width: channels of the network's first layer, a multiple of 8.
        batch: pictures a step.
        epochs: over the crops with the fit as teacher.
        rate: highest learning rate; it rises for a twentieth of the steps and falls along a cosine.
        decay: weight decay.
        tune_steps: steps with the self-supervised losses added, after the epochs.
        tune_batch: pictures in each of these.
        tune_rate: their learning rate.
        leave_out: keep the people of ``held_out_people`` out of the training.
        save_every: steps between snapshots.
    """

    seed: int = 0
    width: int = SMALL_WIDTH
    batch: int = 32
    epochs: int = 14
    rate: float = 2e-3
    decay: float = 0.02
    tune_steps: int = 300
    tune_batch: int = 16
    tune_rate: float = 2e-4
    leave_out: bool = True
    save_every: int = 100

    def __post_init__(self) -> None:
        # PyTorch 2.13 crashes in the backward pass of channels-last convolutions with 4 channels on AVX2.
        if self.width < 8 or self.width % 8:
            raise InputError(f"the width of the network must be a multiple of 8, not {self.width}")

    @classmethod
    def read(cls, path: Path | None) -> Config:
        """The defaults with what a JSON file changes.

        Raises:
            InputError: the file cannot be read, or names a setting that does not exist or has another type.
        """
        return read_settings(cls, path)


@dataclass(frozen=True)
class Batch:
    """A batch on its device: images (B, 3, S, S), coefficients (B, 257), landmarks (B, 468, 2) in 224-crop pixels."""

    images: Tensor
    coefficients: Tensor
    landmarks: Tensor


class Mirror:
    """Pictures and coefficients as a looking-glass shows them.

    Args:
        model: a face model with a nearly symmetric mean.
    """

    def __init__(self, model: FaceModel) -> None:
        flip = np.float32([-1, 1, 1])
        partner = cKDTree(model.mean * flip).query(model.mean)[1]
        mean = model.at_landmarks(model.mean)
        self.landmark_partner = torch.from_numpy(cKDTree(mean * flip).query(mean)[1])
        self._matrices = {
            "identity": self._matrix(model.id_basis[partner] * flip[:, None], model.id_basis),
            "expression": self._matrix(model.exp_basis[partner] * flip[:, None], model.exp_basis),
            "texture": self._matrix(model.tex_basis[partner], model.tex_basis),
            "angle": torch.diag(torch.tensor([1.0, -1.0, -1.0])),
            # Of the nine lighting functions those odd in x change their sign.
            "gamma": torch.diag(torch.tensor([1.0, 1, 1, -1, -1, 1, 1, -1, 1]).repeat(3)),
        }

    @staticmethod
    def _matrix(mirrored: np.ndarray, basis: np.ndarray) -> Tensor:
        """(K, K) that takes coefficients of a face to those of its mirror image, as well as the basis can."""
        b = basis.reshape(-1, basis.shape[2]).astype(np.float64)
        gram = b.T @ b + 1e-9 * np.trace(b.T @ b) * np.eye(b.shape[1])
        return torch.from_numpy(np.linalg.solve(gram, b.T @ mirrored.reshape(b.shape)).T.astype(np.float32))

    def coefficients(self, rows: Tensor) -> Tensor:
        """(B, 257) of the mirrored crops of (B, 257)."""
        x, y, z = rows[:, LAYOUT["translation"]].unbind(1)
        # The principal point lies half a pixel beside the middle of the crop.
        shift = (2 * CAMERA.center - CAMERA.size + 1) / CAMERA.focal * (CAMERA.distance - z)
        parts = {name: rows[:, LAYOUT[name]] @ matrix for name, matrix in self._matrices.items()}
        parts["translation"] = torch.stack([-x - shift, y, z], dim=1)
        return torch.cat([parts[name] for name in LAYOUT], dim=1)

    def expression(self, rows: Tensor) -> Tensor:
        """(B, 64) expression coefficients of the mirrored faces."""
        return rows @ self._matrices["expression"]

    def landmarks(self, points: Tensor) -> Tensor:
        """(B, 468, 2) crop pixels of the mirrored crops."""
        swapped = points[:, self.landmark_partner]
        return torch.stack([CAMERA.size - 1 - swapped[..., 0], swapped[..., 1]], dim=-1)


def draw_batch(crops: Crops, rows: np.ndarray, mirror: Mirror, rng: np.random.Generator) -> Batch:
    """The crops of the given rows, half of them mirrored, all a little brighter or darker."""
    images = to_tensor(crops.images[rows])
    coefficients = torch.from_numpy(crops.coefficients[rows])
    landmarks = torch.from_numpy(crops.landmarks[rows])
    turned = torch.from_numpy(rng.random(len(rows)) < 0.5)
    images[turned] = images[turned].flip(3)
    coefficients[turned] = mirror.coefficients(coefficients[turned])
    landmarks[turned] = mirror.landmarks(landmarks[turned])
    gain = torch.from_numpy(rng.uniform(0.75, 1.15, len(rows)).astype(np.float32))
    images = (images * gain[:, None, None, None]).clamp_(max=1)
    # Brighter pixels mean more light of every kind, the constant part included.
    light = coefficients[:, LAYOUT["gamma"]].unflatten(1, (3, 9)) * gain[:, None, None]
    light[..., 0] += AMBIENT * (gain[:, None] - 1)
    coefficients[:, LAYOUT["gamma"]] = light.flatten(1)
    return Batch(images.contiguous(), coefficients, landmarks)


class Teacher(nn.Module):
    """How far answers lie from the fit's, all shape terms in pixels of the 224-pixel crop.

    Args:
        model: the face model.
        coefficients: (N, 257) of the training crops, for the scale of each number.
    """

    def __init__(self, model: FaceModel, coefficients: np.ndarray) -> None:
        super().__init__()
        keep = {"mean": model.mean, "identity": model.id_basis, "expression": model.exp_basis}
        for name, values in keep.items():
            rows = model.at_landmarks(values)
            flat = rows if name == "mean" else rows.reshape(-1, rows.shape[2]).T
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(flat, np.float32)))
        self.register_buffer("scale", torch.from_numpy(coefficients.std(0) + 1e-3))

    def points(self, coefficients: Tensor) -> Tensor:
        """(B, 468, 2) landmarks of (B, 257) in pixels of the 224-pixel crop."""
        part = {name: coefficients[:, where] for name, where in LAYOUT.items()}
        offset = part["identity"] @ self.identity + part["expression"] @ self.expression
        shape = self.mean + offset.unflatten(1, (LANDMARKS, 3))
        return screen_points(shape, part["angle"], part["translation"])[..., :2]

    def forward(self, answer: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms by name; their sum is the loss."""
        wrong = answer - batch.coefficients
        # Coefficients matter by how far they move the face.
        moved = {name: (wrong[:, LAYOUT[name]] @ getattr(self, name)).unflatten(1, (LANDMARKS, 3)) / PIXEL
                 for name in ("identity", "expression")}  # fmt: skip
        standard = wrong / self.scale
        small = {name: functional.smooth_l1_loss(standard[:, LAYOUT[name]], torch.zeros_like(wrong[:, LAYOUT[name]]))
                 for name in LAYOUT}  # fmt: skip
        return {
            "picture": (self.points(answer) - batch.landmarks).norm(dim=-1).mean(),
            "shape": (moved["identity"] + moved["expression"]).norm(dim=-1).mean(),
            "expression": moved["expression"].norm(dim=-1).mean(),
            "coefficients": small["identity"] + small["expression"],
            "pose": small["angle"] + small["translation"],
            "colour": 2 * (small["texture"] + small["gamma"]),
        }


class Run(TrainingRun):
    """One training run in a folder: ``snapshot.pt`` and ``log.jsonl``.

    Args:
        config: settings.
        model: the face model.
        crops: to train on.
        folder: of the run; a snapshot in it is continued.
        device: "cpu" or "cuda".

    Raises:
        InputError: the snapshot belongs to other settings or is damaged.
    """

    def __init__(self, config: Config, model: FaceModel, crops: Crops, folder: Path, device: str = "cpu") -> None:
        super().__init__(config, folder, device)
        self.crops = crops
        network = small_network(config.width)
        for head, where in zip(network.final_layers, _head_slices(), strict=True):
            head.bias.data = torch.from_numpy(crops.coefficients[:, where].mean(0))
        # Fewer than 16 channels, channels last: torch 2.13 crashes in a gradient on some CPUs (oneDNN, AVX-512).
        self._layout = torch.channels_last if config.width >= 16 else torch.contiguous_format
        self.network = network.to(device, memory_format=self._layout)
        self.mirror = Mirror(model)
        self.teacher = Teacher(model, crops.coefficients).to(device)
        self.supervision = SelfSupervision(FaceTensors(model), SMALL_SIZE).to(device)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), config.rate, weight_decay=config.decay)
        self.steps_an_epoch = max(len(crops) // config.batch, 1)
        self.taught = config.epochs * self.steps_an_epoch
        self.total = self.taught + config.tune_steps
        self.resume()

    def one_step(self) -> dict[str, float]:
        tuning, config = self.step >= self.taught, self.config
        rng = np.random.default_rng([config.seed, self.step])
        batch = self._batch(rng, config.tune_batch if tuning else config.batch)
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        self.network.train(not tuning)  # small batches at the end must not disturb the normalisation
        answer = self.network(batch.images.contiguous(memory_format=self._layout))
        terms = self.teacher(answer, batch)
        if tuning:
            points = batch.landmarks[:, torch.from_numpy(IBUG68).to(self.device)]
            terms |= self.supervision(answer, batch.images.permute(0, 2, 3, 1), points)
        loss = sum(terms.values())
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 20.0)
        self.optimiser.step()
        return {name: float(value.detach()) for name, value in terms.items()} | {"loss": float(loss.detach())}

    def _batch(self, rng: np.random.Generator, count: int) -> Batch:
        if self.step < self.taught:
            epoch, place = divmod(self.step, self.steps_an_epoch)
            order = np.random.default_rng([self.config.seed, 1_000_003, epoch]).permutation(len(self.crops))
            rows = order[place * count : (place + 1) * count]
        else:
            rows = rng.integers(0, len(self.crops), count)
        drawn = draw_batch(self.crops, rows, self.mirror, rng)
        return Batch(*(getattr(drawn, f.name).to(self.device) for f in fields(Batch)))

    def _rate(self) -> float:
        if self.step >= self.taught:
            return self.config.tune_rate * (1 - (self.step - self.taught) / max(self.config.tune_steps, 1))
        rise = min(1.0, (self.step + 1) / (0.05 * self.taught + 1))
        return self.config.rate * rise * max(0.5 * (1 + math.cos(math.pi * self.step / self.taught)), 0.01)

    def continues(self, stored: dict[str, Any]) -> bool:
        """See :class:`TrainingRun`; lengths and rates may change where a run is continued."""
        return all(stored[name] == getattr(self.config, name) for name in ("seed", "width", "batch", "leave_out"))

    def state(self) -> dict[str, Any]:
        """See :class:`TrainingRun`."""
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """See :class:`TrainingRun`."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])


def _head_slices() -> list[slice]:
    """Where the seven heads' numbers lie among the 257."""
    x = LAYOUT["translation"].start
    whole = [LAYOUT[name] for name in LAYOUT if name != "translation"]
    return [*whole, slice(x, x + 2), slice(x + 2, x + 3)]


def finish(network: ReconstructionNetwork, config: Config, crops: Crops, output: Path, manifest: Path) -> None:
    """Writes the weights and their entry in the manifest."""
    output.parent.mkdir(parents=True, exist_ok=True)
    save_small(output, network, {"config": json.dumps(asdict(config))})
    what = f"reconstruction network: a {SMALL_SIZE}-pixel crop to 257 coefficients of the open face model"
    sources = ("MEAD", "London set", "LivePortrait examples", CROWD)
    update_manifest(manifest, output, about_crops(what, sources, len(crops), config.leave_out))


def main(argv: list[str] | None = None) -> int:
    """Trains, or continues, and writes the weights."""
    p = argparse.ArgumentParser(prog="talkedit train reconstruction", description=__doc__.split("\n")[0])
    p.add_argument("--data", type=Path, required=True, help="folder of the open recipe's collection")
    p.add_argument("--cache", type=Path, default=Path("build/cache"), help="folder for tracked landmarks")
    p.add_argument("--crops", type=Path, default=Path("build/crops"), help="folder for crops and fitted coefficients")
    add_run_arguments(p, "build/reconstruction")
    p.add_argument("-o", "--output", type=Path, default=Path("checkpoints/reconstruction.safetensors"))
    p.add_argument("--manifest", type=Path, default=Path("checkpoints/manifest.json"))
    args = p.parse_args(argv)
    config = Config.read(args.config)
    device = choose_device(args.device)
    collection, model = Collection(args.data, args.cache), load_face_model("open")
    crops = load_crops(collection, model, SOURCES, args.crops)
    if config.leave_out:
        crops, _ = split(crops, collection)
    run = Run(config, model, crops, args.run, device)
    finish_run(run, args.tensorboard)
    finish(run.network.cpu(), config, crops, args.output, args.manifest)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
