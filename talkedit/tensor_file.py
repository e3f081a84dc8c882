"""Reading safetensors files whole, into NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import safe_open


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file by name, and the strings of its header.

    Raises:
        SafetensorError, OSError: it is damaged or cannot be read; callers say what the file should have been.
    """
    with safe_open(str(path), framework="numpy") as f:
        return {k: f.get_tensor(k) for k in f.keys()}, f.metadata() or {}  # noqa: SIM118
