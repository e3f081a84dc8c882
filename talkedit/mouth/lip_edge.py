"""Where open lips end and the dark or the teeth between them begin: the tracker puts that edge beside the real one.

What is dark or tooth outside the tracked edge would go along with the lip as part of it, and a strip of lip within it
would stay behind. The real edge is looked for on nine lines across each lip, for all of them at once.
"""

from __future__ import annotations

import cv2
import numpy as np

from talkedit.geometry.openings import smoothstep
from talkedit.mouth.cheapest import cheapest_way
from talkedit.mouth.rows import skin_around, toothness
from talkedit.track.measures import eye_distance, mouth_opening
from talkedit.track.topology import INNER_LIPS, LIP_PAIRS, LOWER_LIP_RINGS, UPPER_LIP_RINGS

OPEN = (0.012, 0.03)  # gaps over the eye distance over which lips count as open
# Brightness of the mouth's dark over the lips', over which the two cannot be told apart; how much like teeth lips look,
# over which these cannot; and how far on the way from the dark to the lips what is dark ends.
DARK, PALE, HALF = (0.45, 0.65), (0.1, 0.3), (0.3, 0.7)
# Pinkness and brightness over the lip's own, over which a place looks like it; and how much of what lies right inside
# an edge may, that was looked for inwards.
PINKER, BRIGHTER, UNLIKE = (0.7, 0.95), (0.45, 0.7), 0.4
# How far the edge is looked for, over the eye distance, and which share of the lip or of the gap it may take.
INWARD, OUTWARD, LIP, GAP = 0.04, 0.06, 0.75, 0.4
# Moves over the eye distance that are made hardly, and wholly: the tracker is the steadier.
WORTH = (0.006, 0.018)
# What a move costs, and one unlike its neighbour's, beside what it explains.
STAY, EVEN = 0.2, 0.25
# Steps in which it is looked for and blur of the picture, over the eye distance; and steps that count as right inside.
_STEP, _SOFT, _NIGH = 0.0025, 0.004, 5
_WAYS = (np.arange(-round(INWARD / _STEP), round(OUTWARD / _STEP) + 1) * _STEP).astype(np.float32)[:, None]
_UNLIKE_NEIGHBOUR = EVEN * np.abs(_WAYS - _WAYS.T)
_BODY = np.float32([0.5, 0.6, 0.7, 0.8, 0.9])[:, None, None]  # places on the lip that tell its colour
_MEAN = np.float32([1, 2, 3, 2, 1]) / 9
# How far the rings of a lip go along with its inner edge; the outer one stays.
_ALONG = np.float32([1, 2 / 3, 1 / 3])


def beyond(rgb: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """How far the real edges of open lips lie outside the tracked ones.

    Args:
        rgb: (H, W, 3) uint8.
        landmarks: (≥468, 3) pixels.

    Returns:
        (2, 9) float32 over the eye distance of the upper and the lower lip at ``LIP_PAIRS``, below 0 inside; 0 for
        closed lips and mouths at the border of the picture.
    """
    eye, moves = eye_distance(landmarks), np.zeros((2, 9), np.float32)
    opened = float(smoothstep(mouth_opening(landmarks), *OPEN))
    outer = landmarks[np.r_[UPPER_LIP_RINGS[-1], LOWER_LIP_RINGS[-1]], :2]
    x0, y0 = np.floor(outer.min(0)).astype(int) - 4
    x1, y1 = np.ceil(outer.max(0)).astype(int) + 5
    if opened == 0 or x0 < 0 or y0 < 0 or x1 > rgb.shape[1] or y1 > rgb.shape[0]:
        return moves
    corner = np.float32([x0, y0])
    area = cv2.GaussianBlur(rgb[y0:y1, x0:x1].astype(np.float32), (0, 0), max(_SOFT * eye, 0.4))
    level, teeth = area.max(2), toothness(area, skin_around(rgb, landmarks[INNER_LIPS, :2]))
    pink = (area[..., 0] - area[..., 1]) / np.maximum(area[..., 0], 8)  # yellow teeth are as red as lips, but not pink
    inner = landmarks[LIP_PAIRS, :2] - corner
    dark = float(np.percentile(_read(level, np.linspace(inner[:, 0], inner[:, 1], 12)), 10))
    gaps = np.linalg.norm(inner[:, 0] - inner[:, 1], axis=1) / eye
    for k, lip in enumerate((UPPER_LIP_RINGS, LOWER_LIP_RINGS)):
        edges = inner[:, k], landmarks[lip[-1], :2] - corner
        move = _evenly(_cheapest(_cost((level, pink, teeth), dark, edges, gaps, eye)), 0)
        moves[k] = opened * move * smoothstep(np.abs(move), *WORTH)
    return moves


def mended(landmarks: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """(N, 3) landmarks whose inner lips lie (2, 9) eye distances, see `beyond`, further out, towards the outer ones."""
    if not moves.any():
        return landmarks
    out, eye = landmarks.copy(), eye_distance(landmarks)
    for lip, move in zip((UPPER_LIP_RINGS, LOWER_LIP_RINGS), moves, strict=True):
        way = landmarks[lip[-1], :2] - landmarks[lip[0], :2]
        way /= np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-6)
        for ring, share in zip(lip, _ALONG, strict=False):
            out[ring, :2] += share * eye * move[:, None] * way
    return out


def _cost(
    maps: tuple[np.ndarray, np.ndarray, np.ndarray],
    dark: float,
    edges: tuple[np.ndarray, np.ndarray],
    gaps: np.ndarray,
    eye: float,
) -> np.ndarray:
    """(n, 9) what an edge so far outside the tracked one leaves unexplained: inside of the mouth without, lip within.

    Args:
        maps: (h, w) brightness, pinkness, and how much a place looks like teeth.
        dark: brightness of the mouth's dark.
        edges: (9, 2) inner and outer edge of the lip.
        gaps: (9,) between the lips, over the eye distance.
        eye: outer-eye distance, pixels.
    """
    start, end = edges
    thick = np.linalg.norm(end - start, axis=1) / eye
    places = start + (_WAYS * eye)[..., None] * ((end - start) / np.maximum(thick * eye, 1e-3)[:, None])
    # Lips are darker towards their corners.
    lip, pinkness, paleness = (_evenly(np.median(_read(v, start + _BODY * (end - start)), axis=0)) for v in maps)
    lip, pinkness = np.maximum(lip, 1), np.maximum(pinkness, 0.05)
    level, pink, teeth = (_read(v, places) for v in maps)
    # Beyond the tracked edge what is dark or tooth belongs inside, within it what looks like lip belongs to the lip.
    is_dark = (1 - smoothstep((level - dark) / np.maximum(lip - dark, 1), *HALF)) * (1 - smoothstep(dark / lip, *DARK))
    inside = np.maximum(is_dark, teeth * (1 - smoothstep(paleness, *PALE)))
    like = smoothstep(pink / pinkness, *PINKER) * smoothstep(level / lip, *BRIGHTER)
    told = np.where(_WAYS < 0, 1 - 2 * like, 2 * inside - 1)
    told = _STEP * np.where((-gaps / 2 < _WAYS) & (thick > _WAYS), told, 0)
    within, without = np.maximum(-told, 0), np.maximum(told, 0)
    cost = np.cumsum(within, axis=0) + np.cumsum(without[::-1], axis=0)[::-1] - without + STAY * np.abs(_WAYS)
    # A tongue looks like lip as well: something else must follow right inside.
    nigh = np.lib.stride_tricks.sliding_window_view(np.pad(like, ((_NIGH, 0), (0, 0)), mode="edge"), _NIGH, axis=0)
    no_edge = (_WAYS < 0) & (nigh[:-1].mean(-1) > UNLIKE)
    no_edge |= (_WAYS != 0) & ((LIP * thick < _WAYS) | (-GAP * gaps > _WAYS))
    return cost + 1e3 * no_edge


def _cheapest(cost: np.ndarray) -> np.ndarray:
    """(9,) the moves that cost least together, between corners that stay."""
    cost = cost.copy()
    cost[:, [0, -1]] += EVEN * np.abs(_WAYS)
    return _WAYS[cheapest_way(cost, _UNLIKE_NEIGHBOUR), 0]


def _evenly(values: np.ndarray, corners: float | None = None) -> np.ndarray:
    """(9,) smoothed along the lip; beyond its ends lies the same as at them, or what its corners have."""
    padded = np.pad(values, 2, mode="edge") if corners is None else np.pad(values, 2, constant_values=corners)
    return np.convolve(padded, _MEAN, "valid")


def _read(level: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(…, 9) what (h, w) shows at (…, 9, 2) places."""
    at = np.ascontiguousarray(places, np.float32)
    return cv2.remap(level, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
