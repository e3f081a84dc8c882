"""Batches of UV textures: pairs of one person where there are several pictures, sources and emotions evened out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from talkedit.errors import InputError
from talkedit.train.linear import ONE_SIDED
from talkedit.train.textures import Textures, unpacked

# How often each source is drawn; one that is not named here counts as much as the least of these.
SHARES = {"faces_open": 0.45, "mead": 0.3, "london": 0.2, "expressive": 0.05}
# Contrast that cameras and light give skin, over the mean.
CONTRAST = (0.85, 1.15)


@dataclass(frozen=True)
class TextureBatch:
    """B textures on their device; rows 2k and 2k + 1 are a pair.

    Attributes:
        channels: (B, 3, S, S). seen: (B, 1, S, S) in 0..1. colour: (B,) 1 for colour, 0 for grey.
        small, small_seen: the same at the encoder's size.
        paired: (B/2,) 1 where a pair shows one person, else 0.
    """

    channels: Tensor
    seen: Tensor
    colour: Tensor
    small: Tensor
    small_seen: Tensor
    paired: Tensor


class TextureSampler:
    """Draws pairs: a texture, and another of the same person, with another emotion where there is one.

    Args:
        textures: to draw from.
        small: texels a side of what the encoder reads.
        device: where batches go.

    Attributes:
        weight: (N,) how often each texture is drawn, adds up to 1.

    Raises:
        InputError: there are no textures.
    """

    def __init__(self, textures: Textures, small: int, device: str = "cpu") -> None:
        if not len(textures):
            raise InputError("there are no textures to learn from")
        self._textures, self._small, self._device = textures, min(small, textures.size), device
        # On their device once, not batch by batch: a GPU would wait for them.
        columns = (textures.detail, textures.chroma, textures.seen, textures.colour)
        self._columns = [torch.from_numpy(column).to(device) for column in columns]
        keys = np.char.add(np.char.add(textures.sources.astype(str), "/"), textures.emotions.astype(str))
        weight = np.ones(len(textures))
        for names in (keys, np.char.add(np.char.add(keys, "/"), textures.people.astype(str))):
            _, where, count = np.unique(names, return_inverse=True, return_counts=True)
            weight /= np.sqrt(count[where])
        for source in np.unique(textures.sources):
            rows = textures.sources == source
            weight[rows] *= SHARES.get(str(source), min(SHARES.values())) / weight[rows].sum()
        self.weight = weight / weight.sum()
        self._cumulative = np.cumsum(self.weight)
        order = np.argsort(textures.people, kind="stable")
        people, first = np.unique(textures.people[order], return_index=True)
        self._of = dict(zip(people.tolist(), np.split(order, first[1:]), strict=True))
        self._one_sided = np.isin(textures.emotions, ONE_SIDED)

    def __call__(self, count: int, size: int, rng: np.random.Generator) -> TextureBatch:
        """A batch of ``count`` (even) textures of ``size`` texels a side; half the pairs mirrored, contrast varied."""
        t = self._textures
        rows, paired = [], []
        for _ in range(count // 2):
            a = self._row(rng)
            others = self._of[str(t.people[a])]
            unlike = others[t.emotions[others] != t.emotions[a]]
            choice = unlike if len(unlike) else others[others != a]
            rows += [a, int(rng.choice(choice)) if len(choice) else self._row(rng)]
            paired.append(float(len(choice) > 0))
        rows = np.array(rows)
        turned = np.repeat(rng.random(count // 2) < 0.5, 2) & ~np.repeat(self._one_sided[rows].reshape(-1, 2).any(1), 2)
        contrast = np.repeat(rng.uniform(*CONTRAST, count // 2), 2).astype(np.float32)
        flags = (rows, turned, contrast, t.colour[rows].astype(np.float32), np.array(paired, np.float32))
        rows, turned, contrast, colour, together = (torch.from_numpy(f).to(self._device) for f in flags)
        columns, out = [column[rows] for column in self._columns], []
        for side in (size, self._small):
            for part in unpacked(*columns, side):
                out.append(torch.where(turned[:, None, None, None], part.flip(3), part))
            out[-2][:, 0] *= contrast[:, None, None]
        return TextureBatch(out[0], out[1], colour, out[2], out[3], together)

    def _row(self, rng: np.random.Generator) -> int:
        return min(int(np.searchsorted(self._cumulative, rng.random())), len(self._cumulative) - 1)
