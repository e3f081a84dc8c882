"""What every texture editor answers, and the linear one: luminance-ratio maps mixed over people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

# The strongest change of log luminance: wrinkles and furrows stay below it, other people's brows do not.
LIMIT = 0.3


class TextureEditor(Protocol):
    """Change of the texture under an emotion."""

    def log_ratio(self, code: np.ndarray, people: np.ndarray) -> np.ndarray:
        """(T, T) float32 change of log luminance on the UV template for a (7,) code and (N,) person weights."""
        ...


@dataclass(frozen=True)
class LinearTextureEditor:
    """Eqs. 3-5 with the texture itself as latent: log R = Σ_j e_j Σ_v p_v d_jv, softly limited.

    Attributes:
        directions: (N, 7, T, T) float32.
    """

    directions: np.ndarray

    def log_ratio(self, code: np.ndarray, people: np.ndarray) -> np.ndarray:
        """See :class:`TextureEditor`."""
        raw = np.zeros(self.directions.shape[2:], np.float32)
        for j in np.flatnonzero(code):
            raw += np.tensordot(np.float32(code[j]) * np.asarray(people, np.float32), self.directions[:, j], axes=1)
        return (LIMIT * np.tanh(raw / LIMIT)).astype(np.float32)


# Contrast of skin detail (standard deviation of log luminance, finer than 10 texels of 256) of the training people.
TYPICAL_CONTRAST = 0.16


def contrast_gain(detail: np.ndarray, visible: np.ndarray) -> float:
    """How strongly wrinkles show in this speaker's light and lens, against the training people: 0.6 to 1.

    Soft light or a soft lens flattens everything on the skin, so new wrinkles must be as flat.
    """
    fine = detail - cv2.GaussianBlur(detail, (0, 0), 10 * detail.shape[0] / 256)
    quarter = detail.shape[0] // 5
    middle = np.zeros_like(visible)
    middle[quarter:-quarter, quarter:-quarter] = visible[quarter:-quarter, quarter:-quarter]
    return float(np.clip(fine[middle].std() / TYPICAL_CONTRAST, 0.6, 1.0))


@dataclass(frozen=True)
class PersonClassifier:
    """f of Eq. 4: which training person a face looks like, from a small, light-free luminance texture.

    Attributes:
        weight: (N, S·S) float32.
        bias: (N,) float32.
        size: S.
    """

    weight: np.ndarray
    bias: np.ndarray
    size: int

    def features(self, detail: np.ndarray) -> np.ndarray:
        """(S·S,) unit-length features of a (T, T) high-passed log-luminance texture."""
        small = cv2.resize(detail, (self.size, self.size), interpolation=cv2.INTER_AREA).reshape(-1)
        return (small / (np.linalg.norm(small) + 1e-6)).astype(np.float32)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(N,) softmax weights of (S·S,) features."""
        logits = self.weight @ features + self.bias
        e = np.exp(logits - logits.max())
        return (e / e.sum()).astype(np.float32)


def detail_of(luminance: np.ndarray, visible: np.ndarray, sigma: float = 40.0) -> np.ndarray:
    """High-passed log luminance of a (T, T) texture in 0..255, 0 where it is not seen: neither light nor skin tone.

    The low-pass is normalised by the mask, so nothing leaks in from beyond the outline, eyes or mouth.
    """
    mask = visible.astype(np.float32)
    log = np.log(np.maximum(luminance, 2.0) / 255 + 0.02)
    scaled = sigma * luminance.shape[0] / 256
    low = cv2.GaussianBlur(log * mask, (0, 0), scaled) / np.maximum(cv2.GaussianBlur(mask, (0, 0), scaled), 1e-3)
    return ((log - low) * mask).astype(np.float32)
