"""Lids move over an eyeball that stays.

The control mesh spans the eye's opening as one sheet with the lids. What lies in it is moved here along the columns
across the opening: the lid's edge with its lashes goes with the lid, what a closing lid covers is pushed together into
a sliver below that edge, what an opening lid bares is stretched a little, and iris and sclera in between do not move.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import sparse

from talkedit.facemodel.boundary import boundary_loop
from talkedit.facemodel.model import FaceModel
from talkedit.geometry.openings import smoothstep
from talkedit.track.topology import LEFT_EYE, RIGHT_EYE

# Corners (outer, inner) and the middle of the upper lid, right eye and left.
_EYES = ((RIGHT_EYE, 33, 133, 159), (LEFT_EYE, 263, 362, 386))
# The edge of a lid and the roots of its lashes, over the eye's width, and at most which share of the opening.
EDGE, EDGE_SHARE = 0.05, 0.22
# What a lid covers keeps this share of its height.
SLIVER = 0.06
# Over which share of the opening the eyeball under a rising lid is stretched.
STRETCH = 0.45
# Rows of vertices between a lid and the first row that counts as eyeball.
_ROWS = 1


@dataclass(frozen=True)
class _Eye:
    """One opening: (N,) the vertices in it, and (U, V), (L, V) operators that give the points of each lid, from one
    corner to the other."""

    inside: np.ndarray
    upper: sparse.csr_matrix
    lower: sparse.csr_matrix


class Eyeballs:
    """Holds the eyes of one face model still.

    Args:
        model: its mesh.
    """

    def __init__(self, model: FaceModel) -> None:
        self._eyes = [_opening(model, *eye) for eye in _EYES]

    def __call__(self, source: np.ndarray, target: np.ndarray) -> None:
        """Moves what lies between the lids, in place.

        Args:
            source: (V, 3) mesh in the picture, pixels.
            target: (V, 3) edited mesh; the lids' own vertices stay as they are.
        """
        before, after = source[:, :2].astype(np.float64), target[:, :2].astype(np.float64)
        for eye in self._eyes:
            lids = (lid @ mesh for lid in (eye.upper, eye.lower) for mesh in (before, after))
            target[eye.inside, :2] = _between_lids(before[eye.inside], *lids)


def _opening(model: FaceModel, lids: np.ndarray, outer: int, inner: int, top: int) -> _Eye:
    """The eye whose lids carry the given landmarks.

    Where the mesh has edges along the lids, as the open model's, they bound the eye, elsewhere the landmarks do.
    """
    at, mean, triangles = model.landmark_vertices, model.at_landmarks(model.mean), model.triangles
    close = np.linalg.norm(model.mean - mean[lids].mean(0), axis=1) < np.linalg.norm(mean[outer] - mean[inner])
    if np.diff(model.landmarks.indptr)[lids].max() == 1:
        ball = model.eyeball & close
        for _ in range(_ROWS):
            ball[triangles[ball[triangles].any(1)]] = True
        patch = triangles[ball[triangles].any(1)]
        loop, end, middle = boundary_loop(patch, int(at[outer])), at[inner], at[top]
        inside, points = np.setdiff1d(patch, loop), sparse.eye_array(len(model.mean), format="csr")
    else:
        outline = np.ascontiguousarray(mean[lids, :2], np.float32)
        within = [cv2.pointPolygonTest(outline, point, False) > 0 for point in model.mean[close, :2].tolist()]
        inside, points, loop, end, middle = np.flatnonzero(close)[within], model.landmarks.tocsr(), lids, inner, top
    split = loop.tolist().index(end)
    paths = loop[: split + 1], np.r_[loop[0], loop[: split - 1 : -1]]
    upper, lower = paths if middle in paths[0] else paths[::-1]
    return _Eye(inside, points[upper], points[lower])


def _between_lids(
    points: np.ndarray, upper: np.ndarray, upper_to: np.ndarray, lower: np.ndarray, lower_to: np.ndarray
) -> np.ndarray:
    """(N, 2) where points of an eye's opening go when its lids move.

    First along the columns across the eye, by a rising function, then along it, by a shift that hardly changes: neither
    turns anything over.

    Args:
        points: (N, 2) between the lids, pixels.
        upper, upper_to: (U, 2) upper lid from corner to corner, before and after.
        lower, lower_to: (L, 2) lower lid.
    """
    width = max(float(np.linalg.norm(upper[-1] - upper[0])), 1e-6)
    along = (upper[-1] - upper[0]) / width
    across = np.array([-along[1], along[0]])
    if (upper.mean(0) - lower.mean(0)) @ across < 0:
        across = -across
    u, v = (points - upper[0]) @ along, (points - upper[0]) @ across

    def lid(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Height of a lid above each point's place along the eye, its rise and its shift."""
        at = np.maximum.accumulate((before - upper[0]) @ along + 1e-9 * np.arange(len(before)))
        moved = after - before
        return tuple(np.interp(u, at, w) for w in ((before - upper[0]) @ across, moved @ across, moved @ along))

    high, rise, high_shift = lid(upper, upper_to)
    low, lift, low_shift = lid(lower, lower_to)
    gap = np.maximum(high - low, 1e-6)
    new_gap = np.maximum(gap + rise - lift, 1e-6)
    edge = np.minimum(EDGE * width, EDGE_SHARE * np.minimum(gap, new_gap))
    # However far the lids close, the edges and slivers of both have room.
    thickness = edge + SLIVER * (gap - edge)
    room = np.minimum(1, 0.45 * new_gap / thickness)

    def held(depth: np.ndarray, opens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Least distance from the moved lid at a depth under it, and how much a point moves with a lid that opens."""
        sliver = room * (np.minimum(depth, edge) + SLIVER * np.maximum(depth - edge, 0))
        return sliver, opens * (1 - smoothstep(depth, edge, edge + STRETCH * gap))

    depth, height = np.clip(high - v, 0, gap), np.clip(v - low, 0, gap)
    under, raised = held(depth, np.maximum(rise, 0))
    above, lowered = held(height, np.maximum(-lift, 0))
    free = high - depth + raised - lowered
    free = np.maximum(np.minimum(free, high + rise - under), low + lift + above)
    share = np.clip((free - low - lift) / new_gap, 0, 1)
    near_top = 1 - smoothstep((1 - share) * new_gap, edge, edge + STRETCH * gap)
    near_bottom = 1 - smoothstep(share * new_gap, edge, edge + STRETCH * gap)
    shift = share * near_top * high_shift + (1 - share) * near_bottom * low_shift
    return upper[0] + (u + shift)[:, None] * along + free[:, None] * across
