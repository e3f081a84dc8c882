"""The losses of the geometry GAN (Eqs. 6-16), one function each, and the face points that some of them are read on.

A norm squared is the mean over points of the squared distance, so that a face model with more vertices weighs no more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from talkedit.facemodel.model import FaceModel

LIP_PAIRS = ((51, 57), (62, 66))
"""Outer and inner mid-line of the lips among the 68 iBUG points, counted from 0 (52/58 and 63/67 in the paper)."""
REGIONS = {"jaw": slice(0, 17), "brows": slice(17, 27), "nose": slice(27, 36), "eyes": slice(36, 48),
           "mouth": slice(48, 68)}  # fmt: skip
"""The regions K_q of Eq. 13 among the 68 iBUG points."""
REGION_WEIGHTS = {"jaw": 1.0, "brows": 1.0, "nose": 2.0, "eyes": 2.0, "mouth": 1.0}
"""λ_q. The paper names eyes only; the nose is added, because nothing an emotion does may bend it."""


@dataclass(frozen=True)
class LossWeights:
    """Weights of Eqs. 9 and 16; the paper prints none of them.

    Attributes:
        emotion: λ_e, shared by both networks as printed.
        penalty: λ_gp.
        cycle: λ_g.
        region: scale of Eq. 13, whose own weights λ_q are relative.
        lip: λ_lip.
        keep: λ_reg.
    """

    emotion: float = 2.0
    penalty: float = 10.0
    cycle: float = 200.0
    region: float = 20.0
    lip: float = 20.0
    keep: float = 2.0


class FacePoints(nn.Module):
    """Eq. 1 at the points that losses need: the 468 MediaPipe points and the 68 iBUG points of any face model.

    Args:
        model: the face model.
    """

    def __init__(self, model: FaceModel) -> None:
        super().__init__()
        basis = np.concatenate([model.id_basis, model.exp_basis], axis=2)
        for name, mean, rows in (
            ("surface", model.at_landmarks(model.mean), model.at_landmarks(basis)),
            ("keypoint", model.mean[model.keypoints], basis[model.keypoints]),
        ):
            flat = rows.reshape(-1, rows.shape[2]).T
            self.register_buffer(f"{name}_mean", torch.tensor(mean, dtype=torch.float32), persistent=False)
            self.register_buffer(f"{name}_basis", torch.tensor(flat, dtype=torch.float32), persistent=False)

    def surface(self, code: Tensor) -> Tensor:
        """(B, 468, 3) points in model units for (B, 144) codes: 80 identity, then 64 expression coefficients."""
        return self.surface_mean + (code @ self.surface_basis).unflatten(-1, (-1, 3))

    def keypoints(self, code: Tensor) -> Tensor:
        """(B, 68, 3) iBUG points in model units for (B, 144) codes."""
        return self.keypoint_mean + (code @ self.keypoint_basis).unflatten(-1, (-1, 3))


def emotion_loss(read: Tensor, wanted: Tensor) -> Tensor:
    """Eqs. 6 and 11: mean over the batch of ‖D_e − e‖², for (B, 7) readings and codes.

    Eq. 11 prints G(s, e); the code that G was given is ê, and so it is here.
    """
    return (read - wanted).square().sum(1).mean()


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Eq. 7, the Wasserstein loss of the critic, for (B,) scores of real and edited codes."""
    return fake.mean() - real.mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """Eq. 8: how far the critic's slope lies from 1 between real and edited codes.

    Args:
        critic: (B, C) codes to (B,) scores, under the real codes' conditions.
        real, fake: (B, C) codes.
        mix: (B, 1) in 0..1, the share of the real code.

    Returns:
        Scalar, mean of (‖∂D/∂s̃‖₂ − 1)²; differentiable in the critic's weights.
    """
    between = (mix * real + (1 - mix) * fake).detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.norm(dim=1) - 1).square().mean()


def adversarial_loss(fake: Tensor) -> Tensor:
    """Eq. 10 for (B,) scores of edited codes."""
    return -fake.mean()


def surface_loss(points: Tensor, other: Tensor) -> Tensor:
    """Eqs. 12 and 15: mean squared distance of (B, P, 3) points, in squared model units.

    Eq. 12 compares the source with its way there and back, Eq. 15 with the edit itself.
    """
    return (points - other).square().sum(-1).mean()


def region_loss(keypoints: Tensor, other: Tensor, weights: dict[str, float] | None = None) -> Tensor:
    """Eq. 13: weighted mean squared distance of (B, 68, 3) iBUG points, region by region, in squared model units.

    Args:
        keypoints: of the source.
        other: of the cycle's end, what the paper calls the reconstructed coefficients.
        weights: region → λ_q, ``REGION_WEIGHTS`` by default.
    """
    distance = (keypoints - other).square().sum(-1).mean(0)
    chosen = REGION_WEIGHTS if weights is None else weights
    return torch.stack([weight * distance[REGIONS[name]].mean() for name, weight in chosen.items()]).sum()


def lip_loss(keypoints: Tensor, edited: Tensor) -> Tensor:
    """Eq. 14: change of the squared lip openings of (B, 68, 3) iBUG points, in squared model units.

    Read on the edit itself: its purpose is that the edit leaves the spoken lips alone.
    """
    changes = [
        ((keypoints[:, a] - keypoints[:, b]).square().sum(-1) - (edited[:, a] - edited[:, b]).square().sum(-1)).abs()
        for a, b in LIP_PAIRS
    ]
    return torch.stack(changes).sum(0).mean()


def discriminator_total(terms: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """Eq. 9 from the terms "critic", "emotion" and "penalty"."""
    return terms["critic"] + weights.emotion * terms["emotion"] + weights.penalty * terms["penalty"]


def generator_total(terms: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """Eq. 16 from the terms "adversarial", "emotion", "cycle", "region", "lip" and "keep"."""
    return (
        terms["adversarial"]
        + weights.emotion * terms["emotion"]
        + weights.cycle * terms["cycle"]
        + weights.region * terms["region"]
        + weights.lip * terms["lip"]
        + weights.keep * terms["keep"]
    )
