"""No triangle of the edited mesh turns over.

Where an edit would squeeze a triangle of the picture below a small share of its area, its corners are pushed apart by
the least that undoes it (a constraint projection as in position based dynamics, Müller et al. 2007). The same order of
triangles every frame makes the result a continuous function of the mesh, so nothing jumps over time.
"""

from __future__ import annotations

import numba
import numpy as np

from talkedit.facemodel.boundary import boundary_loop
from talkedit.facemodel.model import FaceModel

# Twice the signed area, square pixels, below which a triangle of the source has no side that one could see.
DEGENERATE = 5e-3
# The share of its area that every triangle keeps, and the part of that which will do.
LEAST, ENOUGH = 0.03, 0.3
# Corrections go further than needed in the first rounds, which takes far fewer of them, and not in the last ones, so
# that triangles in each other's way come to rest.
FURTHER, HURRY = 1.75, 100
# In how many steps the edit is made, and how many rounds each may take. Few meshes need more than 50 rounds; those that
# are not done with one step are moved again in smaller ones, each of which starts unfolded.
STEPS = ((1, 150), (8, 300), (40, 300))


def facing(mesh: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(F,) twice the signed area in square pixels, positive where a triangle faces the viewer.

    Args:
        mesh: (V, ≥2) in a picture whose rows go down.
        triangles: (F, 3), counter-clockwise seen from outside.
    """
    a, b, c = (mesh[triangles[:, i], :2].astype(np.float64) for i in range(3))
    return (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0]) - (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1])


def turned_over(source: np.ndarray, target: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(F,) bool: triangles that face the viewer in the source and do not in the edited mesh.

    Args:
        source, target: (V, ≥2) pixels.
        triangles: (F, 3), counter-clockwise seen from outside.
    """
    return (facing(source, triangles) > DEGENERATE) & (facing(target, triangles) <= 0)


class Unfold:
    """Keeps the triangles of one face model from turning over.

    Args:
        model: its mesh. Vertices that no landmark moves are never moved.
    """

    def __init__(self, model: FaceModel) -> None:
        self._own = len(model.triangles)
        self._triangles = np.concatenate([model.triangles, _between_lips(model)]).astype(np.int32)
        around = np.argsort(self._triangles.ravel(), kind="stable")
        self._around = (around // 3).astype(np.int32)
        self._first = np.searchsorted(self._triangles.ravel()[around], np.arange(len(model.mean) + 1)).astype(np.int32)
        self._free = (np.diff(model.displacement.indptr) > 0) | model.eyeball

    def __call__(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """(V, 3) float32 edited mesh without folds.

        Args:
            source: (V, 3) mesh in the picture, pixels.
            target: (V, 3) edited mesh.
        """
        source, target = source.astype(np.float32), target.astype(np.float32)
        way = (target - source)[:, :2]
        for steps, rounds in STEPS:
            out, settled = target.copy(), True
            out[:, :2] -= (steps - 1) / steps * way
            for step in range(steps):
                out[:, :2] += way / steps if step else 0
                settled = self._settle(source, out, rounds)
            if settled:
                break
        return out

    def _settle(self, source: np.ndarray, target: np.ndarray, rounds: int) -> bool:
        """Unfolds ``target`` in place; whether that was possible in so many rounds."""
        return _unfold(source, target, self._triangles, self._own, self._around, self._first, self._free, rounds)


def _between_lips(model: FaceModel) -> np.ndarray:
    """(F, 3) triangles that close the mouth, from lip to lip; none where the lips' vertices do not pair up."""
    start, end = model.mouth_loop[0], model.mouth_loop[len(model.mouth_loop) // 2]
    loop = boundary_loop(model.triangles, int(start))
    there = np.flatnonzero(loop == end)
    if not len(there) or 2 * there[0] != len(loop):
        return np.zeros((0, 3), np.int32)
    half = int(there[0])
    p, q = loop[: half + 1], np.r_[start, loop[: half - 1 : -1]]
    strip = np.concatenate([np.stack([p[1:], p[:-1], q[:-1]], 1), np.stack([q[:-1], q[1:], p[1:]], 1)])
    return strip[(strip[:, 0] != strip[:, 2]) & (strip[:, 1] != strip[:, 2]) & (strip[:, 0] != strip[:, 1])]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _unfold(
    source: np.ndarray,
    target: np.ndarray,
    triangles: np.ndarray,
    own: int,
    around: np.ndarray,
    first: np.ndarray,
    free: np.ndarray,
    rounds: int,
) -> bool:
    """Moves the ``free`` of (V, ≥2) ``target`` in place until every triangle keeps its least area; whether all do.

    The first ``own`` triangles are the mesh's. The others lie between the lips, which may touch but not cross further
    than in the source. ``around[first[v] : first[v + 1]]`` are the triangles of vertex v.
    """
    least = np.empty(len(triangles))
    todo = np.empty(len(triangles), np.int32)
    count = 0
    for f in range(len(triangles)):
        area = _twice_area(source, triangles[f])
        if f >= own:
            least[f] = min(area, LEAST * area)
        else:
            least[f] = max(LEAST * area, 0.5 * DEGENERATE) if area > 0.5 * DEGENERATE else -np.inf
        if _twice_area(target, triangles[f]) < least[f]:
            todo[count] = f
            count += 1
    stamp = np.full(len(triangles), -1, np.int32)
    moved = np.empty(len(target), np.int32)
    moved_in = np.full(len(target), -1, np.int32)
    for i in range(rounds):
        vertices, done = 0, True
        for k in range(count):
            f = todo[k]
            lack = least[f] - _twice_area(target, triangles[f])
            if lack <= 0:
                continue
            done = done and (f >= own or lack < (1 - ENOUGH) * least[f])
            a, b, c = triangles[f]
            # The gradient of the area at each corner is the opposite side, turned by a right angle.
            norm = 0.0
            for at, p, q in ((a, b, c), (b, c, a), (c, a, b)):
                if free[at]:
                    norm += (target[p, 0] - target[q, 0]) ** 2 + (target[p, 1] - target[q, 1]) ** 2
            if norm < 1e-12:
                continue
            step = (FURTHER if i < HURRY else 1.0) * lack / norm
            ga = (target[c, 1] - target[b, 1], target[b, 0] - target[c, 0])
            gb = (target[a, 1] - target[c, 1], target[c, 0] - target[a, 0])
            gc = (target[b, 1] - target[a, 1], target[a, 0] - target[b, 0])
            for at, g in ((a, ga), (b, gb), (c, gc)):
                if free[at]:
                    target[at, 0] += step * g[0]
                    target[at, 1] += step * g[1]
                if moved_in[at] != i:
                    moved_in[at] = i
                    moved[vertices] = at
                    vertices += 1
        count = 0
        for k in range(vertices):
            for n in range(first[moved[k]], first[moved[k] + 1]):
                f = around[n]
                if stamp[f] != i:
                    stamp[f] = i
                    todo[count] = f
                    count += 1
        if done and _settled(target, triangles, least, own, todo[:count]):
            return True
    return False


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _settled(target: np.ndarray, triangles: np.ndarray, least: np.ndarray, own: int, of: np.ndarray) -> bool:
    """Whether the mesh's triangles among ``of`` all have a good part of their least area."""
    settled = True
    for f in of:
        settled &= f >= own or _twice_area(target, triangles[f]) >= ENOUGH * least[f]
    return settled


@numba.njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _twice_area(points: np.ndarray, triangle: np.ndarray) -> float:
    a, b, c = triangle
    ax, ay = np.float64(points[a, 0]), np.float64(points[a, 1])
    return (points[b, 1] - ay) * (points[c, 0] - ax) - (points[b, 0] - ax) * (points[c, 1] - ay)
