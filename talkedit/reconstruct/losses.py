"""The self-supervised losses of Deep3DFaceRecon (Deng et al. 2019), with gradients through our renderer.

Each is one function on tensors; :class:`SelfSupervision` renders a batch and adds them up with the published weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from talkedit.facemodel.camera import screen_points
from talkedit.facemodel.tensors import FaceTensors
from talkedit.reconstruct.coefficients import LAYOUT
from talkedit.reconstruct.network import camera_at
from talkedit.render import render

LANDMARK_WEIGHTS = tuple(20.0 if 28 <= i <= 30 or i >= 60 else 1.0 for i in range(68))
"""Of the 68 iBUG points, 0-based: the nose ridge and the inner lips count twenty times (D1)."""


class IdentityNetwork(Protocol):
    """A face recogniser for the perceptual loss: (B, 3, H, W) RGB in 0..1 to (B, F) features, differentiable."""

    def __call__(self, images: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms, D1's by default; identity, expression and texture act inside ``regularisation``."""

    photometric: float = 1.92
    landmark: float = 1.6e-3
    perceptual: float = 0.2
    regularisation: float = 3e-4
    identity: float = 1.0
    expression: float = 0.8
    texture: float = 1.7e-2
    gamma: float = 10.0
    reflectance: float = 5.0


def photometric_loss(rendered: Tensor, picture: Tensor, mask: Tensor, epsilon: float = 1e-6) -> Tensor:
    """Mean length of the RGB difference over the mask.

    Args:
        rendered: (B, H, W, 3) RGB in 0..1.
        picture: (B, H, W, 3) likewise.
        mask: (B, H, W) weights in 0..1; skin on the face.
        epsilon: under the root, so that equal pixels have a gradient.

    Returns:
        Scalar; 0 for an empty mask.
    """
    distance = ((rendered - picture).square().sum(-1) + epsilon).sqrt()
    return (distance * mask).sum() / mask.sum().clamp(min=1)


def landmark_loss(predicted: Tensor, tracked: Tensor, weights: Tensor | None = None) -> Tensor:
    """Weighted mean of the squared distance.

    Args:
        predicted: (B, 68, 2) pixels of the 224-pixel crop.
        tracked: (B, 68, 2) likewise.
        weights: (68,); :data:`LANDMARK_WEIGHTS` if None.

    Returns:
        Scalar, square pixels.
    """
    if weights is None:
        weights = predicted.new_tensor(LANDMARK_WEIGHTS)
    return ((predicted - tracked).square().sum(-1) * weights).mean()


def perceptual_loss(first: Tensor, second: Tensor) -> Tensor:
    """Mean of 1 - cosine between (B, F) features of an identity network."""
    return (1 - torch.cosine_similarity(first, second, dim=-1)).mean()


def regularisation_loss(coefficients: Tensor, weights: LossWeights = LossWeights()) -> Tensor:
    """Squared norms of identity, expression and texture, weighted, mean over the (B, 257) batch."""
    parts = (getattr(weights, name) * coefficients[:, LAYOUT[name]].square().sum(1)
             for name in ("identity", "expression", "texture"))  # fmt: skip
    return sum(parts).mean()


def gamma_loss(gamma: Tensor) -> Tensor:
    """Mean squared deviation of (B, 27) light from its mean over the colour channels: light is nearly white."""
    channels = gamma.unflatten(-1, (3, 9))
    return (channels - channels.mean(1, keepdim=True)).square().mean()


def reflectance_loss(albedo: Tensor, skin: Tensor) -> Tensor:
    """Variance of the albedo over the skin, summed over the channels: what varies smoothly is light, not skin.

    Args:
        albedo: (B, V, 3) in 0..1.
        skin: (V,) 0 or 1, not all 0.

    Returns:
        Scalar, mean over the batch.
    """
    weight = skin[None, :, None]
    mean = (weight * albedo).sum(1, keepdim=True) / skin.sum()
    return ((albedo - mean) * weight).square().sum() / (len(albedo) * skin.sum())


@torch.no_grad()
def skin_mask(pictures: Tensor, face: Tensor) -> Tensor:
    """How much each pixel looks like this face's skin: beards, brows, lips, glasses and hands count little.

    A Gaussian around the median of log luminance and chroma over the face, as wide as the median deviation but not
    narrower than even skin under even light. No colour is set beforehand, so all skins and grey pictures are alike.

    Args:
        pictures: (B, H, W, 3) RGB in 0..1.
        face: (B, H, W) bool, where the mesh is.

    Returns:
        (B, H, W) in 0..1, 0 outside the face.
    """
    rgb = pictures.clamp(min=1 / 255)
    level = rgb.mean(-1, keepdim=True)
    values = torch.cat([level.log(), rgb[..., :2] / level], dim=-1)
    floor = values.new_tensor([0.15, 0.03, 0.03])
    inside = values.masked_fill(~face[..., None], torch.nan).flatten(1, 2)
    middle = inside.nanmedian(1, keepdim=True).values
    spread = 1.4826 * (inside - middle).abs().nanmedian(1, keepdim=True).values
    distance = ((values - middle[:, None]) / (2 * torch.maximum(spread, floor))[:, None]).square().sum(-1)
    return torch.where(face, torch.exp(-0.5 * distance), 0.0)


class SelfSupervision(nn.Module):
    """All terms for a batch of crops.

    Args:
        face: the face model.
        size: side of the crops in pixels.
        weights: of the terms.
        identity: face recogniser for the perceptual term, which is left out if None.
    """

    def __init__(
        self,
        face: FaceTensors,
        size: int,
        weights: LossWeights = LossWeights(),
        identity: IdentityNetwork | None = None,
    ) -> None:
        super().__init__()
        self.face, self.weights, self.identity = face, weights, identity
        self.camera = camera_at(size)

    def forward(self, coefficients: Tensor, pictures: Tensor, landmarks: Tensor) -> dict[str, Tensor]:
        """The weighted terms by name; their sum is the loss.

        Args:
            coefficients: (B, 257).
            pictures: (B, size, size, 3) RGB in 0..1.
            landmarks: (B, 68, 2) tracked iBUG points, pixels of the 224-pixel crop.
        """
        part = {name: coefficients[:, where] for name, where in LAYOUT.items()}
        vertices = self.face.vertices(part["identity"], part["expression"])
        albedo = self.face.albedo(part["texture"])
        pose = part["angle"], part["translation"]
        seen = render(vertices, self.face.triangles, albedo, *pose, part["gamma"], camera=self.camera)
        points = screen_points(vertices[:, self.face.keypoints], *pose)[..., :2]
        w = self.weights
        terms = {
            "photometric": w.photometric * photometric_loss(seen.image, pictures, skin_mask(pictures, seen.mask)),
            "landmark": w.landmark * landmark_loss(points, landmarks),
            "regularisation": w.regularisation * regularisation_loss(coefficients, w),
            "gamma": w.gamma * gamma_loss(part["gamma"]),
            "reflectance": w.reflectance * reflectance_loss(albedo, self.face.skin),
        }
        if self.identity is not None:
            # Around the face both pictures are the same, so that only the face is compared.
            drawn = torch.where(seen.mask[..., None], seen.image, pictures)
            features = [self.identity(x.permute(0, 3, 1, 2)) for x in (drawn, pictures)]
            terms["perceptual"] = w.perceptual * perceptual_loss(features[0], features[1].detach())
        return terms
