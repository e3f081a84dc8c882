"""A mesh with bases made into a full face model on the open model's template."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from talkedit.facemodel.boundary import boundary_loops
from talkedit.facemodel.correspondence import ANCHORS, ON_FACE, Correspondence, correspond, face_of
from talkedit.facemodel.model import FaceModel, Part
from talkedit.track import topology as topo

# Towards the face oval and the lips' edge (distances in UV) the model's own shape gives way to the landmarks' surface.
_FADES = (0.04, 0.05)


def fingerprint(template: FaceModel) -> str:
    """Names a template: converted models fit only the one that they were made with."""
    digest = hashlib.sha256(np.ascontiguousarray(template.uv).tobytes())
    digest.update(np.ascontiguousarray(template.triangles).tobytes())
    return digest.hexdigest()[:16]


def on_template(
    name: str, arrays: dict[str, np.ndarray], template: FaceModel, parts: dict[str, Part] | None = None, **meta: str
) -> FaceModel:
    """Finds the correspondence to the open model and derives all that the pipeline asks of a face model.

    Args:
        name: what ``--face-model`` calls it.
        arrays: mean (V, 3), id_basis, exp_basis (V, 3, K), triangles (F, 3), keypoints (68,); tex_mean (V, 3) and
            tex_basis (V, 3, 80), or the open model's are taken over.
        template: the open model.
        parts: rigid pieces, with as many components as the mesh.
        meta: strings kept with the model; "vertices" is how many, the first, are the mesh's own (then the skirt).

    Raises:
        InputError: the mesh has no outline or no mouth hole.
    """
    mean = arrays["mean"]
    found = correspond(mean, arrays["triangles"], arrays["keypoints"], template)
    here, count = found.on_template, len(mean)

    def taken_over(values: np.ndarray) -> np.ndarray:
        flat = here @ values.reshape(len(values), -1).astype(np.float32)
        return flat.reshape(here.shape[0], *values.shape[1:]).astype(np.float32)

    figures = _figures(found, arrays, template)
    skirt = np.clip(here @ template.skirt, 0, 1)
    position = _position(found, mean, skirt, template)
    displacement = (here @ template.displacement).tocsr().astype(np.float32)

    def with_skirt(values: np.ndarray, operator: sparse.csr_matrix) -> np.ndarray:
        """Values of the mesh's vertices, then what the landmarks' values give on the skirt."""
        marks = found.landmarks @ values.reshape(count, -1)
        rest = (operator[count:] @ marks).reshape(-1, *values.shape[1:])
        return np.concatenate([values, rest]).astype(np.float32)

    def with_colour(name: str) -> np.ndarray:
        if name not in arrays:
            return taken_over(getattr(template, name))
        return np.concatenate([arrays[name], arrays[name][found.outline]]).astype(np.float32)

    def with_all(part: Part) -> Part:
        sizes = template.id_basis.shape[2], template.exp_basis.shape[2]
        return replace(part, id_basis=_padded(part.id_basis, sizes[0]), exp_basis=_padded(part.exp_basis, sizes[1]))

    landmarks = found.landmarks.copy()
    landmarks.resize(topo.LANDMARKS, here.shape[0])
    return FaceModel(
        name=name,
        mean=with_skirt(mean, position),
        id_basis=_padded(with_skirt(arrays["id_basis"], position), template.id_basis.shape[2]),
        exp_basis=_padded(with_skirt(arrays["exp_basis"], displacement), template.exp_basis.shape[2]),
        tex_mean=with_colour("tex_mean"),
        tex_basis=with_colour("tex_basis"),
        triangles=found.triangles,
        uv=found.uv,
        keypoints=arrays["keypoints"].astype(np.int32),
        landmark_vertices=np.asarray(landmarks.argmax(1)).reshape(-1).astype(np.int32),
        landmarks=landmarks,
        position=position,
        displacement=displacement,
        skirt=skirt.astype(np.float32),
        eyeball=here @ template.eyeball.astype(np.float32) > 0.5,
        mouth_loop=found.mouth_loop,
        regions={k: taken_over(v) for k, v in template.regions.items()},
        parts={piece: with_all(part) for piece, part in (parts or {}).items()},
        meta=meta | {"template": fingerprint(template), "figures": json.dumps(figures), "vertices": str(count)},
    )


def _figures(found: Correspondence, arrays: dict[str, np.ndarray], template: FaceModel) -> dict[str, float]:
    """Distance of keypoints from their landmarks in per cent of the outer-eye distance.

    ``used``: the keypoints that the correspondence was made with. ``left_out``: every second one, when the others alone
    are used; what is asked of surfaces between keypoints.
    """
    mesh = arrays["mean"], arrays["triangles"], arrays["keypoints"]
    other = correspond(*mesh, template, anchors=ANCHORS[::2])
    out = {}
    for name, one, which in (("used", found, ANCHORS), ("left_out", other, ANCHORS[1::2])):
        errors = 100 * one.keypoint_errors(mesh[0], mesh[2])[which]
        out |= {f"{name}_mean": round(float(errors.mean()), 3), f"{name}_max": round(float(errors.max()), 3)}
    return out


def _padded(basis: np.ndarray, count: int) -> np.ndarray:
    """(V, 3, ``count``) float32: the first components, and zeros where there are fewer."""
    basis = basis[..., :count].astype(np.float32)
    return np.pad(basis, ((0, 0), (0, 0), (0, count - basis.shape[2])))


def _position(found: Correspondence, mean: np.ndarray, skirt: np.ndarray, template: FaceModel) -> sparse.csr_matrix:
    """(V, 468) mesh from tracked landmarks.

    The open model's smooth surface through the landmarks, plus what the model's own mean rises above it. The rise
    turns and scales with the head: an affine frame from the points that hardly move. The landmarks' mean of the model
    thus gives the model's mean, except on the skirt, which stays flat as the open model's.
    """
    surface = (found.on_template @ template.position).tocsr()
    landmarks = found.landmarks @ mean
    rise = np.zeros((surface.shape[0], 3))
    rise[: len(mean)] = mean - surface[: len(mean)] @ landmarks
    # The lips' inner side lies beyond the template, whose lips end in an edge.
    inside = (np.abs(found.on_template @ template.uv - found.uv).max(1) < 1e-4) & (skirt > ON_FACE)
    rise[~inside] = 0
    for border, width in zip(boundary_loops(face_of(template)), _FADES, strict=True):
        away = cKDTree(template.uv[border]).query(found.uv)[0]
        rise *= np.clip(away / width, 0, 1)[:, None]
    # Columns of the affine fit: (3, 20) weights whose product with the stable points gives the frame's three axes.
    stable = landmarks[topo.STABLE]
    axes = np.linalg.pinv(stable - stable.mean(0))
    rows, columns = np.meshgrid(np.arange(3), topo.STABLE, indexing="ij")
    axes -= axes.mean(1, keepdims=True)
    frame = sparse.csr_matrix((axes.ravel(), (rows.ravel(), columns.ravel())), shape=(3, topo.LANDMARKS))
    return (surface + sparse.csr_matrix(rise) @ frame).tocsr().astype(np.float32)
