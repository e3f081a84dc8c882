"""Principal components of UV textures of which each shows only a part: where recipe ``open`` starts from."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from talkedit.texture.encoder import EIGEN_SIZE, Encoder
from talkedit.texture.stylegan import Synthesis, W
from talkedit.train.textures import Textures

# Rounds of filling in what was not seen from the components found so far.
ROUNDS = 3
# What the untrained styled layers write is scaled by this.
QUIET = 0.02


@dataclass(frozen=True)
class EigenTextures:
    """Mean and components of log luminance, scaled to the standard deviation of what they explain.

    Attributes:
        mean: (T, T), from all that was seen.
        half: (K, T/2, T/2) components.
        small: (K, EIGEN_SIZE, EIGEN_SIZE) the same, smaller.
        small_mean: (EIGEN_SIZE, EIGEN_SIZE).
    """

    mean: np.ndarray
    half: np.ndarray
    small: np.ndarray
    small_mean: np.ndarray


def eigen_textures(textures: Textures, weight: np.ndarray, importance: np.ndarray, count: int,
                   most: int = 4000) -> EigenTextures:  # fmt: skip
    """Finds ``count`` components of the textures and their mirror images.

    Args:
        textures: at T texels a side.
        weight: (N,) how much each counts.
        importance: (T, T) in 0..1, how much each texel counts.
        count: K.
        most: so many textures are drawn, by weight.
    """
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(len(textures), min(most, len(textures)), replace=False, p=weight / weight.sum()))
    side, half = EIGEN_SIZE, textures.size // 2
    total, seen_count = np.zeros((textures.size,) * 2), np.zeros((textures.size,) * 2)
    flat, masks = [], []
    for row in rows:
        channels, seen = textures.read(np.array([row]))
        total += channels[0, 0] * (seen[0, 0] > 0)
        seen_count += seen[0, 0] > 0
        channels, seen = textures.read(np.array([row]), side)
        flat.append(channels[0, 0])
        masks.append(seen[0, 0] > 0)
    mean = total / np.maximum(seen_count, 1)
    mean = ((mean + mean[:, ::-1]) / 2).astype(np.float32)
    small_mean = cv2.resize(mean, (side, side), interpolation=cv2.INTER_AREA)
    x = torch.from_numpy(np.stack(flat)).sub(torch.from_numpy(small_mean))
    mask = torch.from_numpy(np.stack(masks))
    x, mask = (torch.cat([t, t.flip(2)]).flatten(1) for t in (x, mask))
    emphasis = torch.from_numpy(cv2.resize(importance, (side, side), interpolation=cv2.INTER_AREA)).sqrt().flatten()
    x = torch.where(mask, x * emphasis, 0.0)
    torch.manual_seed(0)
    guess = torch.zeros_like(x)
    for _ in range(ROUNDS):
        filled = torch.where(mask, x, guess)
        _, _, axes = torch.svd_lowrank(filled, count + 16, niter=3)
        scores = filled @ axes[:, :count]
        guess = scores @ axes[:, :count].T
    scores = scores / scores.std(0)
    # The same components at full detail: how textures depend on the scores.
    inverse = torch.linalg.pinv(scores).numpy()
    out = np.zeros((count, half, half), np.float32)
    wide_mean = cv2.resize(mean, (half, half), interpolation=cv2.INTER_AREA)
    for at, row in enumerate(rows):
        channels, seen = textures.read(np.array([row]), half)
        for flipped in (0, 1):
            n = at + flipped * len(rows)
            step = -1 if flipped else 1
            rough = (guess[n] / emphasis).reshape(side, side).numpy()
            rough = cv2.resize(rough, (half, half), interpolation=cv2.INTER_LINEAR)
            known = seen[0, 0, :, ::step] > 0
            y = np.where(known, channels[0, 0, :, ::step] - wide_mean, rough)
            out += inverse[:, n, None, None] * y
    small = np.stack([cv2.resize(c, (side, side), interpolation=cv2.INTER_AREA) for c in out])
    return EigenTextures(mean, out, small, small_mean)


def start_from(encoder: Encoder, generator: Synthesis, eigen: EigenTextures) -> None:
    """Puts the components into both networks, so that together they begin as a principal component analysis.

    Component k is written in a subspace of its own of code k·L/K: the strongest ones in the first codes.
    """
    codes, share = generator.codes, len(eigen.half) // generator.codes
    draw = torch.randn(codes, W, share, generator=torch.Generator().manual_seed(0))
    subspace = torch.linalg.qr(draw)[0].transpose(1, 2)
    generator.mean[0] = torch.from_numpy(eigen.mean)
    for part in (encoder.eigen, generator):
        part.subspace.copy_(subspace)
    generator.eigen.copy_(torch.from_numpy(eigen.half))
    encoder.eigen.components.copy_(torch.from_numpy(eigen.small).flatten(1))
    encoder.eigen.mean.copy_(torch.from_numpy(eigen.small_mean).flatten())
    for block in generator.blocks:  # the styled layers begin quietly beside them
        block.write.weight.data *= QUIET
    with torch.no_grad():  # the mean face has no component of any kind
        inside = torch.einsum("lkw,lw->lk", subspace, encoder.mean)
        encoder.mean -= torch.einsum("lkw,lk->lw", subspace, inside)
