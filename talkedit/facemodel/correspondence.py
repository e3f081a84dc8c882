"""Dense correspondence between the open face model and any other face mesh, computed from shapes and 68 keypoints.

The open model's surface is laid over the other mesh (:mod:`talkedit.facemodel.register`). Every vertex of the other
mesh thereby gets a place in the open model's UV layout, the *shared template*: all trained texture maps fit every
model. Where the two surfaces do not meet (behind the face's outline, inside the lips) the places are spread smoothly
between what is known and the borders: outline on the outermost skirt ring, mouth hole on mouth hole. From the places
follow the MediaPipe landmarks on the other mesh and all operators that the pipeline wants of a face model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from talkedit.errors import InputError
from talkedit.facemodel.align import similarity
from talkedit.facemodel.boundary import boundary_loop, boundary_loops
from talkedit.facemodel.closest import closest_points, interpolation
from talkedit.facemodel.model import FaceModel
from talkedit.facemodel.register import graph_laplacian, normals_of, register
from talkedit.track import topology as topo

# Keypoints that mean the same on every mesh: chin, brows, nose, eyes, lips. The jaw's outline is drawn at other places.
ANCHORS = np.r_[8, 17:68]
# A vertex takes the place of the laid-over surface up to this distance (decimetres) and turn (cosine).
NEAR, FACING = 0.05, 0.5
OUTER_EYES = (36, 45)
ON_FACE = 0.97  # of the template's skirt weight: inside the face oval


@dataclass(frozen=True)
class Correspondence:
    """Where another mesh lies on the open model's template.

    Attributes:
        uv: (V, 2) float32 places in the open model's UV layout.
        on_template: (V, W) sparse, values of the open model's W vertices at the V vertices.
        landmarks: (468, V) sparse, MediaPipe landmarks from the V vertices.
        mouth_loop: (20,) int32 vertices of the mouth hole at the inner-lip landmarks, in their order.
    """

    uv: np.ndarray
    on_template: sparse.csr_matrix
    landmarks: sparse.csr_matrix
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

    uv, known = _from_surface(moved, triangles, laid, face, template.uv[used])
    hole = boundary_loop(face, int(number[topo.INNER_LIPS[0]]))
    known &= _in_company(known, triangles)
    uv[mouth] = _along_mouth(moved, mouth, laid, hole, number[topo.LIP_CORNERS_INNER], template.uv[used])
    uv[outline] = _around_outline(moved[outline], template)
    known[outline] = known[mouth] = True
    uv = _spread(uv, known, triangles)
    uv = _outside(uv, known, triangles, outline, template).astype(np.float32)

    on_template = _locate(uv, template.uv, template.triangles)
    marks = laid[number[template.landmark_vertices]]
    normals, facing = normals_of(laid, face)[0], normals_of(moved, triangles)[1]
    triangle, weights, _ = closest_points(marks, moved, triangles, normals[number[template.landmark_vertices]], facing)
    landmarks = interpolation(triangle, weights, triangles, len(mean))
    lips = template.uv[topo.INNER_LIPS]
    loop = mouth[np.linalg.norm(uv[mouth][None] - lips[:, None], axis=2).argmin(1)]
    return Correspondence(uv, on_template, landmarks, loop.astype(np.int32))


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
    mean: np.ndarray, triangles: np.ndarray, laid: np.ndarray, face: np.ndarray, face_uv: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(V, 2) places read off the laid-over surface, and (V,) bool where they can be believed."""
    normals = normals_of(mean, triangles)[0]
    facing = normals_of(laid, face)[1]
    triangle, weights, distance = closest_points(mean, laid, face, normals, facing)
    at = interpolation(triangle, weights, face, len(laid))
    known = (distance < NEAR) & ((facing[triangle] * normals).sum(1) > FACING)
    return np.asarray(at @ face_uv, np.float64), known


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


def _around_outline(points: np.ndarray, template: FaceModel) -> np.ndarray:
    """(L, 2) places of the outline on the template's outermost ring, by direction seen from the face's middle.

    Args:
        points: (L, 3) outline in the template's frame, in order.
        template: the open model.
    """
    ring = boundary_loops(template.triangles)[0]
    middle = template.mean[topo.STABLE].mean(0)
    axis = template.mean[topo.FACE_OVAL, 2].min() - 0.5  # the head's axis: directions keep apart behind the cheeks

    def direction(p: np.ndarray) -> np.ndarray:
        x = np.arctan2(p[:, 0], p[:, 2] - axis) - np.arctan2(middle[0], middle[2] - axis)
        return np.unwrap(np.arctan2(p[:, 1] - middle[1], x))

    theirs, mine = direction(template.mean[ring]), direction(points)
    turn = np.sign(theirs[-1] - theirs[0])
    theirs = np.maximum.accumulate(turn * theirs) + np.arange(len(theirs)) * 1e-9
    mine = np.maximum.accumulate(turn * mine)
    mine = theirs[0] + (mine - theirs[0]) % (2 * np.pi)
    closed = np.r_[theirs, theirs[0] + 2 * np.pi]
    uv = template.uv[np.r_[ring, ring[:1]]]
    return np.stack([np.interp(mine, closed, uv[:, k]) for k in (0, 1)], 1)


def _outside(
    uv: np.ndarray, known: np.ndarray, triangles: np.ndarray, outline: np.ndarray, template: FaceModel
) -> np.ndarray:
    """Keeps what hangs together with the outline, and is not known, outside the template's face oval."""
    free = ~known
    free[outline] = True
    inner = free[triangles].all(1)
    i, j = np.concatenate([triangles[inner][:, [0, 1]], triangles[inner][:, [1, 2]]]).T
    graph = sparse.coo_matrix((np.ones(len(i)), (i, j)), shape=(len(uv), len(uv)))
    part = connected_components(graph, directed=False)[1]
    beyond = np.flatnonzero((part == part[outline[0]]) & free)
    oval = template.uv[topo.FACE_OVAL]
    middle = oval.mean(0)
    order = np.argsort(np.arctan2(*(oval - middle).T))
    angles, radii = np.arctan2(*(oval - middle).T)[order], np.linalg.norm(oval - middle, axis=1)[order]
    away = uv[beyond] - middle
    radius = np.linalg.norm(away, axis=1)
    least = np.interp(np.arctan2(*away.T), angles, radii, period=2 * np.pi)
    out = uv.copy()
    out[beyond] = middle + away * (np.maximum(radius, least) / np.maximum(radius, 1e-9))[:, None]
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
