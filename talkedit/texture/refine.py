"""Codes brought closer to one texture by a few steps of gradient descent, the first half of pivotal tuning (PTI)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from talkedit.texture.encoder import face_channels
from talkedit.texture.losses import gradient_loss, pixel_loss
from talkedit.texture.stylegan import Synthesis


def refine(generator: Synthesis, codes: Tensor, channels: Tensor, seen: Tensor, colour: Tensor, steps: int = 40,
           rate: float = 0.05, hold: float = 1e-3) -> Tensor:  # fmt: skip
    """(B, L, 512) codes whose textures lie closer to what was seen; the generator stays as it is.

    Args:
        generator: G.
        codes: (B, L, 512) to begin with, the encoder's.
        channels, seen, colour: (B, 3, T, T), (B, 1, T, T) in 0..1 and (B,), see `talkedit.train.textures`.
        steps: of Adam.
        rate: its step, in units of the codes.
        hold: weight of the squared distance from the beginning, so that directions still apply.
    """
    start = codes.detach()
    moved = start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([moved], rate)
    for _ in range(steps):
        made = generator(moved)
        loss = pixel_loss(made, channels, seen, colour) + gradient_loss(made, channels, seen)
        loss = loss + hold * (moved - start).square().mean((1, 2)).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward(inputs=[moved])
        optimiser.step()
    return moved.detach()


class MeanTexture:
    """What several frames showed of one speaker, averaged."""

    def __init__(self) -> None:
        self._sum: np.ndarray | None = None
        self._count: np.ndarray | None = None
        self._frames = 0

    def add(self, texture: np.ndarray, seen: np.ndarray) -> None:
        """Adds an unwrapped frame, (T, T, 3) in 0..255, and its (T, T) visibility."""
        channels = face_channels(texture, seen) * seen
        if self._sum is None:
            self._sum, self._count = np.zeros_like(channels), np.zeros(seen.shape, np.float32)
        self._sum += channels
        self._count += seen
        self._frames += 1

    def refined(self, generator: Synthesis, code: np.ndarray, steps: int) -> np.ndarray:
        """(L, 512) code of the speaker, `refine`-d to the mean; a texel counts as often as it was seen.

        Args:
            generator: G.
            code: (L, 512) to begin with.
            steps: see `refine`.
        """
        if self._sum is None:
            return code
        channels = self._sum / np.maximum(self._count, 1)
        weight = (self._count / self._frames)[None]
        parts = [torch.from_numpy(np.ascontiguousarray(a, np.float32))[None] for a in (code, channels, weight)]
        return refine(generator, *parts, torch.ones(1), steps)[0].numpy()
