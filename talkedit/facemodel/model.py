"""One face model class for every source (open face model, Basel + FaceWarehouse, ICT-FaceKit)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy import sparse

from talkedit.errors import InputError
from talkedit.facemodel.align import similarity
from talkedit.tensor_file import read_tensors


@dataclass(frozen=True)
class Part:
    """A rigid piece that goes with the face: a row of teeth and its gum, or an eyeball.

    Attributes:
        mean: (P, 3) float32, in the frame of the face model's mean.
        id_basis: (P, 3, 80) float32.
        exp_basis: (P, 3, 64) float32.
        triangles: (F, 3) int32.
        bone: "skull" or "jaw", what the piece is fixed to.
    """

    mean: np.ndarray
    id_basis: np.ndarray
    exp_basis: np.ndarray
    triangles: np.ndarray
    bone: str

    def vertices(self, identity: np.ndarray | None = None, expression: np.ndarray | None = None) -> np.ndarray:
        """(P, 3) float32: the person's piece, turned and shifted as the expression moves it, never stretched."""
        rest = self.mean
        if identity is not None:
            rest = rest + self.id_basis @ np.asarray(identity, np.float32)
        if expression is None:
            return rest
        moved = rest + self.exp_basis @ np.asarray(expression, np.float32)
        _, rotation, _ = similarity(rest, moved)
        return ((rest - rest.mean(0)) @ rotation + moved.mean(0)).astype(np.float32)


@dataclass
class FaceModel:
    """A linear 3-D morphable face model (Eq. 1: S = S̄ + B_id α + B_exp β).

    Vertices are in model units (decimetres, as Deep3DFaceRecon: y up, z towards the viewer, mean centred); bases are
    scaled to unit-variance coefficients.

    Attributes:
        name: what ``--face-model`` calls it.
        mean: (V, 3) float32.
        id_basis: (V, 3, 80) float32.
        exp_basis: (V, 3, 64) float32.
        tex_mean: (V, 3) float32 albedo in 0..1.
        tex_basis: (V, 3, 80) float32.
        triangles: (F, 3) int32, counter-clockwise seen from outside.
        uv: (V, 2) float32 in 0..1, v down as picture rows.
        keypoints: (68,) int32 vertices of the iBUG points.
        landmark_vertices: (468,) int32 vertices of the MediaPipe points, the nearest where a point lies between.
        landmarks: (468, V) sparse, the MediaPipe points exactly.
        position: (V, 468) sparse, mesh from tracked landmarks.
        displacement: (V, 468) sparse, vertex displacements from landmark displacements.
        skirt: (V,) 1 on the face, falling to 0 outside it.
        eyeball: (V,) bool.
        mouth_loop: (L,) int32, vertices around the mouth hole in order.
        regions: name → (V,) weights in 0..1.
        parts: name → what the mouth stage may show behind the lips and lids (teeth, gums, eyeballs); often empty.
        meta: what the model was made from.
    """

    name: str
    mean: np.ndarray
    id_basis: np.ndarray
    exp_basis: np.ndarray
    tex_mean: np.ndarray
    tex_basis: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    keypoints: np.ndarray
    landmark_vertices: np.ndarray
    landmarks: sparse.csr_matrix
    position: sparse.csr_matrix
    displacement: sparse.csr_matrix
    skirt: np.ndarray
    eyeball: np.ndarray
    mouth_loop: np.ndarray
    regions: dict[str, np.ndarray] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)
    meta: dict[str, str] = field(default_factory=dict)

    def at_landmarks(self, values: np.ndarray) -> np.ndarray:
        """(468, ...) values at the MediaPipe points of (V, ...) values at the vertices."""
        flat = self.landmarks @ values.reshape(len(values), -1)
        return flat.reshape(self.landmarks.shape[0], *values.shape[1:])

    def vertices(self, identity: np.ndarray | None = None, expression: np.ndarray | None = None) -> np.ndarray:
        """(V, 3) float32 vertices for (80,) identity and (64,) expression coefficients (Eq. 1)."""
        out = self.mean
        if identity is not None:
            out = out + self.id_basis @ np.asarray(identity, np.float32)
        if expression is not None:
            out = out + self.exp_basis @ np.asarray(expression, np.float32)
        return out

    def texture(self, coefficients: np.ndarray | None = None) -> np.ndarray:
        """(V, 3) albedo for (80,) texture coefficients."""
        if coefficients is None:
            return self.tex_mean
        return self.tex_mean + self.tex_basis @ np.asarray(coefficients, np.float32)


_DENSE = ("mean", "id_basis", "exp_basis", "tex_mean", "tex_basis", "triangles", "uv", "keypoints",
          "landmark_vertices", "skirt", "mouth_loop")  # fmt: skip
_OPERATORS = ("landmarks", "position", "displacement")
_PART = ("mean", "id_basis", "exp_basis", "triangles")


def save_model(path: Path, model: FaceModel) -> None:
    """Writes a converted model: every array at full size, as it is."""
    tensors = {name: getattr(model, name) for name in _DENSE} | {"eyeball": model.eyeball.astype(np.uint8)}
    for name in _OPERATORS:
        tensors |= _pack(getattr(model, name), name)
    tensors |= {f"region.{name}": weights for name, weights in model.regions.items()}
    for name, part in model.parts.items():
        tensors |= {f"part.{name}.{key}": getattr(part, key) for key in _PART}
    header = {"name": model.name, "meta": json.dumps(model.meta)}
    header["bones"] = json.dumps({name: part.bone for name, part in model.parts.items()})
    partial = path.with_name(f".{path.name}.partial")
    try:
        save_file({name: np.ascontiguousarray(a) for name, a in tensors.items()}, str(partial), metadata=header)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_model(path: Path) -> FaceModel:
    """Reads a face model file, the open model's or a converted one.

    Raises:
        InputError: the file is neither, or damaged.
    """
    try:
        with safe_open(str(path), framework="numpy") as f:
            header = f.metadata() or {}
            if "bones" not in header:
                return load_open_model(path)
            t = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118
        columns = {"landmarks": len(t["mean"]), "position": 468, "displacement": 468}
        parts = {
            name: Part(*(t[f"part.{name}.{key}"] for key in _PART), bone=bone)
            for name, bone in json.loads(header["bones"]).items()
        }
        return FaceModel(
            name=header["name"],
            **{name: t[name] for name in _DENSE},
            **{name: _unpack(t, name, columns[name]) for name in _OPERATORS},
            eyeball=t["eyeball"].astype(bool),
            regions={k[7:]: v for k, v in t.items() if k.startswith("region.")},
            parts=parts,
            meta=json.loads(header["meta"]),
        )
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a face model file ({error})") from error


def _pack(matrix: sparse.csr_matrix, name: str) -> dict[str, np.ndarray]:
    m = matrix.tocsr()
    return {
        f"{name}.data": m.data.astype(np.float32),
        f"{name}.indices": m.indices.astype(np.uint16),
        f"{name}.indptr": m.indptr.astype(np.int32),
    }


def _unpack(tensors: dict[str, np.ndarray], name: str, columns: int) -> sparse.csr_matrix:
    data, indices, indptr = (tensors[f"{name}.{k}"] for k in ("data", "indices", "indptr"))
    return sparse.csr_matrix((data, indices.astype(np.int32), indptr), shape=(len(indptr) - 1, columns))


def save_open_model(
    path: Path,
    arrays: dict[str, np.ndarray],
    refine: sparse.csr_matrix,
    position: sparse.csr_matrix,
    displacement: sparse.csr_matrix,
    meta: dict[str, str],
) -> None:
    """Writes the open face model: bases on the landmarks (float16) and the operators that expand them.

    Args:
        path: the .safetensors file.
        arrays: mean (468, 3), id_basis (468, 3, 80), exp_basis (468, 3, 64), tex_mean, tex_basis (per vertex),
            triangles, uv, keypoints, mouth_loop, skirt, eyeball and ``region.*``.
        refine: (V, C) subdivision, ``position``/``displacement``: (C, 468).
        meta: strings for the file's header.
    """
    half = {"id_basis", "exp_basis", "tex_basis", "tex_mean"}
    tensors = {k: np.ascontiguousarray(v.astype(np.float16) if k in half else v) for k, v in arrays.items()}
    for name, m in (("refine", refine), ("position", position), ("displacement", displacement)):
        tensors |= _pack(m, name)
    save_file(tensors, str(path), metadata={"meta": json.dumps(meta)})


def load_open_model(path: Path) -> FaceModel:
    """Reads the open face model.

    Raises:
        InputError: the file is not one.
    """
    try:
        t, header = read_tensors(path)
        meta = json.loads(header.get("meta", "{}"))
        control = len(t["position.indptr"]) - 1
        refine = _unpack(t, "refine", control)
        position = (refine @ _unpack(t, "position", 468)).astype(np.float32)
        displacement = (refine @ _unpack(t, "displacement", 468)).astype(np.float32)
        return _expand(t, position.tocsr(), displacement.tocsr(), meta)
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise InputError(f"{path} is not an open face model file ({error})") from error


def _expand(
    t: dict[str, np.ndarray], position: sparse.csr_matrix, displacement: sparse.csr_matrix, meta: dict[str, str]
) -> FaceModel:
    """The model on all vertices, from bases on the landmarks."""

    def expand(operator: sparse.csr_matrix, basis: np.ndarray) -> np.ndarray:
        flat = operator @ basis.astype(np.float32).reshape(468, -1)
        return flat.reshape(operator.shape[0], *basis.shape[1:]).astype(np.float32)

    return FaceModel(
        name="open",
        mean=expand(position, t["mean"]),
        id_basis=expand(position, t["id_basis"]),
        exp_basis=expand(displacement, t["exp_basis"]),
        tex_mean=t["tex_mean"].astype(np.float32),
        tex_basis=t["tex_basis"].astype(np.float32),
        triangles=t["triangles"],
        uv=t["uv"],
        keypoints=t["keypoints"],
        landmark_vertices=np.arange(468, dtype=np.int32),
        landmarks=sparse.eye_array(468, len(t["skirt"]), dtype=np.float32, format="csr"),
        position=position,
        displacement=displacement,
        skirt=t["skirt"],
        eyeball=t["eyeball"].astype(bool),
        mouth_loop=t["mouth_loop"],
        regions={k[7:]: v for k, v in t.items() if k.startswith("region.")},
        meta=meta,
    )
