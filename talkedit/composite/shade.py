"""The texture edit in the picture: a luminance ratio from the UV template, multiplied in where emotion moves."""

from __future__ import annotations

import cv2
import numpy as np

from talkedit.composite.warp import Warp
from talkedit.texture.tone import Tone

# A change of skin that the edit squeezes is that much less deep: no shading is steeper than it was made. Squeeze, and
# the luminance that says how much brighter skin may become, are means over such a share of the rectangle's width.
_EVEN = 0.03


def multiply_ratio(picture: np.ndarray, warp: Warp, log_ratio: np.ndarray, tone: Tone, blur: float = 0.0) -> None:
    """Multiplies a rectangle by exp(log ratio), each channel by its share of it, in place.

    No place becomes brighter than the speaker's brightest skin.

    Args:
        picture: (h, w, 3) uint8.
        warp: the rectangle's texture coordinates.
        log_ratio: (T, T) float32, zero outside the edited regions.
        tone: of the speaker's skin.
        blur: of the source, pixels: no line is sharper than what is around it.
    """
    size = log_ratio.shape[0]
    at = warp.uv * size - np.float32(0.5)
    change = cv2.remap(log_ratio, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    change[warp.hit < 0] = 0
    touched = np.abs(change) > 1e-3
    if not touched.any():
        return
    rows, cols = np.flatnonzero(touched.any(1)), np.flatnonzero(touched.any(0))
    pad = round(3 * blur)
    rect = np.s_[max(rows[0] - pad, 0) : rows[-1] + pad + 1, max(cols[0] - pad, 0) : cols[-1] + pad + 1]
    change = change[rect] if blur == 0 else cv2.GaussianBlur(change[rect], (0, 0), blur)
    near = (max(3, round(_EVEN * warp.shape[1])),) * 2
    change = change / cv2.blur(np.maximum(warp.movement[1][rect], 1), near)
    level = cv2.cvtColor(picture[rect], cv2.COLOR_RGB2GRAY)
    room = np.maximum(cv2.LUT(cv2.blur(level, near), tone.room), 1e-3)
    change = np.minimum(change, 0) - room * np.expm1(-np.maximum(change, 0) / room)
    # The share halfway between the luminance before and after.
    level = cv2.multiply(level, cv2.exp(change / 2), dtype=cv2.CV_8U)
    for c in range(3):
        channel = picture[rect][..., c]
        gain = cv2.exp(change * cv2.LUT(level, tone.shares[:, c]))
        picture[rect][..., c] = cv2.multiply(channel.astype(np.float32), gain, dtype=cv2.CV_8U)
