"""Things before a face, drawn into frames: a ground truth for what must stay in front of an edit.

A cup that comes up to the mouth and goes, a foam microphone fixed in the picture before the chin, a strand of hair that
falls over a cheek, and a sheet of paper that passes. Edges are soft, movement blurs, and there is grain.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

KINDS = ("cup", "microphone", "hair", "paper")
# Share of a frame's time for which its shutter is open, and positions drawn within it.
SHUTTER, STEPS = 0.5, 5
# Standard deviation of the grain, of 255.
GRAIN = 2.0
_COLOURS = ((235, 232, 225), (170, 30, 30), (40, 70, 150), (30, 32, 34), (70, 130, 90), (225, 170, 40))


@dataclass(frozen=True)
class Occluder:
    """One thing on its way through a clip.

    Args:
        kind: of ``KINDS``.
        face: (4,) x0, y0, x1, y1 of the face where the clip begins, pixels; what the thing is placed and sized by.
        first, last: frames between which it comes, stays and goes. A microphone is there all the time.
        seed: of its colour, size and place.
    """

    kind: str
    face: np.ndarray
    first: int
    last: int
    seed: int = 0

    def draw(self, rgb: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Frame ``index`` (H, W, 3) uint8 with the thing in it, and (H, W) float32 how much it hides, 0..1."""
        colour, cover = np.zeros(rgb.shape, np.float32), np.zeros(rgb.shape[:2], np.float32)
        for step in range(STEPS):
            one, hides = self._at(rgb.shape, index + SHUTTER * step / STEPS)
            colour += one * hides[..., None] / STEPS
            cover += hides / STEPS
        grain = np.random.default_rng((self.seed, index)).normal(0, GRAIN, rgb.shape).astype(np.float32)
        mixed = rgb * (1 - cover[..., None]) + colour + grain * cover[..., None]
        return np.clip(mixed + 0.5, 0, 255).astype(np.uint8), cover

    def _at(self, shape: tuple[int, ...], time: float) -> tuple[np.ndarray, np.ndarray]:
        """(H, W, 3) colour and (H, W) cover at a moment."""
        ramp = max(1.0, 0.2 * (self.last - self.first))
        there = min((time - self.first) / ramp, (self.last - time) / ramp, 1.0)
        if self.kind != "microphone" and there <= 0:
            return np.zeros(shape, np.float32), np.zeros(shape[:2], np.float32)
        there = np.sin(0.5 * np.pi * there) if there < 1 else 1.0
        return getattr(self, f"_{self.kind}")(shape, time, there, np.random.default_rng(self.seed))

    def _grid(self, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """x and y of every pixel from the middle of the face, in face widths."""
        gx, gy = np.meshgrid(np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32))
        x0, y0, x1, y1 = self.face
        return (gx - (x0 + x1) / 2) / (x1 - x0), (gy - (y0 + y1) / 2) / (x1 - x0)

    def _edge(self, inside: np.ndarray) -> np.ndarray:
        """A soft edge, 1.5 pixels wide, of a signed distance in face widths (positive inside)."""
        return np.clip(inside * float(self.face[2] - self.face[0]) / 1.5 + 0.5, 0, 1).astype(np.float32)

    def _cup(self, shape, time: float, there: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x, y = self._grid(shape)
        radius, height = rng.uniform(0.2, 0.28), rng.uniform(0.42, 0.55)
        colour = np.float32(_COLOURS[rng.integers(len(_COLOURS))])
        rim = 0.22 + 1.2 * (1 - there) + 0.01 * np.sin(0.4 * time)
        x, y = x - rng.uniform(-0.06, 0.06), y - rim
        x = x - 0.12 * y
        across = np.clip(x / radius, -1, 1)
        bulge = 0.05 * np.sqrt(1 - across**2)
        cover = self._edge(np.minimum.reduce([radius - np.abs(x), y + bulge, height + bulge - y]))
        shade = 0.45 + 0.55 * np.sqrt(np.clip(1 - (across + 0.3) ** 2, 0, 1))
        pattern = 1 - 0.35 * ((np.sin(40 * y) > 0.6) & (y > 0.12))
        return colour * (shade * pattern)[..., None].astype(np.float32), cover

    def _microphone(self, shape, time: float, there: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x, y = self._grid(shape)
        radius, side = rng.uniform(0.15, 0.2), rng.uniform(-0.2, 0.2)
        x, y = x - side, y - rng.uniform(0.5, 0.6)
        ball = radius - np.hypot(x, y / 1.15)
        stalk = np.minimum(0.35 * radius - np.abs(x - 0.3 * y), y)
        foam = cv2.GaussianBlur(rng.normal(0, 1, shape[:2]).astype(np.float32), (0, 0), 1.2)
        level = 34 - 40 * x - 30 * y + 12 * foam
        return np.clip(np.repeat(level[..., None], 3, 2), 8, 90), self._edge(np.maximum(ball, stalk))

    def _hair(self, shape, time: float, there: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x, y = self._grid(shape)
        side = rng.choice([-1.0, 1.0])
        swing = 0.25 * (1 - there) - 0.02 * np.sin(0.5 * time) * there
        along = np.clip((y + 0.6) / 1.1, 0, 1)
        middle = side * (0.3 + swing - 0.12 * np.sin(2.6 * along))
        width = rng.uniform(0.05, 0.08) * (1 - 0.7 * along**2)
        inside = np.where((y > -0.6) & (y < 0.5), width - np.abs(x - middle), np.float32(-1))
        streak = np.sin((x - middle) / 0.012 + 3 * along) * 14
        colour = np.float32([[60, 40, 26], [28, 24, 22], [150, 108, 60]])[rng.integers(3)]
        return np.clip(colour + streak[..., None], 0, 255).astype(np.float32), self._edge(inside)

    def _paper(self, shape, time: float, there: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x, y = self._grid(shape)
        side = rng.choice([-1.0, 1.0])
        x, y = x - side * (0.45 + 1.1 * (1 - there)), y - rng.uniform(0.1, 0.3)
        turn = rng.uniform(-0.3, 0.3)
        x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
        cover = self._edge(np.minimum(0.3 - np.abs(x), 0.4 - np.abs(y)))
        lines = (np.sin(60 * y) > 0.5) & (np.abs(x) < 0.24) & (np.sin(97 * x + 13 * np.floor(60 * y / 6.28)) > -0.6)
        level = np.where(lines, 120, 232 + 20 * x)
        return (np.float32([1, 0.99, 0.96]) * level[..., None]).astype(np.float32), cover
