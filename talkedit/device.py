"""Which processor the arrays are worked on."""

from __future__ import annotations

import os

from talkedit.errors import InputError


def cores() -> int:
    """How many processor cores this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def choose_device(name: str) -> str:
    """``"cpu"`` or ``"cuda"``. ``"auto"`` is the CPU, where rasterising costs less than moving pictures to a GPU.

    Raises:
        InputError: CUDA is asked for and not there.
    """
    if name != "cuda":
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        raise InputError("--device cuda: this machine, or this PyTorch, has no CUDA; use --device cpu")
    return "cuda"
