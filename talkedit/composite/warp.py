"""The edited picture sampled from the source frame itself.

Each vertex carries where it was in the source; interpolated over the edited mesh this gives, for every pixel, the
source position to sample. Full sharpness at any resolution, and nothing moves where the mesh does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from talkedit.render import attribute_map

# Where source pixels per pixel pass from ``low`` to ``high``, the source is softened by ``sigma`` pixels.
SQUEEZES = ((1.5, 2.4, 1.0), (2.4, 3.6, 1.7))


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
    """(h, w, 3) uint8: the frame sampled through the warp (Lanczos; exact where nothing moves).

    Where the edit squeezes skin strongly (a fold under a lowered brow) the source is softened first, or what is finer
    than a pixel there would flicker.
    """
    x, y = warp.source[..., 0], warp.source[..., 1]
    out = cv2.remap(frame, x, y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
    step = _squeeze(warp)
    for low, high, sigma in SQUEEZES:
        _soften(out, frame, warp, np.clip((step - low) / (high - low), 0, 1), sigma)
    return out


def _squeeze(warp: Warp) -> np.ndarray:
    """(h, w) source pixels per pixel, the larger of both directions; 0 off the mesh. Coarse on large pictures."""
    stride = max(1, min(warp.shape) // 300)
    where, inside = warp.source[::stride, ::stride], warp.hit[::stride, ::stride] >= 0
    step = np.zeros(inside.shape, np.float32)
    for axis in (0, 1):
        change = np.diff(where, axis=axis)
        both = inside[1:] & inside[:-1] if axis == 0 else inside[:, 1:] & inside[:, :-1]
        part = step[1:] if axis == 0 else step[:, 1:]
        np.maximum(part, np.sqrt(change[..., 0] ** 2 + change[..., 1] ** 2) * both / stride, out=part)
    return step if stride == 1 else cv2.resize(step, warp.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _soften(out: np.ndarray, frame: np.ndarray, warp: Warp, share: np.ndarray, sigma: float) -> None:
    """Blends the warped, blurred source into (h, w, 3) ``out`` where the (h, w) share says so."""
    rows, cols = np.flatnonzero((share > 0).any(1)), np.flatnonzero((share > 0).any(0))
    if len(rows) == 0:
        return
    rect = np.s_[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    weight = (cv2.GaussianBlur(share[rect], (0, 0), 1.0) * (warp.hit[rect] >= 0))[..., None]
    where = warp.source[rect]
    x0, y0 = np.maximum(np.floor(where.min((0, 1))).astype(int) - 8, 0)
    x1, y1 = np.ceil(where.max((0, 1))).astype(int) + 9
    near = cv2.GaussianBlur(np.ascontiguousarray(frame[y0:y1, x0:x1]), (0, 0), sigma)
    shift = np.float32([x0, y0])
    blurred = cv2.remap(near, *cv2.split(where - shift), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    area = out[rect].astype(np.float32)
    out[rect] = (area + (blurred - area) * weight + 0.5).astype(np.uint8)
