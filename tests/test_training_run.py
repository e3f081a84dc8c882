"""Training runs: steps, log, snapshot, and what they say to TensorBoard."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from talkedit.errors import InputError
from talkedit.train.run import TrainingRun, finish_run


@dataclass(frozen=True)
class Config:
    seed: int = 1
    save_every: int = 2
    rate: float = 0.5


class Descent(TrainingRun):
    """Walks down x², a step at a time."""

    def __init__(self, config: Config, folder, total: int) -> None:
        super().__init__(config, folder)
        self.x, self.total = torch.tensor(8.0), total
        self.resume()

    def one_step(self) -> dict[str, float]:
        self.x = self.x - self.config.rate * self.x
        return {"x": float(self.x)}

    def state(self) -> dict[str, Any]:
        return {"x": self.x}

    def restore(self, state: dict[str, Any]) -> None:
        self.x = state["x"]


def test_a_run_goes_on_where_it_stopped(tmp_path):
    whole = list(Descent(Config(), tmp_path / "whole", 5).train())
    assert [line["x"] for line in whole] == [3.0, 0.75, 0.25]  # means of two steps, the last one alone
    list(Descent(Config(), tmp_path / "parts", 2).train())
    second = Descent(Config(), tmp_path / "parts", 5)
    assert second.step == 2 and second.x == 2
    assert [line["x"] for line in second.train()] == [0.75, 0.25]
    log = (tmp_path / "parts" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [2, 4, 5]


def test_other_settings_do_not_continue_a_run(tmp_path):
    list(Descent(Config(), tmp_path, 2).train())
    with pytest.raises(InputError, match="other settings"):
        Descent(Config(rate=0.1), tmp_path, 2)


def test_a_damaged_snapshot_is_named(tmp_path):
    torch.save({"config": {"seed": 1, "save_every": 2, "rate": 0.5}}, tmp_path / "snapshot.pt")
    with pytest.raises(InputError, match="damaged"):
        Descent(Config(), tmp_path, 2)


def test_the_log_is_printed(tmp_path, capsys):
    finish_run(Descent(Config(), tmp_path, 2))
    assert json.loads(capsys.readouterr().out)["x"] == 3.0
    assert not (tmp_path / "tensorboard").exists()


def test_tensorboard_missing_is_said_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run = Descent(Config(), tmp_path, 2)
    with pytest.raises(InputError, match="pip install tensorboard"):
        finish_run(run, tensorboard=True)
    assert run.step == 0


def test_tensorboard_gets_the_terms(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    finish_run(Descent(Config(), tmp_path, 4), tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, round(e.value, 4)) for e in events.Scalars("x")] == [(2, 3.0), (4, 0.75)]
