"""Dense correspondence between the open face model and any other face mesh, computed from shapes and 68 keypoints.

The open model's surface is laid over the other mesh (:mod:`talkedit.facemodel.register`). Every vertex of the other
mesh thereby gets a place in the open model's UV layout, the *shared template*: all trained texture maps fit every
model. What lies beyond the face oval is placed on the skirt; where the surfaces do not meet (nostrils, inside of the
lips) the places are spread smoothly between what is known; mouth hole goes to mouth hole. From the places follow all
operators that the pipeline wants of a face model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from talkedit.errors import InputError
from talkedit.facemodel.align import similarity
from talkedit.facemodel.boundary import boundary_loop, boundary_loops
from talkedit.facemodel.closest import closest_points, interpolation
from talkedit.facemodel.control_mesh import SKIRT_RADII
from talkedit.facemodel.model import FaceModel
from talkedit.facemodel.register import graph_laplacian, normals_of, register
from talkedit.track import topology as topo

# Keypoints that mean the same on every mesh: chin, brows, nose, eyes, lips. The jaw's outline is drawn at other places.
ANCHORS = np.r_[8, 17:68]
# A vertex takes the place of the laid-over surface up to this distance (decimetres) and turn (cosine).
NEAR, FACING = 0.05, 0.5
OUTER_EYES = (36, 45)
SKIRT_RINGS = 6
ON_FACE = 0.97  # of the template's skirt weight: inside the face oval


@dataclass(frozen=True)
class Correspondence:
    """Where another mesh lies on the open model's template.

    The mesh goes on beyond its outline in rings of a skirt, as the open model does, so that edits fade out; its
    V vertices are followed by those of the rings.

    Attributes:
        uv: (V + S, 2) float32 places in the open model's UV layout.
        triangles: (F + G, 3) int32, those of the mesh and then those of the skirt.
        on_template: (V + S, W) sparse, values of the open model's W vertices there.
        landmarks: (468, V) sparse, MediaPipe landmarks from the V vertices.
        outline: (S,) int, for each vertex of the skirt the vertex of the outline that it goes out from.
        mouth_loop: (20,) int32 vertices of the mouth hole at the inner-lip landmarks, in their order.
    """

    uv: np.ndarray
    triangles: np.ndarray
    on_template: sparse.csr_matrix
    landmarks: sparse.csr_matrix
    outline: np.ndarray
    mouth_loop: np.ndarray

    def keypoint_errors(self, mean: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        """(68,) distance between each keypoint and the landmark that means the same, over the outer-eye distance.

        Args:
            mean: (V, 3).
            keypoints: (68,) vertices.
        """
        eye = np.linalg.norm(mean[keypoints[OUTER_EYES[0]]] - mean[keypoints[OUTER_EYES[1]]])
        return np.linalg.norm((self.landmarks @ mean)[topo.IBUG68] - mean[keypoints], axis=1) / eye


def correspond(
    mean: np.ndarray, triangles: np.ndarray, keypoints: np.ndarray, template: FaceModel, anchors: np.ndarray = ANCHORS
) -> Correspondence:
    """Finds the correspondence.

    Args:
        mean: (V, 3) vertices, y up, z towards the viewer, decimetres; the mesh has one outline and a mouth hole.
        triangles: (F, 3) int, counter-clockwise seen from outside.
        keypoints: (68,) vertices of the iBUG points.
        template: the open model.
        anchors: which of the 68 keypoints are used.

    Raises:
        InputError: the mesh has no outline or no mouth hole.
    """
    # Work in the template's frame and size, so that distances mean the same for every model.
    pairs = topo.IBUG68[anchors]
    scale, rotation, translation = similarity(mean[keypoints[anchors]], template.mean[pairs])
    moved = scale * mean @ rotation + translation
    face = face_of(template)
    used = np.unique(face)
    number = np.full(len(template.mean), -1)
    number[used] = np.arange(len(used))
    face = number[face]
    laid = register(template.mean[used], face, number[pairs], moved, triangles, moved[keypoints[anchors]])
    loops = boundary_loops(triangles)
    mouth = _mouth_of(loops, moved, laid[number[topo.INNER_LIPS]])
    outline = loops[0]
    if mouth is outline:
        raise InputError("the face mesh must have an outline and a hole between the lips")

    uv, known = _from_surface(moved, triangles, laid, face, template)
    hole = boundary_loop(face, int(number[topo.INNER_LIPS[0]]))
    uv[mouth] = _along_mouth(moved, mouth, laid, hole, number[topo.LIP_CORNERS_INNER], template.uv[used])
    known[mouth] = True
    uv = _spread(uv, known, triangles)
    rings, strips = _skirt(uv, outline, template)
    lips = template.uv[topo.INNER_LIPS]
    loop = mouth[np.linalg.norm(uv[mouth][None] - lips[:, None], axis=2).argmin(1)]
    uv = np.concatenate([uv, rings]).astype(np.float32)

    marks = number[template.landmark_vertices]
    normals, facing = normals_of(laid, face)[0], normals_of(moved, triangles)[1]
    triangle, weights, _ = closest_points(laid[marks], moved, triangles, normals[marks], facing)
    return Correspondence(
        uv,
        np.concatenate([triangles, strips]).astype(np.int32),
        _locate(uv, template.uv, template.triangles),
        interpolation(triangle, weights, triangles, len(mean)),
        np.tile(outline, SKIRT_RINGS),
        loop.astype(np.int32),
    )


def face_of(template: FaceModel) -> np.ndarray:
    """(F, 3) triangles of the open model inside its face oval."""
    return template.triangles[(template.skirt[template.triangles] > ON_FACE).all(1)]


def _locate(points: np.ndarray, uv: np.ndarray, triangles: np.ndarray) -> sparse.csr_matrix:
    """(N, V) interpolation at (N, 2) places of a (V, 2) layout."""
    flat, layout = (np.column_stack([p, np.zeros(len(p))]) for p in (points, uv))
    triangle, weights, _ = closest_points(flat, layout, triangles)
    return interpolation(triangle, weights, triangles, len(uv))


def _mouth_of(loops: list[np.ndarray], mean: np.ndarray, lips: np.ndarray) -> np.ndarray:
    """The loop whose vertices come closest to the (20, 3) inner lips."""
    away = [np.linalg.norm(mean[loop][None] - lips[:, None], axis=2).min(1).mean() for loop in loops]
    return loops[int(np.argmin(away))]


def _from_surface(
    mean: np.ndarray, triangles: np.ndarray, laid: np.ndarray, face: np.ndarray, template: FaceModel
) -> tuple[np.ndarray, np.ndarray]:
    """(V, 2) places read off the laid-over surface, and (V,) bool where they can be believed."""
    normals = normals_of(mean, triangles)[0]
    facing = normals_of(laid, face)[1]
    triangle, weights, distance = closest_points(mean, laid, face, normals, facing)
    at = interpolation(triangle, weights, face, len(laid))
    uv = np.asarray(at @ template.uv[np.unique(face_of(template))], np.float64)
    known = (distance < NEAR) & ((facing[triangle] * normals).sum(1) > FACING)
    known &= _in_company(known, triangles)
    on_oval, on_lips = np.zeros((2, len(laid)))
    for border, loop in zip((on_oval, on_lips), boundary_loops(face), strict=True):
        border[loop] = 1
    # The lips' inner side is not on the template: it is spread between the lips' edge and the mouth hole.
    known &= at @ on_lips < 0.999
    # What lies beyond the face oval goes as far out on the skirt as it is away from the oval.
    beyond = at @ on_oval > 0.999
    middle = (at @ laid)[beyond] - laid.mean(0)
    share = np.interp(distance[beyond] / np.linalg.norm(middle, axis=1), (0, *SKIRT_RADII), np.linspace(0, 1, 4))
    uv[beyond] += share[:, None] * (_outermost(uv[beyond], template) - uv[beyond])
    return uv, known | beyond


def _outermost(uv: np.ndarray, template: FaceModel) -> np.ndarray:
    """(N, 2) places on the template's outermost ring, seen from the middle of the face in the same directions."""
    middle = template.uv[topo.FACE_OVAL].mean(0)
    ring = template.uv[boundary_loops(template.triangles)[0]] - middle
    angle = np.arctan2(*ring.T)
    order = angle.argsort()
    radius = np.linalg.norm(ring, axis=1)
    away = uv - middle
    reach = np.interp(np.arctan2(*away.T), angle[order], radius[order], period=2 * np.pi)
    return middle + away * (reach / np.maximum(np.linalg.norm(away, axis=1), 1e-9))[:, None]


def _skirt(uv: np.ndarray, outline: np.ndarray, template: FaceModel) -> tuple[np.ndarray, np.ndarray]:
    """(S, 2) places of rings from the outline to the template's outermost ring, and their triangles."""
    start = uv[outline]
    steps = np.arange(1, SKIRT_RINGS + 1)[:, None, None] / SKIRT_RINGS
    rings = start + steps * (_outermost(start, template) - start)
    size = len(outline)
    numbers = np.concatenate([outline[None], len(uv) + np.arange(SKIRT_RINGS * size).reshape(SKIRT_RINGS, size)])
    a, c = numbers[:-1].ravel(), numbers[1:].ravel()
    b, d = (np.roll(n, -1, axis=1).ravel() for n in (numbers[:-1], numbers[1:]))
    return rings.reshape(-1, 2), np.concatenate([np.stack(t, 1) for t in ((b, a, c), (b, c, d))])


def _in_company(known: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(V,) bool, most neighbours are known: false for an ear that happens to touch the laid-over cheek."""
    adjacency = sparse.identity(len(known)) - graph_laplacian(triangles, len(known))
    return adjacency @ known.astype(np.float64) > 0.5


def _along_mouth(
    mean: np.ndarray, mouth: np.ndarray, laid: np.ndarray, hole: np.ndarray, corners: np.ndarray, face_uv: np.ndarray
) -> np.ndarray:
    """(L, 2) places of the mouth loop on the template's mouth hole: corner to corner, by share of the way."""
    out = np.zeros((len(mouth), 2))
    ends = [int(np.linalg.norm(mean[mouth] - laid[c], axis=1).argmin()) for c in corners]
    holes = [int(np.flatnonzero(hole == c)[0]) for c in corners]

    def way(loop: np.ndarray, first: int, last: int) -> np.ndarray:
        """Positions in the loop from first to last, in its own direction."""
        return (first + np.arange((last - first) % len(loop) + 1)) % len(loop)

    def share(points: np.ndarray) -> np.ndarray:
        length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
        return length / length[-1]

    for i, j in ((0, 1), (1, 0)):
        mine, theirs = way(mouth, ends[i], ends[j]), way(hole, holes[i], holes[j])
        s, t = share(mean[mouth[mine]]), share(laid[hole[theirs]])
        out[mine] = np.stack([np.interp(s, t, face_uv[hole[theirs], k]) for k in (0, 1)], 1)
    return out


def _spread(uv: np.ndarray, known: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Harmonic continuation of the (V, 2) places into where they are not known."""
    laplacian = graph_laplacian(triangles, len(uv))
    free = np.flatnonzero(~known)
    if len(free) == 0:
        return uv
    rows = laplacian[free]
    out = uv.copy()
    out[free] = splu(rows[:, free].tocsc()).solve(-(rows[:, np.flatnonzero(known)] @ uv[known]))
    return out
