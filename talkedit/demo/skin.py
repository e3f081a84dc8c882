"""The face's surface in UV: albedo from the model's statistics, with pores, redness, lips and brows added."""

from __future__ import annotations

import cv2
import numpy as np

from talkedit.facemodel.model import FaceModel
from talkedit.render import attribute_map
from talkedit.track import topology as topo

SIZE = 1024
# Brow edges from the nose outwards (upper, lower), the person's right and left.
_BROWS = (
    ((107, 66, 105, 63, 70), (55, 65, 52, 53, 46)),
    ((336, 296, 334, 293, 300), (285, 295, 282, 283, 276)),
)
_CHEEKS, _NOSE, _CHIN = (50, 280), (4,), (199,)


def to_linear(colour: np.ndarray) -> np.ndarray:
    """Screen values 0..1 to light."""
    return np.clip(colour, 0, 1) ** 2.2


def paint_skin(
    model: FaceModel, triangles: np.ndarray, albedo: np.ndarray, hair: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(SIZE, SIZE, 6) float32: linear albedo, gloss 0..1, and the slopes of the fine relief along u and v.

    Args:
        model: gives the uv and the landmark vertices.
        triangles: (F, 3) of the face itself.
        albedo: (V, 3) screen values.
        hair: (3,) linear colour of the brows.
        rng: draws pores, freckles and strokes.
    """
    points = np.concatenate([model.uv * SIZE - 0.5, np.zeros((len(model.uv), 1))], 1).astype(np.float32)
    base, hit = attribute_map(points, triangles, albedo.astype(np.float32), SIZE, SIZE)
    marks = points[model.landmark_vertices, :2]
    inside = (hit >= 0).astype(np.uint8)
    # Near the outline the average face is half hair and half background: skin from further in replaces it.
    solid = cv2.morphologyEx(inside, cv2.MORPH_CLOSE, np.ones((65, 65), np.uint8))
    edge = cv2.distanceTransform(solid, cv2.DIST_L2, 5)
    keep = np.clip((edge - 22) / 60, 0, 1) * inside
    base = _fill(base, keep.astype(np.float32))
    brow = np.zeros((SIZE, SIZE), np.float32)
    for upper, lower in _BROWS:
        cv2.fillPoly(brow, [_ring(marks, [*upper, *lower[::-1]])], 1.0)
    brow = cv2.GaussianBlur(cv2.dilate(brow, np.ones((25, 25), np.uint8)), (0, 0), 9)
    base += (0.6 * brow)[..., None] * (_fill(base, (1 - brow) ** 4) - base)
    base = _even_out(base, inside)
    colour = to_linear(base)

    lips = np.zeros((SIZE, SIZE), np.float32)
    cv2.fillPoly(lips, [_ring(marks, topo.OUTER_LIPS)], 1.0)
    lips = cv2.GaussianBlur(lips, (0, 0), 4.5)
    pores, blotches = _noise(rng, 1.6), _noise(rng, 22)
    red = sum(_spot(marks, v, 85) for v in _CHEEKS) * 0.5 + _spot(marks, _NOSE[0], 60) * 0.5
    red = red + _spot(marks, _CHIN[0], 60) * 0.2 + 0.10 * blotches
    colour *= 1 + red[..., None] * np.array([0.06, -0.13, -0.12])
    colour *= 1 + (0.030 * _noise(rng, 4) + 0.022 * pores + 0.03 * _noise(rng, 60))[..., None] * np.array([0.8, 1, 1.1])
    colour *= 1 - _freckles(rng, marks)[..., None] * np.array([0.20, 0.34, 0.42])
    rose = np.array([0.96, 0.70, 0.76]) * (1 - 0.10 * _noise(rng, 6)[..., None])
    colour *= 1 + lips[..., None] * (rose - 1)

    height = 0.20 * pores + 0.14 * _noise(rng, 3.5) + 0.16 * _noise(rng, 9)
    wrinkles = cv2.GaussianBlur(rng.normal(size=(SIZE, SIZE)).astype(np.float32), (0, 0), 2.2, sigmaY=16)
    height = height * (1 - 0.75 * lips) + 0.55 * lips * wrinkles / wrinkles.std()
    gloss = 0.34 + 0.14 * _spot(marks, 4, 55) + 0.06 * _spot(marks, 9, 130)
    gloss = gloss - 0.08 * sum(_spot(marks, v, 90) for v in _CHEEKS)
    gloss = gloss * (1 + 0.15 * pores) + 0.35 * lips

    strokes = _brow_strokes(marks, rng)
    colour += strokes[..., None] * (hair - colour)
    gloss *= 1 - 0.7 * strokes
    height += 0.5 * strokes
    slope_u, slope_v = (cv2.Sobel(height.astype(np.float32), -1, dx, 1 - dx, ksize=3) / 8 for dx in (1, 0))
    out = np.concatenate([colour, np.stack([gloss, slope_u, slope_v], -1)], -1)
    return np.ascontiguousarray(np.clip(out, -2, 2), np.float32)


def _ring(marks: np.ndarray, indices: np.ndarray | list[int]) -> np.ndarray:
    return np.round(marks[list(indices)]).astype(np.int32)


def _fill(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Keeps ``image`` where ``weight`` is 1 and elsewhere lets what is around flow in, over ever wider distances."""
    out, known = image * weight[..., None], weight.copy()
    for sigma in (8, 24, 70, 160):
        small = 1 if sigma < 20 else 4
        w = cv2.resize(weight, None, fx=1 / small, fy=1 / small, interpolation=cv2.INTER_AREA)
        i = cv2.resize(image * weight[..., None], None, fx=1 / small, fy=1 / small, interpolation=cv2.INTER_AREA)
        w, i = cv2.GaussianBlur(w, (0, 0), sigma / small), cv2.GaussianBlur(i, (0, 0), sigma / small)
        flow = cv2.resize(i / np.maximum(w, 1e-5)[..., None], (SIZE, SIZE))
        share = (1 - known) * cv2.resize(np.clip(w / 0.05, 0, 1), (SIZE, SIZE))
        out += share[..., None] * flow
        known += share
    return out / np.maximum(known, 1e-3)[..., None]


def _even_out(base: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Takes back half of the slow changes of brightness: they are light left in the averages, not skin."""
    small = cv2.resize(base, (SIZE // 8, SIZE // 8), interpolation=cv2.INTER_AREA)
    slow = cv2.resize(cv2.GaussianBlur(small, (0, 0), 9), (SIZE, SIZE))
    tone = np.median(base[inside > 0], axis=0)
    return base * (tone / np.maximum(slow, 0.05)) ** 0.55


def _noise(rng: np.random.Generator, sigma: float) -> np.ndarray:
    """(SIZE, SIZE) float32 smooth noise of unit spread."""
    shrink = max(1, int(sigma / 3))
    side = SIZE // shrink
    field = cv2.GaussianBlur(rng.normal(size=(side, side)).astype(np.float32), (0, 0), sigma / shrink)
    return cv2.resize(field / field.std(), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def _spot(marks: np.ndarray, vertex: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    cx, cy = marks[vertex]
    return np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / radius**2)


def _freckles(rng: np.random.Generator, marks: np.ndarray) -> np.ndarray:
    """(SIZE, SIZE) 0..1: a few faint dots over nose and cheeks, and two or three moles."""
    out = np.zeros((SIZE, SIZE), np.float32)
    for _ in range(90):
        centre = marks[int(rng.choice([50, 280, 5, 101, 330]))] + rng.normal(size=2) * [60, 32]
        _dot(out, centre, float(rng.uniform(1.5, 3.2)), float(rng.uniform(0.08, 0.3)))
    for _ in range(int(rng.integers(1, 4))):
        centre = marks[int(rng.choice([205, 425, 187, 352, 109]))] + rng.normal(size=2) * 40
        _dot(out, centre, 4.0, 0.9)
    return cv2.GaussianBlur(out, (0, 0), 1.2)


def _dot(image: np.ndarray, centre: np.ndarray, radius: float, value: float) -> None:
    x, y = (round(float(c) * 16) for c in centre)
    cv2.circle(image, (x, y), int(radius * 16), value, -1, cv2.LINE_AA, 4)


def _brow_strokes(marks: np.ndarray, rng: np.random.Generator, count: int = 420) -> np.ndarray:
    """(SIZE, SIZE) 0..1 cover of brow hairs: upright near the nose, lying along the brow further out."""
    cover = np.zeros((SIZE, SIZE), np.float32)
    for upper, lower in _BROWS:
        top, bottom = marks[list(upper)], marks[list(lower)]
        # The landmarks enclose the brow loosely: its hairs grow in the middle of them.
        middle, half = (top + bottom) / 2, (top - bottom) / 2
        knots = np.linspace(0, 1, len(top))
        span = float(np.linalg.norm(middle[-1] - middle[0]))
        layer = np.zeros_like(cover)
        for t, s in zip(rng.uniform(0, 1, count) ** 0.9, rng.triangular(-1, 0, 1, count), strict=True):
            at = np.array([np.interp(t, knots, middle[:, k]) for k in (0, 1)])
            across = np.array([np.interp(t, knots, half[:, k]) for k in (0, 1)])
            along = np.array([np.interp(min(t + 0.1, 1), knots, middle[:, k]) for k in (0, 1)]) - np.array(
                [np.interp(max(t - 0.1, 0), knots, middle[:, k]) for k in (0, 1)]
            )
            along /= np.linalg.norm(along) + 1e-6
            rise = across / (np.linalg.norm(across) + 1e-6)
            taper = 0.62 * (1 - 0.65 * max(0.0, (t - 0.55) / 0.45))
            root = at + across * s * taper
            lean = np.clip(0.42 + t * 1.5 + 0.35 * s + rng.normal() * 0.12, 0.1, 1.15)
            way = along * np.sin(lean * np.pi / 2) + rise * np.cos(lean * np.pi / 2) * (1.0 if s < 0.5 else 0.4)
            length = span * (0.15 + 0.05 * rng.uniform(-1, 1)) * (0.8 if t < 0.1 else 1)
            bend = rng.normal() * 0.12
            steps = np.linspace(0, 1, 5)[:, None]
            side = np.array([-way[1], way[0]])
            line = root + way * length * steps + side * bend * length * steps**2
            single = np.round(line * 16).astype(np.int32)
            value = float(rng.uniform(0.55, 0.95)) * (0.6 + 0.4 * min(1.0, t / 0.12))
            cv2.polylines(layer, [single], False, value, 2, cv2.LINE_AA, 4)
        soft = cv2.GaussianBlur(layer, (0, 0), 7)
        cover = np.maximum(cover, np.clip(0.9 * cv2.GaussianBlur(layer, (0, 0), 0.8) + 0.35 * soft, 0, 0.93))
    return cover
