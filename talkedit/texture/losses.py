"""How far made textures lie from seen ones; unseen texels never count."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""(B, 3, S, S) made and seen textures, both 0 where unseen → a loss; any identity or feature network."""
SCALES = (1, 2, 4, 8)


def masked_l1(wrong: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of |wrong|; (B, C, H, W) and (B, 1, H, W)."""
    return (wrong.abs() * weight).sum() / (weight.sum() * wrong.shape[1]).clamp_min(1e-6)


def pixel_loss(made: Tensor, real: Tensor, weight: Tensor, colour: Tensor) -> Tensor:
    """Luminance of all and chroma of the colour ones, over several scales."""
    told = weight * colour[:, None, None, None]
    loss = made.new_zeros(())
    wrong = made - real
    for scale in SCALES:
        w, r = pooled(weight, scale), pooled(wrong[:, :1] * weight, scale)
        loss = loss + masked_l1(r / w.clamp_min(1e-3), w) / len(SCALES)
    return loss + masked_l1(wrong[:, 1:], told)


def gradient_loss(made: Tensor, real: Tensor, weight: Tensor) -> Tensor:
    """Differences of neighbouring texels of luminance: where wrinkles and edges lie."""
    wrong = made[:, :1] - real[:, :1]
    across = masked_l1(wrong[..., 1:] - wrong[..., :-1], torch.minimum(weight[..., 1:], weight[..., :-1]))
    down = masked_l1(wrong[..., 1:, :] - wrong[..., :-1, :], torch.minimum(weight[..., 1:, :], weight[..., :-1, :]))
    return across + down


def pair_loss(made: Tensor, real: Tensor, weight: Tensor, paired: Tensor) -> Tensor:
    """Whether the *change* between two pictures of one person is right: what the edit will be made of.

    Args:
        made, real: (B, 3, S, S); rows 2k and 2k + 1 are a pair.
        weight: (B, 1, S, S).
        paired: (B/2,) 1 where a pair counts.
    """
    change = (made - real)[:, :1]
    change = change[0::2] - change[1::2]
    w = torch.minimum(weight[0::2], weight[1::2]) * paired[:, None, None, None]
    loss = made.new_zeros(())
    for scale in (2, 4):
        area = pooled(w, scale)
        loss = loss + masked_l1(pooled(change * w, scale) / area.clamp_min(1e-3), area) / 2
    return loss


def latent_loss(codes: Tensor, mean: Tensor) -> Tensor:
    """Mean squared distance of (B, L, 512) codes from the (L, 512) mean face's: near it directions carry over."""
    return (codes - mean).square().mean()


def pooled(x: Tensor, scale: int) -> Tensor:
    """Mean over squares of ``scale`` texels."""
    return functional.avg_pool2d(x, scale) if scale > 1 else x
