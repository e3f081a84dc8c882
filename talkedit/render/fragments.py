"""What a rasterizer finds at each pixel."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

SLIVER = 1e-12
"""Triangles with a smaller area (twice, square pixels) keep the rasterizer's weights and get no gradient from them."""


@dataclass(frozen=True)
class Fragments:
    """The nearest triangle at each pixel. No gradients; see :mod:`talkedit.render.interpolation` for those.

    Attributes:
        triangle: (B, H, W) int64 index into the triangles, -1 where there is none.
        barycentric: (B, H, W, 3) float32 weights of the triangle's corners, affine on the screen, sum 1; 0 where
            there is no triangle.
        depth: (B, H, W) float32 depth, affine on the screen; +inf where there is no triangle.
    """

    triangle: Tensor
    barycentric: Tensor
    depth: Tensor

    @property
    def mask(self) -> Tensor:
        """(B, H, W) bool, True where a triangle was hit."""
        return self.triangle >= 0
