"""Aligned crops of open mouths from a collection: what teeth completion is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from talkedit.data.collection import Collection, Sample
from talkedit.errors import InputError
from talkedit.mouth.alignment import align, cut, to_crop
from talkedit.track.measures import eye_distance, mouth_opening, yaw_degrees
from talkedit.track.topology import INNER_LIPS
from talkedit.train.crops import CLIP_STEP
from talkedit.train.faces import Faces, kept

SOURCES = ("faces_open", "london", "mead", "expressive", "portraits")
OPEN = 0.045  # inner-lip gap over the eye distance from which on a mouth shows its inside
LARGEST_YAW = 25.0
SMALLEST_EYES = 70.0  # eye distance, pixels: smaller faces hold no teeth


@dataclass(frozen=True)
class Mouths(Faces):
    """Crops of open mouths.

    Attributes:
        images: (N, HEIGHT, WIDTH, 3) uint8 RGB.
        loops: (N, 20, 2) float32 inner lips, crop pixels.
        people, sources: (N,) names.
        colour: (N,) bool.
    """

    images: np.ndarray
    loops: np.ndarray
    people: np.ndarray
    sources: np.ndarray
    colour: np.ndarray


def load_mouths(collection: Collection, cache: Path) -> Mouths:
    """All open mouths of the collection, made once and then read from ``cache``.

    Raises:
        InputError: there are none, or the cached file is damaged.
    """
    return kept(Mouths, cache / "mouths.npz", lambda: _make(collection))


def _make(collection: Collection) -> Mouths:
    landmarks, images, loops, owners = collection.landmarks(), [], [], []
    for sample in collection.samples:
        rows = landmarks[sample.key]
        if sample.source not in SOURCES or not any(_usable(row) for row in rows):
            continue
        for i, picture in enumerate(collection.frames(sample)):
            if (sample.clip and i % CLIP_STEP) or not _usable(rows[i]):
                continue
            transform = align(rows[i])
            images.append(cut(picture, transform))
            loops.append(to_crop(rows[i][INNER_LIPS], transform))
            owners.append(sample)
    if not images:
        raise InputError(f"the collection under {collection.root} shows no open mouth")
    return Mouths(np.array(images), np.array(loops), *_columns(owners))


def _columns(owners: list[Sample]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(np.array([getattr(s, name) for s in owners]) for name in ("person", "source", "colour"))


def _usable(landmarks: np.ndarray) -> bool:
    """Whether a mouth is open, large and near enough to frontal."""
    if not np.isfinite(landmarks[0, 0]):
        return False
    turned, eyes = abs(yaw_degrees(landmarks)), eye_distance(landmarks)
    return turned < LARGEST_YAW and eyes > SMALLEST_EYES and mouth_opening(landmarks) > OPEN
