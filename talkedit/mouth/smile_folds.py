"""Folds that a smile pushes up beside the mouth, which an edit that draws the corners in would leave around it.

Skin that is let go is smooth again, and skin that is drawn after the corners is not mottled. Between the nose's wings
and the sides of the chin, what is finer than the cheek's shape and deeper than its grain is taken out, of each colour:
shadows in folds are redder than what is beside them. Of any mouth, the shadow of a beard or of the corners loses some
of its hue and a little of its dark: drawn after the corners it would be a patch.
"""

from __future__ import annotations

import cv2
import numpy as np

from talkedit.composite.warp import bounds
from talkedit.geometry.openings import smoothstep
from talkedit.mouth.rows import width_of
from talkedit.track.topology import FACE_OVAL, OUTER_LIPS

# Lips that an edit makes so much narrower, and that are so wide, over the eye distance, let folds go; and how much.
# Patches fade however wide they are.
NARROWS, WIDE, SHARE = (0.02, 0.08), (0.46, 0.58), 0.85
# The fold's path, between pairs of landmarks right of the mouth, and left of it.
PATHS = (
    np.array([[203, 36], [206, 205], [216, 207], [212, 214], [202, 210], [204, 211]]),
    np.array([[423, 266], [426, 425], [436, 427], [432, 434], [422, 430], [424, 431]]),
)
# Landmarks around the nose, whose wings and nostrils are no folds.
NOSE = np.array([1, 2, 4, 48, 49, 64, 97, 98, 129, 278, 279, 294, 326, 327, 358])
# Over the eye distance: how far to either side of the path folds lie; how far from lips, nose and the face's outline;
# how fine and how coarse they are, and over what hues are evened.
ASIDE, OFF, FINE, COARSE, BROAD = (0.07, 0.15), (0.01, 0.035), 0.006, 0.05, 0.15
# How much of what is darker than its surroundings is lifted, up to which depth: a beard stays.
LIFTED = (0.6, 0.15)
SMALL = 4.0  # pixels that a mean over more is made on
PORES = 0.035  # what is no deeper, as a change of a colour's logarithm, is the skin's own grain and stays


def without_folds(
    rgb: np.ndarray, landmarks: np.ndarray, loop: np.ndarray, target: np.ndarray, eye: float
) -> np.ndarray:
    """A frame with as much of folds and patches taken out as an edit narrows the mouth.

    Args:
        rgb: (H, W, 3) uint8.
        landmarks: (≥468, 2 or 3) pixels.
        loop: (20, 2) inner lips, pixels.
        target: (20, 2) the same after the edit.
        eye: outer-eye distance, pixels.

    Returns:
        (H, W, 3) uint8; ``rgb`` itself where there is nothing to do.
    """
    before, after = (width_of(lips) / eye for lips in (loop, target))
    tone = SHARE * float(smoothstep(before - after, *NARROWS))
    if tone <= 0:
        return rgb
    share = tone * float(smoothstep(before, *WIDE))
    out = rgb.copy()
    nose = cv2.convexHull(landmarks[NOSE, :2].astype(np.float32))[:, 0]
    for path in PATHS:
        _smooth(
            out,
            landmarks[path, :2].mean(1),
            landmarks[FACE_OVAL, :2],
            (landmarks[OUTER_LIPS, :2], nose),
            eye,
            (share, tone),
        )
    return out


def _smooth(
    rgb: np.ndarray,
    path: np.ndarray,
    face: np.ndarray,
    others: tuple[np.ndarray, ...],
    eye: float,
    shares: tuple[float, float],
) -> None:
    """Smooths along a (K, 2) path in the (N, 2) outline of a face, beside those of what is no cheek, in place."""
    x0, y0, x1, y1 = bounds(path, rgb.shape, round((ASIDE[1] + 2 * BROAD) * eye))
    if min(x1 - x0, y1 - y0) < 3:
        return
    area = rgb[y0:y1, x0:x1]
    free, beside = np.zeros(area.shape[:2], np.uint8), np.ones(area.shape[:2], np.uint8)
    face, *others, path = (np.round(line - [x0, y0]).astype(np.int32) for line in (face, *others, path))
    cv2.fillPoly(free, [face], 1)
    for line in others:
        cv2.fillPoly(free, [line], 0)
    cv2.polylines(beside, [path], False, 0)
    off, aside = (cv2.distanceTransform(v, cv2.DIST_L2, 5) / np.float32(eye) for v in (free, beside))
    skin = smoothstep(off, *OFF).astype(np.float32)
    where = skin * (1 - smoothstep(aside, *ASIDE)).astype(np.float32)
    level = np.log(np.maximum(area, 4).astype(np.float32))
    fine, coarse, broad = (_mean(level, skin, spread * eye) for spread in (FINE, COARSE, BROAD))
    depth, tone = coarse - fine, broad - coarse
    light = tone.mean(2, keepdims=True)
    change = shares[0] * (depth - np.clip(depth, -PORES, PORES))
    change += shares[1] * (tone - light + LIFTED[0] * np.clip(light, 0, LIFTED[1]))
    gain = np.exp(where[..., None] * change)
    area[:] = np.clip(area * gain + 0.5, 0, 255).astype(np.uint8)


def _mean(level: np.ndarray, skin: np.ndarray, sigma: float) -> np.ndarray:
    """(h, w, 3) float32 ``level`` (h, w, 3) of the (h, w) 0..1 skin around each place, over so many pixels."""
    (h, w), step = skin.shape, max(1, int(sigma / SMALL))
    both = np.dstack([level * skin[..., None], skin])
    both = cv2.resize(both, (-(-w // step), -(-h // step)), interpolation=cv2.INTER_AREA)
    both = cv2.resize(cv2.GaussianBlur(both, (0, 0), sigma / step), (w, h), interpolation=cv2.INTER_LINEAR)
    return both[..., :3] / np.maximum(both[..., 3:], 1e-3)
