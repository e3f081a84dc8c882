"""The edited picture sampled from the source frame itself.

Each vertex carries where it was in the source; interpolated over the edited mesh this gives, for every pixel, the
source position to sample. Full sharpness at any resolution, and nothing moves where the mesh does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from talkedit.render import attribute_map


@dataclass
class Warp:
    """A rectangle of the frame under the edited mesh.

    Attributes:
        x0, y0: top left corner in the frame.
        source: (h, w, 2) float32, where each pixel comes from (frame pixels); its own place outside the mesh.
        uv: (h, w, 2) float32 texture coordinates in 0..1, 0 outside.
        hit: (h, w) int32 triangle or -1.
    """

    x0: int
    y0: int
    source: np.ndarray
    uv: np.ndarray
    hit: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) of the rectangle."""
        return self.hit.shape[0], self.hit.shape[1]


def bounds(points: np.ndarray, shape: tuple[int, ...], pad: int = 2) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of (V, ≥2) points, padded and cut to a frame of ``shape``."""
    lo = np.floor(points[:, :2].min(0)).astype(int) - pad
    hi = np.ceil(points[:, :2].max(0)).astype(int) + pad + 1
    x0, y0 = np.maximum(lo, 0)
    x1, y1 = min(hi[0], shape[1]), min(hi[1], shape[0])
    return int(x0), int(y0), int(x1), int(y1)


def build_warp(
    source: np.ndarray,
    target: np.ndarray,
    triangles: np.ndarray,
    uv: np.ndarray,
    shape: tuple[int, ...],
    device: str = "cpu",
) -> Warp | None:
    """Rasterises the edited mesh.

    Args:
        source: (V, 3) mesh in the source frame, pixels, z away from the viewer.
        target: (V, 3) edited mesh.
        triangles: (F, 3) int32.
        uv: (V, 2).
        shape: of the frame.
        device: where to rasterise, "cpu" or "cuda".

    Returns:
        The warp, or None where the mesh lies outside the frame.
    """
    x0, y0, x1, y1 = bounds(np.concatenate([source, target]), shape)
    if x1 - x0 < 8 or y1 - y0 < 8:
        return None
    attributes = np.concatenate([source[:, :2] - target[:, :2], uv], axis=1).astype(np.float32)
    values, hit = attribute_map(target.astype(np.float32), triangles, attributes, y1 - y0, x1 - x0, (x0, y0), device)
    gx, gy = np.meshgrid(np.arange(x0, x1, dtype=np.float32), np.arange(y0, y1, dtype=np.float32))
    where = values[..., :2]
    where[..., 0] += gx
    where[..., 1] += gy
    return Warp(x0, y0, where, values[..., 2:4], hit)


def sample(frame: np.ndarray, warp: Warp) -> np.ndarray:
    """(h, w, 3) uint8: the frame sampled through the warp (Lanczos; exact where nothing moves)."""
    return cv2.remap(
        frame, warp.source[..., 0], warp.source[..., 1], cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE
    )
