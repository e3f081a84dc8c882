"""Furrows: the sharp lines that muscles fold into the skin, finer than the texture GAN can make.

Where lines run is anatomy: across the pull of the muscle, so upright between lowered brows, level across a raised
forehead, fanned at the corner of a narrowed eye. They are drawn once on the UV template, between landmarks, and an
emotion multiplies in those of the action units it is made of (Ekman and Friesen, EMFACS).
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import cKDTree

from talkedit.emotions import CONTROLS
from talkedit.facemodel.model import FaceModel
from talkedit.texture.forehead import GRID, Forehead, Skin

# Texels of the map; the finest line is about two wide.
SIZE = 512
# Half width of a furrow's shade and of the line at its bottom, over the eye distance, and the line's share of the
# depth; the skin beside it bulges that much wider than the shade, so much as bright as that is dark.
WIDTH, LINE, CORE, BULGE, BRIGHT = 0.016, 0.006, 0.4, 1.9, 0.4
# Lines by action unit: how deep, against the deepest, and points, each as (landmark, landmark, way from the first to
# the second), on the right half of the face; the left half is their mirror image.
LINES: dict[str, tuple[tuple[float, tuple[tuple[int, int, float], ...]], ...]] = {
    "AU4": (
        (1.0, ((168, 193, 0.5), (8, 55, 0.55), (9, 107, 0.47))),
        (0.4, ((8, 55, 0.95), (55, 107, 0.55), (107, 108, 0.1))),
    ),
    "AU6": (
        (0.9, ((130, 226, 0.8), (35, 143, 0.2), (143, 34, 0.15))),
        (0.7, ((226, 113, 0.5), (156, 143, 0.5), (139, 34, 0.3))),
        (0.7, ((25, 31, 0.6), (111, 35, 0.4), (116, 143, 0.2))),
    ),
    "AU9": (
        (0.8, ((193, 122, 0.2), (122, 6, 0.4))),
        (1.0, ((244, 245, 0.5), (122, 196, 0.35), (196, 197, 0.25))),
        (0.7, ((188, 174, 0.1), (196, 3, 0.35))),
    ),
    "AU10": (
        (1.0, ((217, 126, 0.4), (142, 126, 0.1), (129, 36, 0.3), (203, 36, 0.25), (206, 205, 0.2), (216, 207, 0.2))),
    ),
    "AU12": ((1.0, ((129, 203, 0.3), (203, 206, 0.25), (206, 216, 0.5), (216, 212, 0.45), (212, 57, 0.3))),),
}
# The same from the middle of the face on: these run right across it, those of the forehead maybe under hair.
ACROSS: dict[str, tuple[tuple[float, tuple[tuple[int, int, float], ...]], ...]] = {
    "AU1": (
        (0.8, ((9, 151, 0.62), (107, 108, 0.55), (66, 69, 0.4))),
        (1.0, ((151, 10, 0.1), (108, 109, 0.1), (69, 105, 0.0))),
        (0.6, ((151, 10, 0.62), (109, 108, 0.33), (67, 69, 0.5))),
    ),
    "AU2": (
        (0.8, ((9, 151, 0.55), (107, 108, 0.5), (105, 104, 0.5), (63, 68, 0.6))),
        (1.0, ((151, 10, 0.05), (108, 109, 0.05), (69, 67, 0.0), (104, 103, 0.05), (68, 54, 0.0))),
        (0.8, ((151, 10, 0.55), (109, 108, 0.4), (67, 69, 0.45), (103, 104, 0.4))),
    ),
    "AU9": (
        (0.9, ((168, 8, 0.1), (193, 55, 0.1))),
        (0.6, ((6, 168, 0.35), (122, 193, 0.45))),
    ),
}
# Units whose lines hair may hide.
FOREHEAD = ("AU1", "AU2")
# How far lines across the face waver, and the others, over the eye distance, and how much their depth does.
WAVERS, BENDS, UNEVEN = 0.006, 0.002, 0.2
# Smooth skin folds softly: lines that much wider and so much as deep, without the sharp one at the bottom.
WIDER, SHALLOW = 1.9, 0.3
# Units that push flesh into folds, soft in any skin.
FOLDS = ("AU10", "AU12")
# How deep, as a change of log luminance, each is folded by the action unit itself and by emotions at full intensity.
DEEPEST = {"AU1": 0.1, "AU2": 0.08, "AU4": 0.22, "AU6": 0.1, "AU9": 0.18, "AU10": 0.12, "AU12": 0.08}
DEPTHS: dict[str, dict[str, float]] = {
    "happy": {"AU6": 0.1, "AU12": 0.08},
    "angry": {"AU4": 0.22, "AU9": 0.06},
    "sad": {"AU4": 0.15, "AU1": 0.08},
    "surprised": {"AU2": 0.07},
    "fear": {"AU1": 0.08, "AU4": 0.12},
    "disgusted": {"AU9": 0.16, "AU10": 0.1, "AU4": 0.16},
    "contempt": {"AU12": 0.06},
}


class Furrows:
    """The lines on one face model's UV template.

    Args:
        model: the face model.

    Attributes:
        units: (2, 7, SIZE, SIZE) float32, the lines of each action unit in rough skin and in smooth, 1 deep.
        depths: (25, 7) float32, how deep each control of `talkedit.emotions.CONTROLS` folds them.
        forehead: the place of those that may run under hair.
    """

    def __init__(self, model: FaceModel) -> None:
        uv = model.uv[model.landmark_vertices].astype(np.float32) * SIZE - np.float32(0.5)
        self.units = _units(uv)
        right = np.concatenate([_knots(uv, points) for au in FOREHEAD for _, points in ACROSS[au]])
        self.forehead = Forehead(np.concatenate([right, _mirrored(uv, right)]), uv, SIZE)
        self._across = np.array([au in FOREHEAD for au in DEEPEST])
        depths = DEPTHS | {au: {au: depth} for au, depth in DEEPEST.items()}
        self.depths = np.float32([[depths.get(name, {}).get(au, 0.0) for au in DEEPEST] for name in CONTROLS])

    def log_ratio(self, controls: np.ndarray, skin: Skin | None = None) -> np.ndarray:
        """(SIZE, SIZE) float32 change of log luminance for (25,) controls; in rough and bare skin by default."""
        skin = skin or Skin(1.0, np.ones((GRID, GRID), np.float32))
        depths = np.asarray(controls, np.float32) @ self.depths
        out = np.zeros((SIZE, SIZE), np.float32)
        across = np.zeros_like(out)
        for depth, rough, smooth, hides in zip(depths, *self.units, self._across, strict=True):
            if depth != 0:
                drawn = across if hides else out
                cv2.scaleAdd(rough, float(depth * skin.roughness), drawn, drawn)
                cv2.scaleAdd(smooth, float(depth * (1 - skin.roughness) * SHALLOW), drawn, drawn)
        if depths[self._across].any():
            out += across * cv2.resize(skin.bare, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        return out


def _units(uv: np.ndarray) -> np.ndarray:
    """(2, 7, SIZE, SIZE) float32 `Furrows.units`, given the (468, 2) landmarks in texels."""
    units = {au: np.zeros((2, SIZE, SIZE), np.float32) for au in DEEPEST}
    for au, lines in LINES.items():
        for number, (depth, points) in enumerate(lines):
            right = _knots(uv, points)
            for half, phase in ((right, 0), (_mirrored(uv, right), 3)):
                line = _line(uv, depth, half, BENDS, 2.0 * number + phase)
                units[au] += line[1] if au in FOLDS else line
    for au, lines in ACROSS.items():
        for number, (depth, points) in enumerate(lines):
            right = _knots(uv, points)
            both = np.concatenate([_mirrored(uv, right[:0:-1]), right])
            units[au] += _line(uv, depth, both, WAVERS, 2.0 * number)
    return np.stack([units[au] for au in DEEPEST], 1)


def _mirrored(uv: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(K, 2) texels on the other half of the face."""
    return points * [-1, 1] + [uv[33, 0] + uv[263, 0], 0]


def _knots(uv: np.ndarray, points: tuple[tuple[int, int, float], ...]) -> np.ndarray:
    """(K, 2) texels."""
    return np.stack([uv[a] + (uv[b] - uv[a]) * way for a, b, way in points])


def _line(uv: np.ndarray, depth: float, knots: np.ndarray, wavers: float, phase: float) -> np.ndarray:
    """(2, SIZE, SIZE) float32 a line through (K, 2) texels, deepest in its middle, in rough skin and in smooth."""
    eye = float(np.linalg.norm(uv[33] - uv[263]))
    way = np.r_[0, np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))]
    along = np.linspace(0, way[-1], 192)
    path = np.stack([_smooth(way, knots[:, k], along) for k in (0, 1)], 1)
    turns = along / eye
    ahead = np.gradient(path, axis=0)
    across = ahead[:, ::-1] * [-1, 1] / np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-6)
    path += wavers * eye * (np.sin(9 * turns + phase) + 0.6 * np.sin(23 * turns + 1.7 * phase))[:, None] * across
    share = np.sin(np.pi * np.linspace(0, 1, len(path))) ** 0.9 * (1 + UNEVEN * np.sin(7 * turns + 2.3 * phase))
    width = WIDTH * eye
    reach = 4 * BULGE * WIDER * width
    low, high = np.floor(path.min(0) - reach).astype(int), np.ceil(path.max(0) + reach).astype(int) + 1
    low, high = np.maximum(low, 0), np.minimum(high, SIZE)
    y, x = np.mgrid[low[1] : high[1], low[0] : high[0]]
    distance, near = cKDTree(path).query(np.stack([x, y], 2))
    out = np.zeros((2, SIZE, SIZE), np.float32)
    for one, wide, core in zip(out, (width, WIDER * width), (CORE, 0), strict=True):
        profile = BRIGHT * np.exp(-0.5 * (distance / (BULGE * wide)) ** 2)
        profile -= (1 + BRIGHT - core) * np.exp(-0.5 * (distance / wide) ** 2)
        profile -= core * np.exp(-0.5 * (distance / (LINE * eye)) ** 2)
        one[low[1] : high[1], low[0] : high[0]] = depth * share[near] * profile
    return out


def _smooth(way: np.ndarray, values: np.ndarray, along: np.ndarray) -> np.ndarray:
    """A parabola or line through up to three values, piecewise through more, rounded."""
    if len(way) <= 3:
        return np.polyval(np.polyfit(way, values, len(way) - 1), along)
    dense = np.interp(along, way, values)
    padded = np.pad(dense, 12, mode="reflect", reflect_type="odd")
    return np.convolve(padded, np.ones(25) / 25, "valid")
