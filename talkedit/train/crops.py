"""Aligned crops of a collection with the coefficients that fitting finds for them: what the network is trained on."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from talkedit.data.collection import Collection, Sample
from talkedit.facemodel.camera import align_crop, crop_image, five_points
from talkedit.facemodel.model import FaceModel
from talkedit.reconstruct.coefficients import model_points, reconstruct_frame
from talkedit.reconstruct.fit import Fitter
from talkedit.reconstruct.network import SMALL_SIZE, crop_at
from talkedit.track.measures import mouth_opening
from talkedit.track.topology import IBUG68, LANDMARKS
from talkedit.train.faces import Faces, of_sources

# Neighbouring frames of a clip teach hardly anything new.
CLIP_STEP = 4


@dataclass(frozen=True)
class Crops(Faces):
    """Crops of one or more sources.

    Attributes:
        images: (N, 112, 112, 3) uint8 RGB.
        coefficients: (N, 257) float32, by fitting; identity is one for all pictures of a person.
        landmarks: (N, 468, 2) float32 tracked points, pixels of the 224-pixel crop.
        people: (N,) names.
        sources: (N,) names of the collection's sources.
        colour: (N,) bool.
    """

    images: np.ndarray
    coefficients: np.ndarray
    landmarks: np.ndarray
    people: np.ndarray
    sources: np.ndarray
    colour: np.ndarray


def load_crops(collection: Collection, model: FaceModel, sources: tuple[str, ...], cache: Path) -> Crops:
    """Crops of the named sources, made once a source and then read from ``cache``.

    Args:
        collection: pictures and tracked landmarks.
        model: the face model whose coefficients are wanted.
        sources: as in ``Sample.source``.
        cache: folder for the crops (npz files of ours, 39 kB a picture).

    Raises:
        InputError: the collection holds none of the sources, or a cached file is damaged.
    """
    return of_sources(
        Crops, collection, sources, cache, f"crops{SMALL_SIZE}", lambda samples: _make(collection, model, samples)
    )


def emotions_of(collection: Collection, sources: tuple[str, ...]) -> np.ndarray:
    """(N,) the label of each of :func:`load_crops`'s crops, "None" where there is none."""
    landmarks = collection.landmarks()
    return np.array(
        [
            str(s.emotion)
            for source in sources
            for s in collection.samples
            if s.source == source
            for i, row in enumerate(landmarks[s.key])
            if _taken(s, i, row)
        ]
    )


def _taken(sample: Sample, i: int, row: np.ndarray) -> bool:
    """Whether a sample's ``i``-th picture, with these landmarks, becomes a crop."""
    return not (sample.clip and i % CLIP_STEP) and bool(np.isfinite(row[0, 0]))


def _make(collection: Collection, model: FaceModel, samples: list[Sample]) -> Crops:
    landmarks = collection.landmarks()
    fitters = _identities(model, samples, landmarks)
    images, coefficients, points, owners = [], [], [], []
    for s in samples:
        rows = landmarks[s.key]
        for i, picture in enumerate(collection.frames(s)):
            if not _taken(s, i, rows[i]):
                continue
            found = reconstruct_frame(picture, rows[i], model, fitters[s.person])
            images.append(crop_image(picture, crop_at(found.crop, SMALL_SIZE), SMALL_SIZE))
            coefficients.append(found.vector())
            points.append(found.crop.frame_to_crop(rows[i, :LANDMARKS, :2]).astype(np.float32))
            owners.append(s)
    return Crops(
        np.array(images),
        np.array(coefficients),
        np.array(points),
        np.array([s.person for s in owners]),
        np.array([s.source for s in owners]),
        np.array([s.colour for s in owners]),
    )


def _identities(model: FaceModel, samples: list[Sample], landmarks: dict[str, np.ndarray]) -> dict[str, Fitter]:
    """person → fitter with the identity of all their pictures."""
    mean, first = model.at_landmarks(model.mean), Fitter(model)
    fitters: dict[str, Fitter] = defaultdict(first.fresh)
    for s in samples:
        for row in landmarks[s.key][:: CLIP_STEP if s.clip else 1]:
            if np.isfinite(row[0, 0]):
                _, points = model_points(row, mean, align_crop(five_points(row[IBUG68])))
                fitters[s.person].observe(points, 1 / (1 + 8 * mouth_opening(row)))
    for fitter in fitters.values():
        fitter.solve()
    return fitters
