"""Speech and blinks survive the edit: the gaps of lips and lids follow the source.

An emotion's direction moves upper and lower lip apart or together by some amount. Added blindly it would open every
closed mouth and shut the corners of words. So the direction's own gap is taken out and the source's gap is multiplied
instead: what is closed stays closed, and the opening keeps its course over time. Only in pauses may an emotion open
lips on its own.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from talkedit.track import topology as topo

# Inner-lip gap of ordinary speech over the outer-eye distance: a gap of this size grows by what the emotion asks for.
SPOKEN = 0.12
# Share of what an emotion opens that the jaw opens, as in words; the rest is done by the lips, which bare the teeth.
JAW = 0.5
# How far gaps may shrink or grow at most.
LIP_RANGE = (0.7, 1.8)
# An emotion adds nothing to a gap of WIDEST, and less and less over the last ROOM before it.
WIDEST, ROOM = 0.36, 0.22
# How much further, over the eye distance, an emotion that bares teeth opens a mouth of which nobody has seen the dark,
# approached and never passed: clenched teeth stay clenched, and nothing has to be invented behind them.
CLENCHED = 0.02
# How far lids may close, approached and never passed, or widen at most: beyond, open eyes show white all around, which
# reads as shock. Eyes that are half shut already, beside open ones, are left at that.
LID_RANGE, HALF_SHUT = (0.6, 1.32), 0.6
# How wide open, over the eye's width, an emotion may make eyes, approached and never passed: the iris is hardly as
# high. And what it may always add.
WIDE_OPEN, ADDED = 0.44, 0.03
# How far up, over the eye distance, a brow goes below which lids do not close any more: the skin there, and the lashes
# that lie on it, would be drawn out.
LIFTED = (0.02, 0.045)
BROWS = (topo.RIGHT_BROW, topo.LEFT_BROW)
EYE_CORNERS = np.array([[33, 133], [263, 362]])
LIP_REACH = {"upper": 0.10, "lower": 0.17}
# An emotion that draws the corners together and the mouth down (surprise) does so for an open mouth: this share of it
# is left to closed lips, all of it at a gap of ROUND over the eye distance. A mouth that says "m" is not pursed.
PURSED, ROUND, PURSE_REACH = 0.35, 0.14, 0.14
# How far, over the eye distance, an emotion may draw an open mouth's corners in, and any mouth as a whole down; both
# are approached, never passed. The jaw's own way down comes with the opening.
NARROWEST, LOWEST = 0.06, 0.05
# How far up, over the eye distance, an emotion may pull the corners, approached and never passed: or smiles are a V.
HIGHEST = 0.14
# Widths, over the eye distance, of lips that words round fully, which no emotion draws in further, and not at all; and
# gaps over their width of lips that are not round yet, and that are.
ROUNDED, TALL = (0.34, 0.46), (0.38, 0.55)
# How wide, over their width, lips that are so narrow may be parted, approached and never passed; and what an emotion
# may always add, over the eye distance.
TALLEST, TALLER = 0.55, 0.01
# Widths of lips that a smile, which draws the corners out by so much, or one beside the other, over the eye distance,
# leaves more and more as words have them; and how much of it they hold back at most.
NARROW, SMILE, STILL = (0.40, 0.56), 0.04, 0.85
# How wide, over the eye distance, an emotion may draw a mouth, approached and never passed; and what it may always add.
BROADEST, BROADER = 0.72, 0.05
# How far around a corner of the mouth the skin goes along with it: the crease beyond the tracked corner would be drawn
# out to a streak.
CREASE_REACH = 0.12
# How much, over what there is, the skin between the lower lip and the fold under it may be stretched, approached and
# never passed: the lip's soft edge would be drawn out to a smear. How far around that fold skin goes along.
STRETCHED, FOLD_REACH = 0.4, 0.12
BESIDE_FOLD = np.array([212, 432])  # below the corners of the mouth, where it ends
LID_REACH, UPPER_LID = 0.08, 0.75
# From which factor on eyes count as widened, and how much of that the lower lid does.
WIDE, FOLLOWS = 1.15, 0.12
# Points of the upper and the lower lid that meet, right eye and left, from the outer corner in.
LID_PAIRS = (
    np.array([[246, 7], [161, 163], [160, 144], [159, 145], [158, 153], [157, 154], [173, 155]]),
    np.array([[466, 249], [388, 390], [387, 373], [386, 374], [385, 380], [384, 381], [398, 382]]),
)


def smoothstep(x: np.ndarray | float, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((np.asarray(x, np.float32) - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def within(size: float, limit: float) -> float:
    """A size that keeps small values and never passes the limit."""
    return limit * float(np.tanh(size / limit))


class Openings:
    """The gap constraints for one face model.

    Args:
        mean: (468, 3) mean landmarks in model units.

    Attributes:
        distances: (468, 468) along the skin, see :func:`surface_distances`.
    """

    def __init__(self, mean: np.ndarray) -> None:
        self._mean = mean
        self.distances = surface_distances(mean)
        lips = topo.LIP_PAIRS
        self._lips = (lips[:, 0], lips[:, 1])
        fixed = topo.LIP_CORNERS_INNER
        self._lip_spread = (
            self._spread(lips[:, 0], lips[:, 1], fixed, LIP_REACH["upper"]),
            self._spread(lips[:, 1], lips[:, 0], fixed, LIP_REACH["lower"]),
        )
        lip, fold = topo.UNDER_LIP[:2]
        self._fold_spread = self._spread(fold, lip, BESIDE_FOLD, FOLD_REACH)
        self._lids = []
        for pairs, corners in zip(LID_PAIRS, EYE_CORNERS, strict=True):
            up = self._spread(pairs[:, 0], pairs[:, 1], corners, LID_REACH)
            low = self._spread(pairs[:, 1], pairs[:, 0], corners, LID_REACH)
            self._lids.append((pairs, up, low))
        self._eye = float(np.linalg.norm(mean[33] - mean[263]))
        corners = topo.LIP_CORNERS_OUTER
        lip = self.distances[np.r_[topo.OUTER_LIPS, topo.INNER_LIPS]].min(0)
        self._near = np.exp(-0.5 * (lip / PURSE_REACH) ** 2).astype(np.float32)
        distant = self.distances[corners] / self._eye
        self._crease = np.exp(-0.5 * (distant / CREASE_REACH) ** 2).astype(np.float32)[:, :, None]
        # From the corner outwards, and less and less towards the middle; lips have their own way.
        outwards = (np.abs(mean[:, 0]) - np.abs(mean[corners, 0]).mean()) / self._eye
        self._crease *= smoothstep(outwards, -CREASE_REACH, 0)[:, None]
        self._crease[:, np.r_[topo.OUTER_LIPS, topo.INNER_LIPS]] = 0
        self._widen = (mean[:, 0] / np.abs(mean[corners, 0]).mean() * self._near).astype(np.float32)

    def _spread(self, points: np.ndarray, other: np.ndarray, fixed: np.ndarray, reach: float) -> np.ndarray:
        """(468, P) weights: linear between neighbouring points across the face, fading along the skin."""
        order = np.argsort(np.r_[self._mean[points, 0], self._mean[fixed, 0]])
        knots = np.r_[self._mean[points, 0], self._mean[fixed, 0]][order]
        across = np.stack([np.interp(self._mean[:, 0], knots, column) for column in np.eye(len(order))[:, order]], 1)
        nearest = self.distances[points].min(0)
        weights = across[:, : len(points)] * np.exp(-0.5 * (nearest / reach) ** 2)[:, None]
        # Nothing crosses to the other lip or lid: it is near in space when the mouth is shut, not along the skin.
        weights[nearest > self.distances[other].min(0)] = 0
        weights[points] = np.eye(len(points))
        weights[fixed] = 0
        return weights.astype(np.float32)

    @staticmethod
    def _width(points: np.ndarray) -> float:
        """Distance of the corners of the mouth of (468, 3) landmarks in the model's frame, sideways."""
        right, left = topo.LIP_CORNERS_OUTER
        return abs(float(points[right, 0] - points[left, 0]))

    def lip_gaps(self, points: np.ndarray) -> np.ndarray:
        """(9,) vertical inner-lip gaps of (468, 3) landmarks in the model's frame."""
        return points[self._lips[0], 1] - points[self._lips[1], 1]

    def lips(
        self,
        source: np.ndarray,
        delta: np.ndarray,
        speech: np.ndarray,
        wish: float,
        part: float,
        clenched: float = 0.0,
    ) -> np.ndarray:
        """Opens the mouth as an emotion wants, in the way words do, and holds the lips to the result.

        Args:
            source: (468, 3) tracked landmarks in the model's frame.
            delta: (468, 3) what the edit adds; its own change of the gap is taken out.
            speech: (468, 3) displacement when words open the lips by one model unit.
            wish: how far the emotion opens a talking mouth, model units.
            part: 0..1, how far it may open lips that the source keeps closed.
            clenched: 0..1, how far it leaves an open mouth's teeth together.

        Returns:
            (468, 3) constrained delta.
        """
        gaps = np.maximum(self.lip_gaps(source), 0)
        middle = float(gaps[len(gaps) // 2])
        factor = float(np.clip(1 + wish / (SPOKEN * self._eye), *LIP_RANGE))
        wish = min(wish, 0.95 * ROOM * self._eye)  # or wider speech would end in a narrower gap
        if wish > 0:  # what is open already opens less
            factor = 1 + (min(factor - 1, wish / max(middle, 1e-6))) * float(
                np.clip((WIDEST - middle / self._eye) / ROOM, 0, 1)
            )
        opened = max(middle * (factor - 1), part * max(wish, 0.0)) if wish > 0 else middle * (factor - 1)
        if opened > 0:
            left = 1 - clenched * (1 - within(opened, CLENCHED * self._eye) / opened)
            width = self._width(source)
            room = max(TALLEST * width - middle, TALLER * self._eye)
            narrow = 1 - float(smoothstep(width / self._eye, *ROUNDED))
            left *= 1 - narrow * (1 - within(opened, room) / opened)
            factor, wish, opened = 1 + left * (factor - 1), left * wish, left * opened
        out = self._moderate(source, delta, middle, opened) + speech * np.float32(opened * JAW)
        # Every pair along the lips: the same factor, or the shape that words give to lips that part.
        profile = self.lip_gaps(speech)
        target = np.maximum(gaps * factor, gaps + np.maximum(part * wish, 0) * profile)
        change = (target - gaps) - self.lip_gaps(out)
        # Each lip takes back what it brought in, so that the line between closed lips stays where it was and a smile
        # is made by the corners.
        rise = np.maximum(out[self._lips[0], 1] * np.sign(-change), 0) + 1e-4
        drop = np.maximum(-out[self._lips[1], 1] * np.sign(-change), 0) + 1e-4
        upper = rise / (rise + drop)
        out[:, 1] += self._lip_spread[0] @ (upper * change)
        out[:, 1] -= self._lip_spread[1] @ ((1 - upper) * change)
        return self._with_fold(out)

    def _with_fold(self, delta: np.ndarray) -> np.ndarray:
        """(468, 3) delta whose fold under the lower lip comes along with a lip that is raised.

        What lies between both is the mean face's: the tracked one trembles.
        """
        lip, fold = topo.UNDER_LIP[:2]
        room = STRETCHED * (self._mean[lip, 1] - self._mean[fold, 1])
        apart = np.maximum(delta[lip, 1] - delta[fold, 1], 0)
        out = delta.copy()
        out[:, 1] += self._fold_spread @ (apart - room * np.tanh(apart / room))
        return out

    def shut(self, delta: np.ndarray) -> np.ndarray:
        """(..., 468, 3) delta without its change of the gap between the lips, which each takes back by half."""
        change = delta[..., self._lips[0], 1] - delta[..., self._lips[1], 1]
        out = delta.copy()
        out[..., 1] -= change / 2 @ self._lip_spread[0].T
        out[..., 1] += change / 2 @ self._lip_spread[1].T
        return out

    def _moderate(self, source: np.ndarray, delta: np.ndarray, gap: float, further: float) -> np.ndarray:
        """(468, 3) delta that draws the lip corners together only as far as the lips part, apart and up only as far as
        smiles do, and no mouth far down."""
        corners = topo.LIP_CORNERS_OUTER
        side = np.sign(self._widen[corners])
        outwards = float((delta[corners, 0] * side).mean())
        width = self._width(source)
        aslant = np.ptp(np.c_[delta[corners, 0] * side, delta[corners, 1]], axis=0).max()
        pulled = max(outwards, float(aslant))
        held = STILL * float(smoothstep(pulled / self._eye, 0, SMILE) * (1 - smoothstep(width / self._eye, *NARROW)))
        delta = delta * (1 - np.float32(held) * self._near[:, None])
        outwards *= 1 - held
        inwards, outwards = max(-outwards, 0.0), max(outwards, 0.0)
        room = max(BROADEST * self._eye - width, BROADER * self._eye) / 2
        down = max(-float(delta[np.r_[topo.OUTER_LIPS, topo.INNER_LIPS], 1].mean()), 0.0)
        opened = PURSED + (1 - PURSED) * float(smoothstep((gap + further) / self._eye, 0, ROUND))
        tall = smoothstep(gap / max(width, 1e-6), *TALL)
        share = opened * float(smoothstep(width / self._eye, *ROUNDED) * (1 - tall))
        out = delta.copy()
        out[:, 0] += np.float32(inwards - share * within(inwards, NARROWEST * self._eye)) * self._widen
        out[:, 0] -= np.float32(outwards - within(outwards, room)) * self._widen
        out[:, 1] += np.float32(down - opened * within(down, LOWEST * self._eye)) * self._near
        up = max(float(delta[corners, 1].mean()), 0.0)
        out[:, 1] -= np.float32(up - within(up, HIGHEST * self._eye)) * np.abs(self._widen)
        for corner, near in zip(topo.LIP_CORNERS_OUTER, self._crease, strict=True):
            out += near * (out[corner] - out)
        return out

    def lids(self, source: np.ndarray, delta: np.ndarray, reference: tuple[float, float]) -> np.ndarray:
        """Constrains the lids: their gap is multiplied, so that a shut eye stays shut.

        Args:
            source: (468, 3) tracked landmarks in the model's frame.
            delta: (468, 3) what the edit adds.
            reference: (right, left) mean lid gap of the open eyes of this clip, model units.

        Returns:
            (468, 3) constrained delta.
        """
        out = delta.copy()
        for (pairs, up, low), brow, corners, ref in zip(self._lids, BROWS, EYE_CORNERS, reference, strict=True):
            gaps = np.maximum(source[pairs[:, 0], 1] - source[pairs[:, 1], 1], 0)
            wish = delta[pairs[:, 0], 1] - delta[pairs[:, 1], 1]
            # One factor an eye keeps the lid's curve; the emotion's wish is measured where lids are widest.
            wished, gap = float(wish[2:5].mean()) / max(ref, 0.03), float(gaps[2:5].mean())
            factor = min(1 + wished, LID_RANGE[1]) if wished > 0 else 1 + within(wished, 1 - LID_RANGE[0])
            factor = max(factor, min(1.0, HALF_SHUT * ref / max(gap, 1e-6)))
            if factor < 1:
                lifted = float(delta[brow, 1].mean()) / self._eye
                factor += (1 - factor) * float(smoothstep(lifted, *LIFTED))
            if factor > 1:
                width = float(np.linalg.norm(source[corners[0], :2] - source[corners[1], :2]))
                room = max(WIDE_OPEN * width - gap, ADDED * width)
                factor = 1 + within(gap * (factor - 1), room) / max(gap, 1e-6)
            change = gaps * (factor - 1) - wish
            # The upper lid does most of what is missing; what is too much each lid takes back itself.
            sunk = max(-float(delta[pairs[2:5, 0], 1].mean()), 0.0) + 1e-6
            risen = max(float(delta[pairs[2:5, 1], 1].mean()), 0.0) + 1e-6
            share = np.where(change > 0, sunk / (sunk + risen), UPPER_LID)
            # Eyes are widened by the upper lid; the lower one follows a little, whatever the cheek does.
            lowered = delta[pairs[:, 1], 1] - (1 - share) * change
            lift = smoothstep(factor, 1, WIDE) * (-FOLLOWS * gaps * (factor - 1) - lowered)
            out[:, 1] += up @ (share * change + lift) + low @ (lift - (1 - share) * change)
        return out

    def part_lips(self, gap: float) -> np.ndarray:
        """(468, 3) displacement that parts the lips by ``gap`` model units in the middle, the jaw at rest."""
        out = np.zeros((topo.LANDMARKS, 3), np.float32)
        profile = 1 - np.linspace(-1, 1, len(self._lips[0]) + 2)[1:-1].astype(np.float32) ** 2
        out[:, 1] = (self._lip_spread[0] - self._lip_spread[1]) @ (profile * np.float32(gap / 2))
        return out

    def open_lids(self, source: np.ndarray, share: float, upper: float) -> np.ndarray:
        """(468, 3) displacement that widens every lid gap by ``share`` of itself; -1 shuts the eyes.

        Args:
            source: (468, 3) landmarks in the model's frame.
            share: from -1 up.
            upper: 0..1, how much of it the upper lid does.
        """
        out = np.zeros((topo.LANDMARKS, 3), np.float32)
        for pairs, up, low in self._lids:
            change = share * np.maximum(source[pairs[:, 0], 1] - source[pairs[:, 1], 1], 0)
            out[:, 1] += up @ (upper * change) - low @ ((1 - upper) * change)
        return out

    def lid_reference(self, source: np.ndarray) -> tuple[float, float]:
        """(right, left) mean gap of the middle lid pairs of (468, 3) landmarks in the model's frame."""
        a, b = (float((source[p[2:5, 0], 1] - source[p[2:5, 1], 1]).mean()) for p in LID_PAIRS)
        return a, b


def surface_distances(mean: np.ndarray) -> np.ndarray:
    """(468, 468) shortest paths along the mesh edges."""
    t = topo.tessellation()
    i, j = np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]]).T
    length = np.linalg.norm(mean[i] - mean[j], axis=1)
    graph = sparse.coo_matrix((length, (i, j)), shape=(topo.LANDMARKS, topo.LANDMARKS)).tocsr()
    graph.data = np.minimum(graph.data, length.max())
    return dijkstra(graph, directed=False)
