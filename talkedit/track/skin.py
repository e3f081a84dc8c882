"""What a shot's face looks like, texel by texel, and how far a frame's is from it once its light is taken out.

Colours are log luminance and two log ratios (red and blue over green). Of a frame with texels t the light is a smooth
gain, B c, fitted by reweighted least squares (Geman-McClure) to t - reference with a prior that it changes little:

    c = argmin Σ w_i ‖(t_i − r_i − B_i c) / σ_i‖² + λ ‖c / s‖²,    w_i = 1 / (1 + d_i² / τ)²

B is quadratic over the template for luminance and linear for the ratios. What is left, d_i in units of the spread σ_i,
is small on skin and large on what hides it.
"""

from __future__ import annotations

import numba
import numpy as np

from talkedit.track.texels import SIZE

# Added to colours before the logarithm: dark and noisy ones count less.
_DARK = 16.0
_LOG = np.log(np.arange(256, dtype=np.float32) + np.float32(_DARK))
_LUMINANCE = np.float32([0.299, 0.587, 0.114])
# Least spread of log luminance and ratios, and the most, as a multiple.
SPREAD, WIDEST = np.float32([0.10, 0.04, 0.04]), 2.0
# Prior deviations of the light's coefficients (constant, linear, quadratic) of luminance and ratios; how many
# independent measurements the texels of a face are worth beside it.
_GAIN = np.float32([0.4, 0.2, 0.2, 0.12, 0.12, 0.12])
_TINT = np.float32([0.06, 0.03, 0.03])
_WORTH = 60
# The light is read off every so many texels.
_STRIDE = 3
# Squared distance at which a texel hardly counts as skin any more: while the light is still unknown, and then.
_LOOSE, _TIGHT, _STEPS = 36.0, 9.0, 5
# How far the face's colours stray from its median; what share of trust remains in any other.
_STRAY, _ODD = np.float32([0.5, 0.2, 0.2]), 0.03
# Rounds of finding the reference.
_ROUNDS = 2


def log_colours(texels: np.ndarray) -> np.ndarray:
    """(..., 3) float32 log luminance, red over green and blue over green of (..., 3) uint8."""
    logs = _LOG[texels]
    return np.stack([logs @ _LUMINANCE, logs[..., 0] - logs[..., 1], logs[..., 2] - logs[..., 1]], axis=-1)


class ShotSkin:
    """The face of one shot without what hides it now and then.

    Args:
        inside: (SIZE, SIZE) bool, the texels' places.
        skin: (N,) bool, texels that are skin in most faces.
        texels: (K, N, 3) uint8, frames from all over the shot.
        seen: (K, N) bool, which texels face the viewer in them.
    """

    def __init__(self, inside: np.ndarray, skin: np.ndarray, texels: np.ndarray, seen: np.ndarray) -> None:
        y, x = np.nonzero(inside)
        u, v = ((a - (SIZE - 1) / 2) / (SIZE / 2) for a in (x, y))
        self._basis = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=1).astype(np.float32)
        samples = log_colours(texels)
        self._reference = np.median(samples, axis=0)
        self._spread = np.tile(SPREAD, (len(u), 1))
        for _ in range(_ROUNDS):
            lit = np.stack([self._rest(one, see)[0] for one, see in zip(samples, seen, strict=True)]) + self._reference
            # Where the shot shows a texel in several colours, the one nearest to the face's own counts most.
            middle = np.median(self._reference[skin], axis=0)
            trust = np.exp(-0.5 * (((lit - middle) / _STRAY) ** 2).sum(-1)) + _ODD
            self._reference = _weighted_median(lit, (trust * (seen + 0.01)).astype(np.float32))
            # A low quantile, scaled as of a normal distribution: a thing that comes and goes must not widen it.
            spread = 2.2 * np.quantile(np.abs(lit - self._reference), 0.35, axis=0)
            self._spread = np.minimum(np.hypot(SPREAD, 1.5 * spread), WIDEST * SPREAD).astype(np.float32)

    def distance(self, texels: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """(N,) float32 how far (N, 3) uint8 texels are from the shot's face, in spreads.

        Args:
            texels: of a frame.
            seen: (N,) bool, those that face the viewer and tell the light.
        """
        return np.sqrt(self._rest(log_colours(texels), seen)[1])

    def _rest(self, colours: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, 3) what the light does not explain of log colours, and (N,) its squared length in spreads."""
        change = np.ascontiguousarray(colours - self._reference, np.float32)
        return _without_light(change, self._basis, seen.astype(np.float32), self._spread)


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N, C) median over the first axis of (K, N, C) values with (K, N) weights."""
    order = np.argsort(values, axis=0)
    sums = np.cumsum(np.take_along_axis(np.broadcast_to(weights[..., None], values.shape), order, 0), axis=0)
    at = (sums >= 0.5 * sums[-1]).argmax(0)
    return np.take_along_axis(values, np.take_along_axis(order, at[None], 0), 0)[0]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _without_light(
    change: np.ndarray, basis: np.ndarray, seen: np.ndarray, spread: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    n = len(change)
    rest, square = change.copy(), np.empty(n, np.float32)
    for step in range(_STEPS):
        scale = np.float32(_LOOSE if step < 2 else _TIGHT)
        gain, tint = np.zeros((6, 6)), np.zeros((3, 3))
        right = np.zeros((3, 6))
        for i in range(0, n, _STRIDE):
            if seen[i] == 0:
                continue
            d = (rest[i, 0] / spread[i, 0]) ** 2 + (rest[i, 1] / spread[i, 1]) ** 2 + (rest[i, 2] / spread[i, 2]) ** 2
            weight = 1 / (1 + d / scale) ** 2
            for a in range(6):
                weighted = weight * basis[i, a]
                for b in range(a + 1):
                    gain[a, b] += weighted * basis[i, b]
                right[0, a] += weighted * change[i, 0]
                if a < 3:
                    right[1, a] += weighted * change[i, 1]
                    right[2, a] += weighted * change[i, 2]
        for a in range(6):
            for b in range(a):
                gain[b, a] = gain[a, b]
        tint[:] = gain[:3, :3]
        for a in range(6):
            gain[a, a] += (SPREAD[0] / _GAIN[a]) ** 2 * n / (_WORTH * _STRIDE)
        for a in range(3):
            tint[a, a] += (SPREAD[1] / _TINT[a]) ** 2 * n / (_WORTH * _STRIDE)
        light = np.zeros((3, 6))
        light[0] = np.linalg.solve(gain, right[0])
        light[1, :3] = np.linalg.solve(tint, np.ascontiguousarray(right[1, :3]))
        light[2, :3] = np.linalg.solve(tint, np.ascontiguousarray(right[2, :3]))
        for i in range(0, n, 1 if step == _STEPS - 1 else _STRIDE):
            total = np.float32(0)
            for c in range(3):
                lit = 0.0
                for a in range(6):
                    lit += basis[i, a] * light[c, a]
                rest[i, c] = change[i, c] - np.float32(lit)
                total += (rest[i, c] / spread[i, c]) ** 2
            square[i] = total
    return rest, square
