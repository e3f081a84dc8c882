"""UV textures that the texture GAN learns from: luminance free of light, chroma free of tint, and what was seen.

Channels, the same everywhere in the GAN, its encoder and its discriminator: 0 is log luminance less its low-pass
(`talkedit.texture.editor.detail_of`), 1 and 2 are log(R/G) and log(B/G) less their means over the face. Grey pictures
teach the first only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from talkedit.data.collection import Collection, Sample
from talkedit.data.manifest import read_arrays, read_manifest
from talkedit.errors import InputError
from talkedit.facemodel.model import FaceModel
from talkedit.reconstruct.pose import find_pose
from talkedit.texture.encoder import CHROMA_PART, CHROMA_RANGE, DETAIL_RANGE, face_channels, quarter_chroma
from talkedit.texture.uv_map import UvTemplate
from talkedit.track.measures import yaw_degrees
from talkedit.train.faces import Faces, of_sources
from talkedit.train.linear import turn_of

SOURCES = ("faces_open", "london", "mead", "expressive")
# Heads turned further show too little of one side.
MAX_YAW = 30.0
# Neighbouring frames of a clip teach hardly anything new.
CLIP_STEP = 3


@dataclass(frozen=True)
class Textures(Faces):
    """N textures of T texels a side.

    Attributes:
        detail: (N, T, T) int8, channel 0 in units of ``DETAIL_RANGE`` / 127; 0 where unseen.
        chroma: (N, 2, T/4, T/4) int8, channels 1 and 2 in units of ``CHROMA_RANGE`` / 127; 0 for grey pictures.
        seen: (N, T, T/8) uint8, bits of the texels that the picture shows.
        points: (N, 468, 3) float32 landmarks in the model's frame; 0 where unknown.
        turn: (N, 2) float32 pitch and yaw in radians.
        people, emotions, sources: (N,) names; an unknown emotion is "".
        colour: (N,) bool.
    """

    detail: np.ndarray
    chroma: np.ndarray
    seen: np.ndarray
    points: np.ndarray
    turn: np.ndarray
    people: np.ndarray
    emotions: np.ndarray
    sources: np.ndarray
    colour: np.ndarray

    @property
    def size(self) -> int:
        """Texels a side."""
        return self.detail.shape[1]

    def read(self, rows: np.ndarray, size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Channels and visibility of some textures.

        Args:
            rows: (B,) indices.
            size: texels a side; None for all there are.

        Returns:
            (B, 3, S, S) float32 and (B, 1, S, S) float32 in 0..1; channels are 0 where nothing was seen.
        """
        columns = (self.detail, self.chroma, self.seen, self.colour)
        channels, seen = unpacked(*(torch.from_numpy(c[rows]) for c in columns), size or self.size)
        return channels.numpy(), seen.numpy()


def unpacked(detail: Tensor, chroma: Tensor, seen: Tensor, colour: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """What :meth:`Textures.read` gives, of rows of its fields as tensors on any device.

    Args:
        detail, chroma, seen, colour: B rows each, see :class:`Textures`.
        size: texels a side.
    """
    bits = torch.arange(7, -1, -1, device=seen.device, dtype=torch.uint8)
    mask = ((seen[..., None] >> bits) & 1).flatten(2)[:, None].float()
    texture = detail[:, None].float() * (DETAIL_RANGE / 127)
    if size != texture.shape[-1]:
        part = functional.interpolate(mask, (size, size), mode="area")
        texture = functional.interpolate(texture, (size, size), mode="area") / part.clamp_min(0.25)
        mask = part * (part >= 0.5)
    told = colour[:, None, None, None].float() * (CHROMA_RANGE / 127)
    wide = functional.interpolate(chroma.float(), (size, size), mode="bilinear", align_corners=False) * told
    return torch.cat([texture, wide], 1) * (mask > 0), mask


def load_textures(collection: Collection, model: FaceModel, cache: Path, size: int = 256,
                  sources: tuple[str, ...] = SOURCES) -> Textures:  # fmt: skip
    """Textures of the named sources of a collection, made once a source and then read from ``cache``.

    Args:
        collection: pictures and tracked landmarks.
        model: the face model whose UV layout is used.
        cache: folder for the textures (npz files of ours).
        size: texels a side, a multiple of 8.
        sources: as in ``Sample.source``.

    Raises:
        InputError: the collection holds none of the sources, or a cached file is damaged.
    """
    return of_sources(
        Textures, collection, sources, cache, f"textures{size}", lambda samples: _make(collection, model, samples, size)
    )


def prepared_textures(folder: Path, model: FaceModel, splits: tuple[str, ...] = ("train",)) -> Textures:
    """Textures that ``talkedit prepare`` wrote (colour, with person and emotion where the data set says).

    Raises:
        InputError: the folder is missing or damaged, or holds no texture.
    """
    rows = [row for split in splits for row in read_manifest(folder, split=split) if row.textures]
    if not rows:
        raise InputError(f"'{folder}' holds no textures of the split {' or '.join(splits)}")
    mean = model.at_landmarks(model.mean)
    out: list[tuple] = []
    for row in rows:
        arrays = read_arrays(folder, row)
        for texture, seen, at in zip(arrays.texture, arrays.visible, arrays.texture_row, strict=True):
            pose = find_pose(arrays.landmarks[at], mean)
            points = pose.to_model(arrays.landmarks[at][:468]).astype(np.float32)
            who = (row.person, row.emotion, row.file.partition("/")[0], True)
            out.append((*_packed(texture.astype(np.float32), seen, True), points, turn_of(pose), *who))
    return _stacked(out)


def _make(collection: Collection, model: FaceModel, samples: list[Sample], size: int) -> Textures:
    template, mean = UvTemplate(model, size), model.at_landmarks(model.mean)
    landmarks = collection.landmarks()
    out: list[tuple] = []
    for number, s in enumerate(samples):
        if s.source == "faces_open" and s.emotion in ("neutral", "happy") and number % 2:
            continue  # there are ten times more of these than of any other
        rows = landmarks[s.key]
        for i, picture in enumerate(collection.frames(s)):
            if (s.clip and i % CLIP_STEP) or not np.isfinite(rows[i, 0, 0]) or abs(yaw_degrees(rows[i])) > MAX_YAW:
                continue
            pose, mesh = find_pose(rows[i], mean), model.position @ rows[i, :468]
            texture, seen = template.unwrap(picture, mesh), template.visible(mesh)
            points = pose.to_model(rows[i, :468]).astype(np.float32)
            who = (s.person, s.emotion or "", s.source, s.colour)
            out.append((*_packed(texture, seen, s.colour), points, turn_of(pose), *who))
    return _stacked(out)


def _packed(texture: np.ndarray, seen: np.ndarray, colour: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``detail``, ``chroma`` and ``seen`` of one (T, T, 3) texture in 0..255 and its (T, T) visibility."""
    channels = face_channels(texture, seen)
    part = quarter_chroma(channels[1:], seen) if colour else np.zeros((2, *(n // CHROMA_PART for n in seen.shape)))
    scaled = (channels[0] * (127 / DETAIL_RANGE), part * (127 / CHROMA_RANGE))
    detail, chroma = (np.rint(np.clip(x, -127, 127)).astype(np.int8) for x in scaled)
    return detail, chroma, np.packbits(seen, axis=1)


def _stacked(rows: list[tuple]) -> Textures:
    if not rows:
        raise InputError("no face in the data can be unwrapped")
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    columns[3:5] = [c.astype(np.float32) for c in columns[3:5]]
    return Textures(*columns)
