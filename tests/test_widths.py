"""Lower teeth are told from upper ones by their widths, in a picture and over a shot."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from talkedit.facemodel.load import load_face_model
from talkedit.mouth.assembly import Kept
from talkedit.mouth.memory import MouthMemory
from talkedit.mouth.widths import LOWER, UPPER, lower_like

EYE = 120.0
LIGHT = np.float32([190, 140, 120])
WIDTH, HEIGHT, TOP, TALL = 140, 60, 20, 20


def row(widths: tuple[float, ...], scale: float = 1.0, aside: float = 0.0, deep: float = 0.35, blur: float = 1.0):
    """(60, 140, 3) uint8 a row of such crowns, and (60, 140) float32 where its teeth lie."""
    lines = np.cumsum([0.0, *widths, *([widths[-1]] * 4)]) * scale * EYE
    x = np.arange(WIDTH) - WIDTH / 2 - aside
    away = np.abs(np.abs(x)[:, None] - lines).min(1)
    bright = 225 * (1 - deep * np.exp(-0.5 * (away / 1.0) ** 2))
    teeth = np.zeros((HEIGHT, WIDTH), np.float32)
    teeth[TOP : TOP + TALL, 45:95] = 1
    picture = np.full((HEIGHT, WIDTH, 3), 40.0)
    picture[TOP : TOP + TALL] = (bright[:, None] * [1.0, 0.98, 0.92])[None]
    picture += np.random.default_rng(0).normal(size=picture.shape) * 3
    return cv2.GaussianBlur(picture, (0, 0), blur).clip(0, 255).astype(np.uint8), teeth


@pytest.mark.parametrize("scale", [0.9, 1.0, 1.1])
@pytest.mark.parametrize("aside", [-4.0, 0.0, 3.0])
def test_rows_are_told_by_their_widths_wherever_they_lie(scale: float, aside: float) -> None:
    assert lower_like(*row(LOWER, scale, aside), EYE) > 0.15
    assert lower_like(*row(UPPER, scale, aside), EYE) < -0.15


def test_what_shows_no_lines_or_too_few_teeth_tells_nothing() -> None:
    assert lower_like(*row(LOWER, deep=0.02), EYE) is None
    picture, teeth = row(LOWER)
    teeth[:, 55:] = 0
    assert lower_like(picture, teeth, EYE) is None
    assert lower_like(picture, 0 * teeth, EYE) is None


def remembered(widths: tuple[float, ...], gap: int, count: int) -> tuple[MouthMemory, list[Kept]]:
    """A memory with nothing in it yet, and mouths that show a row from their upper lip on, ``gap`` pixels open."""
    model = load_face_model("open")
    memory = MouthMemory(model.at_landmarks(model.mean))
    memory.grid = type("Plane", (), {"pixels": EYE, "size": (WIDTH, HEIGHT), "lips_at": 30.0})()
    along = 45 + 50 * np.minimum(np.arange(20), 20 - np.arange(20)) / 10  # corners are those of the teeth
    loop = np.stack([along, TOP + np.where(np.arange(20) > 10, gap, 0)], 1).astype(np.float32)
    picture, teeth = row(widths)
    return memory, [Kept(0.02, 5 * k, picture, teeth, LIGHT, loop, np.zeros(2)) for k in range(count)]


@pytest.mark.parametrize("widths", [UPPER, LOWER])
def test_lower_teeth_are_not_remembered_as_the_upper_row(widths: tuple[float, ...]) -> None:
    memory, memory.upper = remembered(widths, TALL, 3)
    grid, rows = memory.grid, memory.solve(0.6)
    if widths is LOWER:
        assert rows is None
    else:
        assert rows.upper is not None and rows.lower is None and rows.grid is grid


def test_teeth_far_above_the_lower_lip_are_no_lower_row() -> None:
    for gap, kept in ((TALL + 4, True), (TALL + 30, False)):
        memory, memory.lower = remembered(LOWER, gap, 1)
        rows = memory.solve(0.6)
        assert (rows is not None and rows.lower is not None) == kept


@pytest.mark.parametrize(("is_lower", "tall", "kept"), [(True, 3, False), (True, TALL, True), (False, 3, True)])
def test_what_shows_between_upper_teeth_and_the_lip_is_no_lower_row(is_lower: bool, tall: int, kept: bool) -> None:
    """A strip of upper teeth is a row all the same, if too little of one to show alone."""
    memory, mouths = remembered(LOWER if is_lower else UPPER, TALL + 4, 1)
    y = np.arange(HEIGHT)[:, None]
    last = np.flatnonzero((mouths[0].seen > 0.5).any(1)).max()
    mouths = [replace(mouths[0], seen=mouths[0].seen * (y > last - tall))]
    assert mouths[0].height(EYE) == pytest.approx(min(tall, TALL) / EYE, abs=2.5 / EYE)
    setattr(memory, "lower" if is_lower else "upper", mouths)
    rows = memory.solve(0.6)
    assert (rows is not None and (rows.lower if is_lower else rows.upper) is not None) == kept
