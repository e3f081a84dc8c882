"""A training run in a folder: steps, a log and a snapshot that a later start continues from."""

from __future__ import annotations

import argparse
import json
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from talkedit.errors import InputError
from talkedit.extras import TENSORBOARD
from talkedit.reconstruct.network import load_safely


class TrainingRun(ABC):
    """One training run: ``snapshot.pt`` and ``log.jsonl`` in a folder.

    A subclass builds ``networks`` and ``optimisers``, sets ``total`` and calls :meth:`resume` last in its constructor.

    Args:
        config: a dataclass of settings with ``seed`` and ``save_every``.
        folder: of the run; made if it does not exist.
        device: "cpu" or "cuda".

    Attributes:
        digits: of the figures in the log.
        networks: by the name they have in the snapshot.
        optimisers: theirs.
        step: steps done.
        total: steps in all.
    """

    digits: ClassVar[int] = 4
    total: int

    def __init__(self, config: Any, folder: Path, device: str = "cpu") -> None:
        self.config, self.folder, self.device = config, folder, device
        self.step = 0
        self.networks: dict[str, nn.Module] = {}
        self.optimisers: list[torch.optim.Optimizer] = []
        torch.manual_seed(config.seed)
        folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def one_step(self) -> dict[str, float]:
        """Does one step; returns its terms by name."""

    def state(self) -> dict[str, Any]:
        """Networks and optimisers, as plain values and tensors."""
        return {name: network.state_dict() for name, network in self.networks.items()} | {
            "optimisers": [o.state_dict() for o in self.optimisers]
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes over what :meth:`state` gave."""
        for name, network in self.networks.items():
            network.load_state_dict(state[name])
        for optimiser, values in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(values)

    def descend(self, which: int, loss: Tensor, network: nn.Module) -> None:
        """A step of one optimiser down a loss, with gradients for one network only."""
        self.optimisers[which].zero_grad(set_to_none=True)
        loss.backward(inputs=list(network.parameters()))
        self.optimisers[which].step()

    def continues(self, stored: dict[str, Any]) -> bool:
        """Whether a run with the ``stored`` settings may go on with these; by default only with the same."""
        return stored == asdict(self.config)

    def train(self) -> Iterator[dict[str, float]]:
        """Does the remaining steps; yields the mean terms at every snapshot."""
        seen: dict[str, list[float]] = defaultdict(list)
        started = time.perf_counter()
        while self.step < self.total:
            for name, value in self.one_step().items():
                seen[name].append(value)
            self.step += 1
            if self.step % self.config.save_every == 0 or self.step == self.total:
                line = {"step": self.step, "seconds": round(time.perf_counter() - started, 1)}
                line |= {name: round(float(np.mean(values)), self.digits) for name, values in seen.items()}
                started = time.perf_counter()
                seen.clear()
                self._save(line)
                yield line

    def _save(self, line: dict[str, float]) -> None:
        partial = self.folder / "snapshot.partial"
        torch.save({"config": asdict(self.config), "step": self.step} | self.state(), partial)
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        partial.replace(self.folder / "snapshot.pt")

    def resume(self) -> None:
        """Continues from the folder's snapshot, where there is one.

        Raises:
            InputError: it belongs to other settings or is damaged.
        """
        file = self.folder / "snapshot.pt"
        if not file.exists():
            return
        state = load_safely(file, self.device)
        try:
            if not self.continues(state["config"]):
                raise InputError(f"{file} belongs to a run with other settings; choose another --run folder")
            self.restore(state)
            self.step = int(state["step"])
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{file} is damaged; delete it to start again ({error})") from error


def add_run_arguments(parser: argparse.ArgumentParser, folder: str) -> None:
    """The options that every training run has; ``folder`` is where it lives unless the user says otherwise."""
    parser.add_argument("--run", type=Path, default=Path(folder), help="folder of the run, to continue it")
    parser.add_argument("--config", type=Path, help="JSON file of settings")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--tensorboard", action="store_true", help="also log for TensorBoard, into the run's folder")


def finish_run(run: TrainingRun, tensorboard: bool = False) -> None:
    """Does the remaining steps of a run and prints its log, one JSON object a line.

    Args:
        run: ready to train.
        tensorboard: also write the terms as scalars into ``tensorboard`` in the run's folder.

    Raises:
        InputError: TensorBoard is asked for and not installed.
    """
    board = None
    if tensorboard:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TENSORBOARD.missing() from error
        board = SummaryWriter(str(run.folder / "tensorboard"))
    for line in run.train():
        print(json.dumps(line), flush=True)
        if board is not None:
            for name, value in line.items():
                if name not in ("step", "seconds"):
                    board.add_scalar(name, value, int(line["step"]))
            board.flush()
