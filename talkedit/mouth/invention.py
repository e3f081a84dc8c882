"""Teeth for a speaker who never shows any: a still of the shot is opened and the completion network fills it."""

from __future__ import annotations

import cv2
import numpy as np

from talkedit.composite.warp import build_warp, sample
from talkedit.facemodel.model import FaceModel
from talkedit.mouth.alignment import align, cut, hidden, to_crop
from talkedit.mouth.completion import Completion, complete
from talkedit.mouth.memory import Still
from talkedit.mouth.rows import brightness, skin_around, toothness
from talkedit.track.topology import INNER_LIPS

# From pixel to pixel along real rows of teeth brightness changes by 0.028 to 0.058 of itself (nine and one in ten of 32
# smiles lie above); a row with fewer lines between its teeth is a bar of lumps, and worse than drawn teeth.
LEAST_DETAIL = 0.035
# How green they are changes by 0.003 to 0.008 of their brightness in all of these; by more where the network is unsure.
MOST_TINT = 0.012
_DETAIL_SIZE = 2.5  # crop pixels, half a tooth
OPENED = 0.16  # how far the lips are opened for it, in eye distances


def invent(
    network: Completion, still: Still, model: FaceModel, opened: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """The still with an open mouth, teeth in it, and its landmarks.

    Args:
        network: trained.
        still: lower face of a frame.
        model: the face model.
        opened: (468, 3) how open lips displace the landmarks, model units.

    Returns:
        (h, w, 3) uint8 and (468, 3) pixels; None where what came out does not look like teeth.
    """
    moved = still.pose.direction_to_picture(opened)
    mesh, landmarks = model.position @ still.landmarks, still.landmarks + moved
    picture = still.picture.copy()
    warp = build_warp(mesh, mesh + model.displacement @ moved, model.triangles, model.uv, picture.shape)
    if warp is not None:
        h, w = warp.shape
        picture[warp.y0 : warp.y0 + h, warp.x0 : warp.x0 + w] = sample(still.picture, warp)
    transform = align(landmarks)
    loop = to_crop(landmarks[INNER_LIPS], transform)
    mask = hidden(loop)
    made = complete(network, cut(picture, transform), mask)
    if not plausible(made, mask, skin_around(made, loop)):
        return None
    size = picture.shape[1::-1]
    share = cv2.warpAffine(mask, transform, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)[..., None]
    back = cv2.warpAffine(made, transform, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    return (picture + (back.astype(np.float32) - picture) * share + 0.5).astype(np.uint8), landmarks


def plausible(crop: np.ndarray, mask: np.ndarray, light: np.ndarray) -> bool:
    """Whether a completed crop shows single teeth, of one colour.

    Args:
        crop: (HEIGHT, WIDTH, 3) uint8.
        mask: (HEIGHT, WIDTH) 1 where it was filled in.
        light: (3,) colour of the skin around the mouth.
    """
    teeth = (toothness(crop, light) * mask > 0.6).astype(np.uint8)
    teeth = cv2.morphologyEx(teeth, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    inner = cv2.erode(teeth, np.ones((3, 3), np.uint8)) > 0
    if inner.sum() < 30:
        return False
    level, weight = brightness(crop), inner.astype(np.float32)
    red, green, blue = cv2.split(crop.astype(np.float32))
    near = np.maximum(cv2.GaussianBlur(weight, (0, 0), _DETAIL_SIZE), 1e-3)
    pairs, mean = inner[:, 1:] & inner[:, :-1], level[inner].mean()
    detail, tint = (
        np.abs(np.diff(shown - cv2.GaussianBlur(shown * weight, (0, 0), _DETAIL_SIZE) / near, axis=1))[pairs] / mean
        for shown in (level, green - (red + blue) / 2)
    )
    return len(detail) > 0 and bool(detail.mean() > LEAST_DETAIL and tint.mean() < MOST_TINT)
