"""The face model as tensors, for losses that need gradients."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from talkedit.facemodel.model import FaceModel


class FaceTensors(nn.Module):
    """Eq. 1 and the albedo of a :class:`FaceModel`, batched and differentiable.

    Attributes:
        triangles: (F, 3) int64, those of the face itself: no skirt and no eyeballs.
        skin: (V,) 1 on the face itself, else 0.

    Args:
        model: the face model.
        dtype: of the bases.
    """

    def __init__(self, model: FaceModel, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        face = (model.skirt > 0.99) & ~model.eyeball
        self._keep("mean", model.mean, dtype)
        self._keep("albedo_mean", model.tex_mean, dtype)
        for name, basis in (
            ("identity", model.id_basis),
            ("expression", model.exp_basis),
            ("texture", model.tex_basis),
        ):
            self._keep(f"{name}_basis", basis.reshape(-1, basis.shape[2]).T, dtype)
        self._keep("triangles", model.triangles[face[model.triangles].all(1)].astype(np.int64))
        self._keep("skin", face, dtype)
        self._keep("keypoints", model.keypoints.astype(np.int64))

    def _keep(self, name: str, values: np.ndarray, dtype: torch.dtype | None = None) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=dtype), persistent=False)

    def vertices(self, identity: Tensor, expression: Tensor) -> Tensor:
        """(B, V, 3) model units for (B, 80) identity and (B, 64) expression coefficients."""
        offset = identity @ self.identity_basis + expression @ self.expression_basis
        return self.mean + offset.unflatten(-1, (-1, 3))

    def albedo(self, texture: Tensor) -> Tensor:
        """(B, V, 3) RGB, about 0..1 and not clipped, for (B, 80) texture coefficients."""
        return self.albedo_mean + (texture @ self.texture_basis).unflatten(-1, (-1, 3))
