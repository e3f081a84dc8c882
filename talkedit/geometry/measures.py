"""One number on the landmarks for each action unit, which that unit moves most."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Measure = Callable[[np.ndarray], float]


def _height(*points: int) -> Measure:
    return lambda x: float(x[list(points), 1].mean())


def _between(a: tuple[int, ...], b: tuple[int, ...]) -> Measure:
    return lambda x: float(np.linalg.norm(x[list(a)].mean(0) - x[list(b)].mean(0)))


def _upper_lids(x: np.ndarray) -> float:
    return float(x[[159, 386], 1].mean())


def _lower_lids(x: np.ndarray) -> float:
    return float(x[[145, 374], 1].mean())


UNIT_MEASURES: dict[str, Measure] = {
    "AU1": _height(107, 55, 336, 285),
    "AU2": _height(70, 46, 300, 276),
    "AU4": lambda x: -_between((107, 55), (336, 285))(x),
    "AU5": _upper_lids,
    "AU6": _height(117, 118, 346, 347),
    "AU7": lambda x: _lower_lids(x) - _height(117, 118, 346, 347)(x),
    "AU9": _height(48, 131, 278, 360),
    "AU10": _height(37, 267),
    "AU12": _height(61, 291),
    "AU14": lambda x: -float(x[[57, 287], 2].mean()),
    "AU15": lambda x: -_height(61, 291)(x),
    "AU17": _height(199, 175),
    "AU20": _between((61,), (291,)),
    "AU23": lambda x: -_between((0,), (13,))(x) - _between((17,), (14,))(x),
    "AU25": lambda x: float(x[13, 1] - x[14, 1]) + 2 * _height(152)(x),
    "AU26": lambda x: -_height(152)(x),
    "AU45": lambda x: _lower_lids(x) - _upper_lids(x),
}
"""Unit → measure of (468, 3) landmarks in the model's frame, in model units; larger under a stronger unit."""
