"""The control mesh of the open face model: MediaPipe's face, closed eyes, and a skirt around the outline.

Every control point is a linear function of the 468 landmarks, so a tracked face gives a full mesh by one sparse
product, and so does every basis of the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from talkedit.facemodel.subdivide import subdivide
from talkedit.track.topology import FACE_OVAL, LANDMARKS, LEFT_EYE, RIGHT_EYE, tessellation

# Skirt rings: distance outside the outline as a share of the outline's own radius, and what is left there of the
# outline's displacement (a smooth fade to zero, so the picture around the face moves a little and then not at all).
SKIRT_RADII = (0.12, 0.28, 0.5)
SKIRT_FADE = (0.62, 0.2, 0.0)
SKIRT_CENTRE = (168, 6, 197, 195, 5, 4, 2, 0, 17)
# Inner eye ring: how far out from the eye's centre, and how much of the lids' displacement it takes part in. The band
# outside it carries the soft edge of the lids and moves with them; the centre (the iris) does not move.
EYE_RING = 0.62
EYE_FOLLOW = 0.75


@dataclass(frozen=True)
class ControlMesh:
    """Control points from landmarks.

    Attributes:
        triangles: (F, 3) int32 over C control points; the first 468 are the landmarks.
        position: (C, 468) sparse, positions from landmarks.
        displacement: (C, 468) sparse, displacements from landmark displacements (faded on skirt and eyeballs).
        skirt: (C,) 1 on the face, falling to 0 on the outermost ring.
        eyeball: (C,) bool, points that lie on an eyeball.
        creases: edges of the lids, (E, 2).
    """

    triangles: np.ndarray
    position: sparse.csr_matrix
    displacement: sparse.csr_matrix
    skirt: np.ndarray
    eyeball: np.ndarray
    creases: np.ndarray


def control_mesh() -> ControlMesh:
    """Builds the control mesh; deterministic, needs the installed mediapipe only for its triangle list."""
    triangles = [tuple(t) for t in tessellation().tolist()]
    position = [{i: 1.0} for i in range(LANDMARKS)]
    displacement = [{i: 1.0} for i in range(LANDMARKS)]
    skirt = [1.0] * LANDMARKS
    eyeball = [False] * LANDMARKS

    def add(pos: dict, disp: dict, fade: float, eye: bool) -> int:
        position.append(pos)
        displacement.append(disp)
        skirt.append(fade)
        eyeball.append(eye)
        return len(position) - 1

    def oriented(a: int, b: int) -> bool:
        """True if the existing mesh holds the directed edge a→b (a neighbour must then use b→a)."""
        return any((t[i], t[(i + 1) % 3]) == (a, b) for t in triangles for i in range(3))

    def strip(inner: list[int], outer: list[int]) -> None:
        """Two triangles a step between two closed rings; the inner ring borders the existing mesh."""
        flip = oriented(inner[0], inner[1])
        for i in range(len(inner)):
            j = (i + 1) % len(inner)
            a, b, c, d = inner[i], inner[j], outer[i], outer[j]
            new = [(b, a, c), (b, c, d)] if flip else [(a, b, c), (b, d, c)]
            triangles.extend(new)

    ring = FACE_OVAL.tolist()
    share = 1 / len(SKIRT_CENTRE)
    for radius, fade in zip(SKIRT_RADII, SKIRT_FADE, strict=True):
        outer = []
        for v in FACE_OVAL.tolist():
            pos = {v: 1 + radius}
            for c in SKIRT_CENTRE:
                pos[c] = pos.get(c, 0.0) - radius * share
            outer.append(add(pos, {v: fade} if fade else {}, fade, False))
        strip(ring, outer)
        ring = outer
    creases = []
    for lids in (RIGHT_EYE.tolist(), LEFT_EYE.tolist()):
        n = len(lids)
        creases += [(lids[i], lids[(i + 1) % n]) for i in range(n)]
        inner = []
        for v in lids:
            pos = {u: (1 - EYE_RING) / n for u in lids}
            pos[v] += EYE_RING
            inner.append(add(pos, {v: EYE_FOLLOW}, 1.0, True))
        strip(lids, inner)
        centre = add({u: 1 / n for u in lids}, {}, 1.0, True)
        flip = oriented(inner[0], inner[1])
        for i in range(n):
            a, b = inner[i], inner[(i + 1) % n]
            triangles.append((b, a, centre) if flip else (a, b, centre))

    def matrix(entries: list[dict]) -> sparse.csr_matrix:
        rows = [i for i, e in enumerate(entries) for _ in e]
        cols = [k for e in entries for k in e]
        vals = [w for e in entries for w in e.values()]
        return sparse.csr_matrix((vals, (rows, cols)), shape=(len(entries), LANDMARKS))

    return ControlMesh(
        np.array(triangles, np.int32), matrix(position), matrix(displacement), np.array(skirt, np.float32),
        np.array(eyeball), np.array(creases),
    )  # fmt: skip


def refine(mesh: ControlMesh, levels: int = 2) -> tuple[sparse.csr_matrix, np.ndarray]:
    """(V, C) subdivision operator and (F, 3) triangles after ``levels`` of butterfly subdivision.

    Lids are creases, mouth and eye corners are corners.
    """
    corners = {78, 308, 33, 133, 263, 362}
    creases = {(min(a, b), max(a, b)) for a, b in mesh.creases.tolist()}
    triangles, operator = mesh.triangles, None
    for _ in range(levels):
        count = mesh.position.shape[0] if operator is None else operator.shape[0]
        step, triangles, creases = subdivide(triangles, count, creases, corners)
        operator = step if operator is None else step @ operator
    assert operator is not None
    return operator.tocsr(), triangles
