"""Mouth crops for teeth completion: turned and scaled as in ``talkedit.data.mouth_crop``, cut to lips and a rim."""

from __future__ import annotations

import cv2
import numpy as np

from talkedit.data.mouth_crop import crop_mouth, mouth_transform

HEIGHT, WIDTH = 64, 96
_SIDE = 128  # of the square that the crop is the middle of: lips of the mean face are half of it wide
# Tracked inner lips lie a little outside or inside the real ones: what is hidden is larger by so many crop pixels.
GROW = 1.5


def align(landmarks: np.ndarray) -> np.ndarray:
    """(2, 3) float32 similarity from frame pixels to pixels of the (HEIGHT, WIDTH) crop.

    Args:
        landmarks: (478, 3) pixels.
    """
    transform = mouth_transform(landmarks, _SIDE)
    transform[:, 2] -= ((_SIDE - WIDTH) / 2, (_SIDE - HEIGHT) / 2)
    return transform


def cut(rgb: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) uint8 crop of a (H, W, 3) frame."""
    square = transform.copy()
    square[:, 2] += ((_SIDE - WIDTH) / 2, (_SIDE - HEIGHT) / 2)
    y, x = (_SIDE - HEIGHT) // 2, (_SIDE - WIDTH) // 2
    return crop_mouth(rgb, square, _SIDE)[y : y + HEIGHT, x : x + WIDTH]


def to_crop(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """(N, 2) crop pixels of (N, ≥2) frame pixels."""
    return (points[:, :2] @ transform[:, :2].T + transform[:, 2]).astype(np.float32)


def from_crop(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """(N, 2) frame pixels of (N, 2) crop pixels."""
    return ((points - transform[:, 2]) @ np.linalg.inv(transform[:, :2]).T).astype(np.float32)


def polygon(points: np.ndarray, shape: tuple[int, int], grow: float = 0.0) -> np.ndarray:
    """(h, w) float32 0..1 anti-aliased mask of a closed (N, 2) polygon, grown or shrunk by some pixels."""
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    out = mask.astype(np.float32) / 255
    if grow:
        size = max(1, round(abs(grow)))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * size + 1, 2 * size + 1))
        out = cv2.dilate(out, kernel) if grow > 0 else cv2.erode(out, kernel)
    return out


def hidden(loop: np.ndarray) -> np.ndarray:
    """(HEIGHT, WIDTH) float32, 1 where the mouth's inside is to be filled in.

    Args:
        loop: (20, 2) inner lips in crop pixels.
    """
    return (polygon(loop, (HEIGHT, WIDTH), GROW) > 0.02).astype(np.float32)
