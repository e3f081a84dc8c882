"""What the edit squeezes stays as soft as the source, what it stretches as sharp.

A squeeze by s shrinks the source's own blur σ to σ/s, a stretch widens it, and a fold of the mesh (a closing lid) has
no blur at all. In a soft or strongly compressed source such a place stands out. With the source's blur known, the
missing variance σ²(1 - 1/s²) is added along the squeeze by blending with a Gaussian of that σ; where it is negative
the same blend sharpens.
"""

from __future__ import annotations

import cv2
import numba
import numpy as np

from talkedit.composite.warp import Warp
from talkedit.texture.uv_map import LUMINANCE

CRISP = 0.55  # blur of a crisp picture, pixels
# The strongest sharpening of what was stretched: beyond, the codec's blocks would come out.
SHARPEN = -0.45
# Blends below this change nothing that an eye or a codec would keep.
FAINT = 0.1


def source_blur(rgb: np.ndarray, landmarks: np.ndarray) -> float:
    """Standard deviation of a picture's own blur (lens, scaling, codec) at the face, pixels.

    A straight edge of step h blurred by σ has ∫g² = h²/(2√π σ) and ∫(g′)² = h²/(4√π σ³), so σ² = ∫g² / 2∫(g′)².
    The sums are weighted by the edges around, so that noise on plain skin counts little.

    Args:
        rgb: (H, W, 3) uint8.
        landmarks: (N, ≥2) pixels; their bounding box is looked at.

    Returns:
        0.3 to 3; ``CRISP`` where there is nothing to see.
    """
    x0, y0 = np.maximum(landmarks[:, :2].min(0), 0).astype(int)
    x1, y1 = np.ceil(landmarks[:, :2].max(0)).astype(int)
    area = rgb[y0:y1, x0:x1]
    if min(area.shape[:2]) < 16:
        return CRISP
    level = area.astype(np.float32) @ LUMINANCE
    gx = cv2.Sobel(level, cv2.CV_32F, 1, 0, ksize=1, scale=0.5)
    gy = cv2.Sobel(level, cv2.CV_32F, 0, 1, ksize=1, scale=0.5)
    slope = gx * gx + gy * gy
    bend = cv2.Laplacian(level, cv2.CV_32F) ** 2
    edges = cv2.GaussianBlur(slope, (0, 0), 2.5)
    total = float((edges * bend).sum())
    if total < 1:
        return CRISP
    return float(np.clip(np.sqrt(float((edges * slope).sum()) / (2 * total)), 0.3, 3.0))


def keep_softness(picture: np.ndarray, warp: Warp, blur: float) -> None:
    """Gives what was squeezed or stretched the source's own blur back, in place.

    Args:
        picture: (h, w, 3) uint8, the warped rectangle with all that was painted into it.
        warp: where its pixels come from.
        blur: the source's blur, pixels (see :func:`source_blur`).
    """
    reach = max(1, round(2 * blur))
    kernel = cv2.getGaussianKernel(2 * reach + 1, blur, cv2.CV_32F)[:, 0]
    for dx, dy in ((1, 0), (0, 1)):
        _blend(picture, picture.copy(), warp.source, warp.hit, kernel, dx, dy)


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _blend(
    out: np.ndarray, picture: np.ndarray, source: np.ndarray, hit: np.ndarray, kernel: np.ndarray, dx: int, dy: int
) -> None:
    """Blends (h, w, 3) ``picture`` with its blur along x or y into ``out``, by 1 - 1/s².

    s, source pixels per pixel from the (h, w, 2) source positions, is taken over the kernel's width: a jump of the mesh
    spreads over as many pixels as the edge it has to become. Within that width of what lies off the mesh (``hit`` -1)
    nothing is blended.
    """
    reach = len(kernel) // 2
    ry, rx = reach * dy, reach * dx
    scale, one, half = np.float32(1 / (2 * reach)), np.float32(1), np.float32(0.5)
    least, strongest, faint = np.float32(0.1), np.float32(SHARPEN), np.float32(FAINT)
    for y in range(ry, out.shape[0] - ry):
        for x in range(rx, out.shape[1] - rx):
            step = abs(source[y + ry, x + rx, dy] - source[y - ry, x - rx, dy]) * scale
            share = max(one - one / max(step * step, least), strongest)
            if abs(share) < faint or hit[y, x] < 0 or hit[y - ry, x - rx] < 0 or hit[y + ry, x + rx] < 0:
                continue
            for c in range(3):
                soft = np.float32(0)
                for k in range(2 * reach + 1):
                    soft += kernel[k] * np.float32(picture[y + (k - reach) * dy, x + (k - reach) * dx, c])
                level = np.float32(picture[y, x, c]) * (one - share) + share * soft + half
                out[y, x, c] = np.uint8(min(max(level, np.float32(0)), np.float32(255)))
