"""Made-up things before faces, as many kinds as chance can draw: what the occluder network learns from.

A thing is a shape (round, boxy, ragged, a strip, strands, fingers, an edge that comes in from one side, a thin boom),
filled with shades, a pattern, a piece of another photograph or skin, with a soft edge and a shadow on the face behind
it. Pictures are luminance only.
"""

from __future__ import annotations

import cv2
import numpy as np

# Standard deviation of grain and width of the softest edge, of 255 and pixels.
_GRAIN, _SOFT = 6.0, 1.2


class Scene:
    """Draws things before one face.

    Args:
        grey: (S, S) float32 luminance of the face's picture, 0..255.
        face: (2, 2) its low and high corner, pixels.
        other: (S, S) float32, another picture to cut things from.
        rng: where chance comes from.
    """

    def __init__(self, grey: np.ndarray, face: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> None:
        self._grey, self._other, self._rng = grey, other, rng
        self._size = float(face[1, 0] - face[0, 0])
        self._low, self._span = face[0], face[1] - face[0]
        side = len(grey)
        self._y, self._x = np.mgrid[:side, :side].astype(np.float32)

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """(S, S) float32 picture with a thing in it, and (S, S) float32 how much it hides, 0..1."""
        rng = self._rng
        shape = rng.choice([self._ball, self._box, self._blob, self._strip, self._strands, self._fingers, self._side,
                            self._boom], p=[0.2, 0.16, 0.12, 0.1, 0.12, 0.12, 0.12, 0.06])  # fmt: skip
        inside = shape()
        cover = np.clip(inside / rng.uniform(0.7, 2.2) + 0.5, 0, 1)
        cover = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.3, _SOFT))
        if rng.random() < 0.12:  # moved while the shutter was open
            length = int(rng.integers(3, 9))
            kernel = np.zeros((length, length), np.float32)
            end = rng.uniform(0, length - 1, 2)
            cv2.line(kernel, (length // 2, length // 2), tuple(int(v) for v in end), 1)
            cover = cv2.filter2D(cover, -1, kernel / kernel.sum())
        skin = shape == self._fingers and rng.random() < 0.8
        inner = self._skin(inside) if skin else self._filling(inside)
        face = self._grey
        if rng.random() < 0.6:
            shift = rng.uniform(-0.1, 0.1, 2) * self._size
            soft = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.02, 0.1) * self._size)
            soft = cv2.warpAffine(soft, np.float32([[1, 0, shift[0]], [0, 1, shift[1]]]), soft.shape[::-1])
            face = face * (1 - rng.uniform(0, 0.6) * soft)
        return face * (1 - cover) + inner * cover, cover

    def shade(self) -> np.ndarray:
        """(S, S) float32 the picture with a shadow or a light on it, which hides nothing."""
        rng = self._rng
        inside = rng.choice([self._away, self._side, self._blob, self._box, self._strip], p=[0.4, 0.2, 0.2, 0.1, 0.1])()
        soft = np.exp(rng.uniform(np.log(0.6), np.log(0.15 * self._size)))
        edge = cv2.GaussianBlur(np.clip(inside + 0.5, 0, 1), (0, 0), soft)
        return np.minimum(self._grey * np.exp(rng.uniform(-1.6, 0.4) * edge), 255)

    # -- shapes: (S, S) signed distances in pixels, positive inside ---------------------------------------------------

    def _place(self, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """x and y from a place on the face, more often low than high, turned at random; pixels."""
        rng = self._rng
        at = self._low + self._span * (rng.uniform(0.5 - 0.55 * spread, 0.5 + 0.55 * spread), rng.beta(2.2, 1.4) * 1.15)
        turn = rng.uniform(-np.pi, np.pi) if rng.random() < 0.5 else rng.normal(0, 0.25)
        x, y = self._x - at[0], self._y - at[1]
        return x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)

    def _waves(self, cells: int) -> np.ndarray:
        """(S, S) float32 smooth noise, so many cells across."""
        noise = self._rng.normal(0, 1, (cells, cells)).astype(np.float32)
        return cv2.resize(noise, self._x.shape[::-1], interpolation=cv2.INTER_CUBIC)

    def _ball(self) -> np.ndarray:
        """An oval, mostly with a stalk: microphones, lollipops, spoons."""
        rng = self._rng
        x, y = self._place()
        radius = rng.uniform(0.07, 0.3) * self._size
        oval = radius * (1 - np.hypot(x / rng.uniform(0.7, 1.2), y / rng.uniform(0.8, 1.5)) / radius)
        if rng.random() < 0.7:
            stalk = np.minimum(rng.uniform(0.2, 0.9) * radius - np.abs(x - rng.normal(0, 0.15) * y), y)
            oval = np.maximum(oval, stalk)
        return oval.astype(np.float32)

    def _box(self) -> np.ndarray:
        """Paper, phones, cups, with sharp or round corners."""
        rng = self._rng
        x, y = self._place()
        half = rng.uniform(0.08, 0.5, 2) * self._size
        corner = rng.uniform(0, 1) ** 2 * half.min()
        x, y = np.abs(x) - half[0] + corner, np.abs(y - rng.normal(0, 0.1) * x) - half[1] + corner
        return (corner - np.hypot(np.maximum(x, 0), np.maximum(y, 0)) - np.minimum(np.maximum(x, y), 0)).astype(
            np.float32
        )

    def _blob(self) -> np.ndarray:
        """Something ragged."""
        rng = self._rng
        x, y = self._place()
        radius = rng.uniform(0.1, 0.35) * self._size
        noise = self._waves(8)
        return (radius * (1 + 0.45 * noise) - np.hypot(x, y * rng.uniform(0.6, 1.6))).astype(np.float32)

    def _strip(self) -> np.ndarray:
        """A bent strip: a straw, a cable, a strap, an arm."""
        rng = self._rng
        x, y = self._place(0.6)
        width = rng.uniform(0.02, 0.2) * self._size
        bend = rng.normal(0, 0.2) / self._size
        return (width * (1 + rng.normal(0, 0.3) * y / self._size) - np.abs(x - bend * y * y)).astype(np.float32)

    def _strands(self) -> np.ndarray:
        """Loose hair, from above."""
        rng = self._rng
        out = np.full(self._x.shape, -1e3, np.float32)
        top = self._low + self._span * (rng.choice([rng.uniform(-0.1, 0.35), rng.uniform(0.65, 1.1)]), -0.1)
        end = rng.uniform(0.3, 1.1) * self._span[1]
        lean, bend = rng.normal(0, 0.2), rng.normal(0, 0.12)
        for _ in range(rng.integers(1, 6)):
            along = (self._y - top[1]) / end
            middle = top[0] + rng.normal(0, 0.05) * self._size + self._size * (
                lean * along + (bend + rng.normal(0, 0.04)) * np.sin(3 * along)
            )  # fmt: skip
            width = rng.uniform(0.012, 0.07) * self._size * (1 - rng.uniform(0.2, 1) * np.clip(along, 0, 1) ** 2)
            one = np.minimum(width - np.abs(self._x - middle), np.minimum(end - (self._y - top[1]), self._y - top[1]))
            out = np.maximum(out, one)
        return out

    def _fingers(self) -> np.ndarray:
        """Fingers side by side, with or without a palm."""
        rng = self._rng
        x, y = self._place()
        out = np.full(x.shape, -1e3, np.float32)
        width, count = rng.uniform(0.045, 0.085) * self._size, rng.integers(1, 6)
        for i in range(count):
            fan = rng.normal(0, 0.08) + 0.12 * (i - (count - 1) / 2) * rng.uniform(0, 1)
            x0, length = 2 * width * (i - (count - 1) / 2), rng.uniform(0.35, 0.75) * self._size
            fx, fy = x - x0 - fan * y, np.clip(y, -length, 0)
            out = np.maximum(out, width - np.hypot(fx, y - fy))
        if rng.random() < 0.75:
            palm = count * width * rng.uniform(0.9, 1.2)
            out = np.maximum(out, np.minimum(palm - np.abs(x), y + 0.5 * width))
            out = np.where(y > 0, np.minimum(out, 2.2 * palm - y + 0.6 * self._size * (rng.random() < 0.5)), out)
        return out.astype(np.float32)

    def _side(self) -> np.ndarray:
        """All beyond a wavy edge: scarves, books, shoulders, door frames."""
        rng = self._rng
        turn = rng.choice([0.0, 0.5, 1.0, 1.5]) * np.pi + rng.normal(0, 0.3)
        middle = self._low + self._span * (0.5, 0.55)
        x, y = self._x - middle[0], self._y - middle[1]
        along, out = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        wave = rng.uniform(0, 0.06) * np.sin(along / self._size * rng.uniform(3, 9) + rng.uniform(0, 6))
        return (out - (rng.uniform(0.1, 0.6) + wave) * self._size).astype(np.float32)

    def _boom(self) -> np.ndarray:
        """A headset's microphone: a thin arm along a cheek with a small end."""
        rng = self._rng
        side = rng.choice([-1.0, 1.0])
        middle = self._low + self._span * (0.5, 0.5)
        x, y = side * (self._x - middle[0]) / self._size, (self._y - middle[1]) / self._size
        end = rng.uniform(0.12, 0.3), rng.uniform(0.12, 0.35)
        along = np.clip((0.55 - x) / (0.55 - end[0]), 0, 1)
        path = end[1] - (1 - along) * rng.uniform(0.1, 0.3) + rng.uniform(0, 0.1) * np.sin(np.pi * along)
        arm = np.where(x > end[0], rng.uniform(0.008, 0.025) - np.abs(y - path), -1.0)
        tip = rng.uniform(0.03, 0.07) - np.hypot(x - end[0], (y - end[1]) / rng.uniform(0.7, 1.3))
        return (np.maximum(arm, tip) * self._size).astype(np.float32)

    def _away(self) -> np.ndarray:
        """What of a rounded head turns away from a light, with a ragged edge."""
        rng = self._rng
        middle = self._low + self._span * (0.5, 0.5)
        x, y = (self._x - middle[0]) / (0.55 * self._span[0]), (self._y - middle[1]) / (0.65 * self._span[1])
        z = np.sqrt(np.maximum(1 - x * x - y * y, 0))
        turn, tilt = rng.uniform(-np.pi, np.pi), rng.uniform(0.1, 1.2)
        lit = (x * np.cos(turn) + 0.6 * y * np.sin(turn)) * np.sin(tilt) + z * np.cos(tilt)
        noise = self._waves(9)
        return ((rng.uniform(-0.2, 0.7) - lit + rng.uniform(0, 0.12) * noise) * 0.4 * self._size).astype(np.float32)

    # -- fillings: (S, S) luminance -----------------------------------------------------------------------------------

    def _filling(self, inside: np.ndarray) -> np.ndarray:
        rng = self._rng
        kind = rng.random()
        if kind < 0.35:
            return self._piece()
        level = rng.choice([rng.uniform(5, 70), rng.uniform(20, 250), rng.uniform(170, 250)])
        turn, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5) / self._size
        shade = 1 + slope * ((self._x - self._x.mean()) * np.cos(turn) + (self._y - self._y.mean()) * np.sin(turn))
        if rng.random() < 0.5:  # round: darker towards its edges
            depth = np.clip(inside / max(1.0, float(inside.max())), 0, 1)
            shade = shade * (1 - rng.uniform(0, 0.6) * (1 - depth) ** 2)
        out = level * shade
        if kind < 0.6:
            noise = rng.normal(0, 1, out.shape).astype(np.float32)
            out = out + rng.uniform(0, 30) * cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.4, 2))
        elif kind < 0.85:
            turn, pitch = rng.uniform(0, np.pi), rng.uniform(0.03, 0.25) * self._size
            wave = np.sin(2 * np.pi * (self._x * np.cos(turn) + self._y * np.sin(turn)) / pitch + rng.uniform(0, 6))
            out = out * (1 - rng.uniform(0.1, 0.7) * (wave > rng.uniform(-0.8, 0.8)))
        return np.clip(out, 0, 255).astype(np.float32)

    def _piece(self) -> np.ndarray:
        """A piece of the other picture, of any size and place, brighter or darker."""
        rng = self._rng
        scale = np.exp(rng.uniform(-0.3, 1.0))
        side = len(self._other)
        turn = rng.uniform(0, 360)
        place = cv2.getRotationMatrix2D(tuple(rng.uniform(0, side, 2)), turn, scale)
        place[:, 2] += rng.uniform(-0.3, 0.3, 2) * side
        moved = cv2.warpAffine(self._other, place, (side, side), borderMode=cv2.BORDER_REFLECT)
        return np.clip(moved * np.exp(rng.normal(0, 0.3)), 0, 255).astype(np.float32)

    def _skin(self, inside: np.ndarray) -> np.ndarray:
        """Flesh of about the face's own brightness, round, with dark lines where fingers meet."""
        rng = self._rng
        low, high = (np.clip(self._low + self._span * s, 0, len(self._grey) - 1).astype(int) for s in (0.3, 0.7))
        level = float(np.median(self._grey[low[1] : high[1] + 1, low[0] : high[0] + 1])) * np.exp(rng.normal(0, 0.15))
        thick = float(np.quantile(inside[inside > 0], 0.6)) if (inside > 0).any() else 1.0
        depth = np.clip(inside / max(1.0, thick), 0, 1)
        noise = cv2.GaussianBlur(rng.normal(0, 1, inside.shape).astype(np.float32), (0, 0), rng.uniform(1, 4))
        return np.clip(level * (1 - rng.uniform(0.1, 0.55) * (1 - depth) ** 2) + 15 * noise, 0, 255).astype(np.float32)


def seen_through(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(S, S) float32 a picture as a camera and a codec might give it: contrast, softness, grain, blocks."""
    out = 255 * np.clip(grey / 255, 1e-3, 1) ** np.exp(rng.normal(0, 0.25)) * np.exp(rng.normal(0, 0.1))
    if rng.random() < 0.4:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.3, 1.1))
    out = np.clip(out + rng.normal(0, rng.uniform(0, _GRAIN), out.shape), 0, 255)
    if rng.random() < 0.4:
        _, coded = cv2.imencode(".jpg", out.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
        out = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
    return out.astype(np.float32)
