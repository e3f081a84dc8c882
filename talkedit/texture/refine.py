"""Codes brought closer to one texture by a few steps of gradient descent."""

from __future__ import annotations

import torch
from torch import Tensor

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
