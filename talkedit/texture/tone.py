"""How the colour of a speaker's skin changes with its luminance, and how bright it gets.

Skin in shadow turns warmer, not grey: light that scatters inside it comes back red. How much so is the light's and the
camera's doing, most of all where the red of lit skin is clipped: made darker by the same factor in all channels, it
turns grey or green. A share c(Y) = d log C / d log Y is read off what the shot shows of the skin, by ridge regression
around each luminance, held to what is usual where it shows little. And no cheek may shine as nothing in the shot does.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from talkedit.geometry.openings import smoothstep
from talkedit.texture.uv_map import LUMINANCE
from talkedit.track import topology as topo
from talkedit.track.measures import eye_distance

# Usual shares of red, green and blue. Their luminance-weighted mean is 1.
USUAL = np.array([0.9, 1.02, 1.15])
# What is usual holds for skin this much redder than blue, log ratios; a grey picture stays grey.
TINTED = (0.02, 0.2)
# The farthest that shares may go from there: what changes more is make-up, a beard or coloured light.
LEAST, MOST = np.array([0.35, 0.95, 1.0]), np.array([1.0, 1.25, 1.7])
# Log luminance that counts as around; the spread of it at which the shot and what is usual count alike, and how many
# points it takes beside.
AROUND, SPREAD, POINTS = 0.2, 0.06, 60
# Over the eye distance: points nearer to lips, lids, brows and nostrils are not skin; softness of what is read.
NEAR, SOFT = 0.12, 0.012
# Colours stranger than that beside the rest of the same luminance, log ratios, are no skin.
STRANGE = 0.25
# Of the shot's skin, the percentile of luminance that none may be made brighter than.
BRIGHTEST = 97
_DARKEST = 12.0  # luminance below which noise and the codec make the colour
_KNOTS = np.log(np.geomspace(16, 255, 12))

_BOUNDS = np.r_[
    topo.UPPER_LIP_RINGS.ravel(), topo.LOWER_LIP_RINGS.ravel(), topo.LIP_CORNERS_OUTER,
    topo.RIGHT_EYE, topo.LEFT_EYE, topo.RIGHT_BROW, topo.LEFT_BROW, [98, 97, 2, 326, 327],
]  # fmt: skip
_CANDIDATES = np.setdiff1d(np.arange(topo.LANDMARKS), np.r_[_BOUNDS, topo.FACE_OVAL])


@dataclass(frozen=True)
class Tone:
    """What a shot shows of its speaker's skin.

    Attributes:
        shares: (256, 3) float32: for skin of each luminance, by how much each channel takes part in its change.
        room: (256,) float32, by how much the log luminance of such skin may rise.
    """

    shares: np.ndarray
    room: np.ndarray


def tone_of(colours: list[np.ndarray]) -> Tone:
    """The tone of (N, 3) colours in 0..255 of frames of a shot, see :func:`skin_colours`."""
    level = _all(colours) @ LUMINANCE
    brightest = float(np.percentile(level, BRIGHTEST)) if len(level) else 255.0
    room = np.log(np.maximum(brightest, 1) / np.maximum(np.arange(256), 1))
    return Tone(channel_shares(colours), np.maximum(room, 0).astype(np.float32))


def skin_colours(rgb: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(N, 3) float32 colours in 0..255 of points of the skin.

    Args:
        rgb: (H, W, 3) uint8.
        landmarks: (≥468, 3) pixels.
    """
    eye = eye_distance(landmarks)
    points = landmarks[_CANDIDATES, :2]
    away = np.linalg.norm(points[:, None] - landmarks[None, _BOUNDS, :2], axis=2).min(1)
    points = points[away > NEAR * eye]
    points = points[(points >= 0).all(1) & (points < rgb.shape[1::-1]).all(1)]
    if len(points) == 0:
        return np.zeros((0, 3), np.float32)
    x0, y0 = np.floor(points.min(0)).astype(int)
    x1, y1 = np.ceil(points.max(0)).astype(int) + 1
    area = cv2.GaussianBlur(rgb[y0:y1, x0:x1], (0, 0), max(SOFT * eye, 0.5))
    x, y = (np.round(points).astype(int) - [x0, y0]).T
    return area[np.minimum(y, area.shape[0] - 1), np.minimum(x, area.shape[1] - 1)].astype(np.float32)


def channel_shares(colours: list[np.ndarray]) -> np.ndarray:
    """(256, 3) float32: for skin of each luminance, by how much each channel takes part in its change.

    Args:
        colours: (N, 3) in 0..255 of frames of a shot, see :func:`skin_colours`.
    """
    seen = _all(colours)
    seen = seen[seen @ LUMINANCE > _DARKEST].astype(np.float64)
    if len(seen) == 0:
        return np.tile(USUAL, (256, 1)).astype(np.float32)
    level = np.log(seen @ LUMINANCE)
    hue = np.log(np.maximum(seen, 1)) - level[:, None]
    near = np.exp(-0.5 * ((_KNOTS[:, None] - level) / AROUND) ** 2)
    # What is not skin has another hue than most of its luminance.
    strange = np.zeros(len(seen), bool)
    for c in (0, 2):
        middle = np.array([_median(hue[:, c], weight) for weight in near])
        strange |= np.abs(hue[:, c] - np.interp(level, _KNOTS, middle)) > STRANGE
    near = near * ~strange
    shares = np.array([_slopes(level, hue, weight) for weight in near])
    at = np.log(np.maximum(np.arange(256), 1))
    return np.stack([np.interp(at, _KNOTS, share) for share in shares.T], axis=1).astype(np.float32)


def _all(colours: list[np.ndarray]) -> np.ndarray:
    """(N, 3) colours of all frames; none of no frame."""
    return np.concatenate([np.zeros((0, 3), np.float32), *colours])


def _median(values: np.ndarray, weights: np.ndarray) -> float:
    """The value below which half of the weight lies."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][min(np.searchsorted(total, total[-1] / 2), len(values) - 1)])


def _slopes(level: np.ndarray, hue: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(3,) shares around one luminance, whose weighted mean is 1.

    Args:
        level: (N,) log luminance.
        hue: (N, 3) log colours over it.
        weight: (N,) how near each is.
    """
    count = float(weight.sum())
    if count < 1e-6:
        return USUAL
    mean = (weight @ level) / count
    tint = weight @ hue / count
    colour = np.exp(tint) * LUMINANCE
    tinted = float(smoothstep(tint[0] - tint[2], *TINTED))
    usual = SPREAD**2 * (count + POINTS)
    away = level - mean
    slope = (weight * away) @ (hue - tint) + usual * tinted * (USUAL - 1)
    shares = np.clip(1 + slope / ((weight * away) @ away + usual), LEAST, MOST)
    return shares * colour.sum() / (shares @ colour)
