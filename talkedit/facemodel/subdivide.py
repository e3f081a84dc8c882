"""Interpolating subdivision (modified butterfly) as a sparse operator.

The control points keep their places, so that a landmark stays a vertex; new vertices lie on a smooth surface through
them. Dyn, Levin & Gregory 1990; extraordinary vertices after Zorin, Schröder & Sweldens 1996. Boundaries and creases
use the four-point curve rule, and nothing is interpolated across them.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from scipy import sparse

Edge = tuple[int, int]


def _key(a: int, b: int) -> Edge:
    return (a, b) if a < b else (b, a)


def _ring_weights(valence: int) -> np.ndarray:
    """Weights of the one-ring of an extraordinary vertex, first entry = the neighbour across the edge."""
    if valence == 3:
        return np.array([5, -1, -1]) / 12
    if valence == 4:
        return np.array([3, 0, -1, 0]) / 8
    j = np.arange(valence)
    return (0.25 + np.cos(2 * np.pi * j / valence) + 0.5 * np.cos(4 * np.pi * j / valence)) / valence


class _Mesh:
    def __init__(self, triangles: np.ndarray, creases: set[Edge], corners: set[int]) -> None:
        self.third: dict[Edge, list[int]] = defaultdict(list)
        self.next: dict[tuple[int, int], int] = {}  # directed edge -> opposite vertex
        for a, b, c in triangles.tolist():
            for x, y, z in ((a, b, c), (b, c, a), (c, a, b)):
                self.third[_key(x, y)].append(z)
                self.next[x, y] = z
        self.creases, self.corners = creases, corners
        self.sharp: dict[int, list[int]] = defaultdict(list)
        for e, thirds in self.third.items():
            if len(thirds) == 1 or e in creases:
                self.sharp[e[0]].append(e[1])
                self.sharp[e[1]].append(e[0])

    def is_sharp(self, a: int, b: int) -> bool:
        e = _key(a, b)
        return e in self.creases or len(self.third[e]) == 1

    def ring(self, v: int, start: int) -> list[int] | None:
        """One-ring of ``v`` in order from ``start``; None where a boundary or crease passes through ``v``."""
        if v in self.sharp:
            return None
        out, w = [start], self.next.get((v, start))
        while w is not None and w != start:
            out.append(w)
            w = self.next.get((v, w))
        return out if w == start else None

    def curve(self, a: int, b: int) -> dict[int, float]:
        """Four-point rule along a boundary or crease, midpoint at its corners."""

        def before(v: int, other: int) -> int | None:
            around = self.sharp[v]
            if v in self.corners or len(around) != 2:
                return None
            return around[0] if around[1] == other else around[1]

        pa, pb = before(a, b), before(b, a)
        if pa is None or pb is None:
            return {a: 0.5, b: 0.5}
        weights: dict[int, float] = defaultdict(float)
        for v, w in ((a, 9 / 16), (b, 9 / 16), (pa, -1 / 16), (pb, -1 / 16)):
            weights[v] += w
        return weights

    def wing(self, a: int, b: int, inner: int) -> int | None:
        if self.is_sharp(a, b):
            return None
        thirds = self.third[_key(a, b)]
        return thirds[0] if thirds[1] == inner else thirds[1]

    def butterfly(self, a: int, b: int) -> dict[int, float]:
        c, d = self.third[_key(a, b)]
        wings = [self.wing(a, c, b), self.wing(b, c, a), self.wing(a, d, b), self.wing(b, d, a)]
        weights: dict[int, float] = defaultdict(float)
        if any(w is None for w in wings):
            weights[a] += 0.5
            weights[b] += 0.5
            return weights
        weights[a] += 0.5
        weights[b] += 0.5
        weights[c] += 0.125
        weights[d] += 0.125
        for w in wings:
            weights[w] -= 0.0625  # type: ignore[index]
        return weights

    def new_point(self, a: int, b: int) -> dict[int, float]:
        if self.is_sharp(a, b):
            return self.curve(a, b)
        stencils = []
        for v, other in ((a, b), (b, a)):
            ring = self.ring(v, other)
            if ring is not None and len(ring) != 6:
                weights: dict[int, float] = defaultdict(float)
                s = _ring_weights(len(ring))
                weights[v] += 1 - s.sum()
                for n, w in zip(ring, s, strict=True):
                    weights[n] += float(w)
                stencils.append(weights)
        if not stencils:
            return self.butterfly(a, b)
        out: dict[int, float] = defaultdict(float)
        for s_ in stencils:
            for k, w in s_.items():
                out[k] += w / len(stencils)
        return out


def subdivide(
    triangles: np.ndarray, count: int, creases: set[Edge] | None = None, corners: set[int] | None = None
) -> tuple[sparse.csr_matrix, np.ndarray, set[Edge]]:
    """One level of subdivision.

    Args:
        triangles: (F, 3) int, consistently oriented.
        count: number of vertices V.
        creases: undirected edges (a < b) nothing is interpolated across.
        corners: vertices where a boundary or crease has a corner.

    Returns:
        The operator (V′, V) with rows summing to 1 (its first V rows are the identity), (4F, 3) triangles, and the
        creases of the finer mesh.
    """
    creases = creases or set()
    mesh = _Mesh(triangles, creases, corners or set())
    rows, cols, vals = list(range(count)), list(range(count)), [1.0] * count
    number: dict[Edge, int] = {}
    finer: set[Edge] = set()
    for e in sorted(mesh.third):
        n = number[e] = count + len(number)
        for k, w in mesh.new_point(*e).items():
            rows.append(n)
            cols.append(k)
            vals.append(w)
        if e in creases:
            finer |= {_key(e[0], n), _key(e[1], n)}
    operator = sparse.csr_matrix((vals, (rows, cols)), shape=(count + len(number), count))
    fine = []
    for a, b, c in triangles.tolist():
        ab, bc, ca = number[_key(a, b)], number[_key(b, c)], number[_key(c, a)]
        fine += [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return operator, np.array(fine, np.int32), finer
