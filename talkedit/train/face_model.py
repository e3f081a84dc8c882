"""``talkedit train face_model``: builds the open face model from a collection of tracked faces.

Shape: landmarks aligned by a similarity on points that hardly move; expression = deviations from a person's own
neutral; identity = what is left of a person's mean once the expression is taken out. Texture: albedo of colour faces,
with the light of each picture divided out. See docs/method.md, "Open face model".
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from talkedit.data.collection import Collection, Sample
from talkedit.data.open_recipe import held_out_people
from talkedit.facemodel.align import similarity
from talkedit.facemodel.control_mesh import SKIRT_RADII, ControlMesh, control_mesh, refine
from talkedit.facemodel.model import save_open_model
from talkedit.facemodel.uv import signed_areas, unwrap
from talkedit.track import topology as topo
from talkedit.track.measures import yaw_degrees
from talkedit.train.albedo import collect_albedos, texture_basis
from talkedit.train.manifest import update_manifest

# Deep3DFaceRecon's five reference points (eye centres, nose tip, mouth corners), decimetres: they fix our model's
# units and frontal orientation, so that its camera holds for us too.
REFERENCE5 = np.array(
    [[-0.3115, 0.2904, 0.1338], [0.3098, 0.2897, 0.1318], [0.0032, -0.0462, 0.5524],
     [-0.2522, -0.3813, 0.2241], [0.2485, -0.3813, 0.2224]]
)  # fmt: skip
MAX_YAW = 25.0
ABOUT = {
    "kind": "bfm",
    "what": "open face model: 80 identity, 64 expression, 80 texture components",
    "trained_on": "muxspace/facial_expressions, London set, MEAD, LivePortrait examples",
    "licence": "research, non-commercial (follows from MEAD)",
}
ID, EXP, TEX = 80, 64, 80


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """(5, D) eye centres, nose tip and mouth corners of (≥468, D) landmarks, in the picture's left-to-right order."""
    return np.stack(
        [landmarks[[33, 133]].mean(0), landmarks[[362, 263]].mean(0), landmarks[4], landmarks[61], landmarks[291]]
    )


@dataclass
class Shapes:
    """Aligned faces: ``points`` (N, 468, 3), ``owner`` (N,) sample index, ``mean`` (468, 3), all in model units."""

    points: np.ndarray
    owner: np.ndarray
    mean: np.ndarray


def align_all(samples: list[Sample], landmarks: dict[str, np.ndarray], step: int = 2) -> Shapes:
    """Generalised Procrustes on the stable points, then the reference frame of the camera."""
    points, owner = [], []
    for i, s in enumerate(samples):
        for row in landmarks[s.key][:: step if s.clip else 1]:
            if np.isfinite(row[0, 0]) and abs(yaw_degrees(row)) < MAX_YAW:
                points.append(row[:468] * [1, -1, -1])
                owner.append(i)
    x = np.array(points, np.float32)
    scale, rotation, translation = similarity(five_points(x[0]), REFERENCE5)
    mean = scale * x[0] @ rotation + translation
    for _ in range(6):
        s, r, t = similarity(x[:, topo.STABLE], mean[None, topo.STABLE])
        aligned = (s[:, None, None] * (x @ r) + t[:, None]).astype(np.float32)
        mean = aligned.mean(0)
        scale, rotation, translation = similarity(five_points(mean), REFERENCE5)
        mean = scale * mean @ rotation + translation
    mirror = mirror_map(mean)
    mean = (mean + mean[mirror] * [-1, 1, 1]) / 2
    mean -= mean.mean(0)
    s, r, t = similarity(x[:, topo.STABLE], mean[None, topo.STABLE])
    aligned = (s[:, None, None] * (x @ r) + t[:, None]).astype(np.float32)
    return Shapes(aligned, np.array(owner), mean.astype(np.float32))


def mirror_map(mean: np.ndarray) -> np.ndarray:
    """(468,) index of each landmark's mirror image, from a roughly symmetric, frontal mean."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    flipped = mean * [-1, 1, 1]
    for _ in range(2):
        rows, cols = linear_sum_assignment(cdist(flipped, mean))
        s, r, t = similarity(flipped, mean[cols])
        flipped = s * flipped @ r + t
    if not np.array_equal(cols[cols], rows):
        raise RuntimeError("the mean face is not symmetric enough to match its halves")
    return cols


def pca(rows: np.ndarray, count: int, weights: np.ndarray | None = None) -> np.ndarray:
    """(count, D) principal directions of (N, D) rows scaled to one standard deviation; no mean is taken off."""
    w = np.ones(len(rows)) if weights is None else weights
    x = rows * np.sqrt(w / w.sum())[:, None]
    _, sing, vt = np.linalg.svd(x, full_matrices=False)
    return (sing[:count, None] * vt[:count]).astype(np.float32)


def map_coefficients(rows: np.ndarray, basis: np.ndarray, noise: float) -> np.ndarray:
    """(N, K) maximum a-posteriori coefficients of (N, D) rows under a unit-variance (K, D) basis."""
    gram = basis @ basis.T + noise**2 * np.eye(len(basis))
    return np.linalg.solve(gram, basis @ rows.T).T.astype(np.float32)


@dataclass
class ShapeModel:
    """``mean`` (468, 3), ``identity`` (80, 1404) and ``expression`` (64, 1404), model units, unit variance."""

    mean: np.ndarray
    identity: np.ndarray
    expression: np.ndarray


def learn_shape(samples: list[Sample], shapes: Shapes, keep: np.ndarray) -> ShapeModel:
    """Separates identity from expression by alternating least squares over people.

    Args:
        samples: the collection.
        shapes: aligned faces.
        keep: (N,) bool, faces that may be used.
    """
    mirror = mirror_map(shapes.mean)

    def flip(x: np.ndarray) -> np.ndarray:
        return (x[:, mirror] * np.float32([-1, 1, 1])).reshape(len(x), -1)

    x = shapes.points[keep] - shapes.mean
    owner = shapes.owner[keep]
    people: dict[str, list[int]] = defaultdict(list)
    for n, i in enumerate(owner):
        people[samples[i].person].append(n)
    neutral = np.array([samples[i].emotion == "neutral" for i in owner])
    source_weight = {"mead": 1.0, "expressive": 0.7, "london": 3.0, "faces_open": 0.5, "portraits": 0.0}
    weight = np.array([source_weight[samples[i].source] for i in owner])

    base = np.zeros_like(x)
    person_neutral: dict[str, np.ndarray] = {}
    for name, rows in people.items():
        n = [r for r in rows if neutral[r]]
        person_neutral[name] = x[n].mean(0) if n else x[rows].mean(0)
        base[rows] = person_neutral[name]
    varied = np.array([len(people[samples[i].person]) > 1 for i in owner])
    labels = np.array([samples[i].emotion for i in owner], dtype=object)

    identity = expression = np.zeros((0, x[0].size), np.float32)
    for _ in range(3):
        deviation = (x - base)[varied]
        rows = np.concatenate([deviation.reshape(len(deviation), -1), flip(deviation)])
        expression = pca(rows, EXP, np.tile(weight[varied], 2) + 1e-9)
        # A person's own shape: what remains of all their pictures without expression; smiles of people who were only
        # ever seen smiling must not become identity, so emotional pictures count little.
        rest = x - (map_coefficients((x - base).reshape(len(x), -1), expression, 0.02) @ expression).reshape(x.shape)
        trust = np.where(labels == "neutral", 1.0, 0.15)
        for name, idx in people.items():
            person_neutral[name] = np.average(rest[idx], axis=0, weights=trust[idx])
            base[idx] = person_neutral[name]
        clean = [n for n, idx in people.items() if (labels[idx] == "neutral").any()]
        own = np.stack([person_neutral[n] for n in clean])
        centre = own.mean(0)
        rows = np.concatenate([(own - centre).reshape(len(own), -1), flip(own - centre)])
        identity = pca(rows, ID)
        if len(identity):
            # People with one picture: their expression is whatever identity does not explain.
            joint = np.concatenate([identity, expression])
            single = ~varied
            coef = map_coefficients((x[single] - centre).reshape(single.sum(), -1), joint, 0.02)
            base[single] = centre + (coef[:, :ID] @ identity).reshape(-1, *x.shape[1:])
    mean = shapes.mean + (centre + centre[mirror] * np.float32([-1, 1, 1])) / 2
    return ShapeModel(mean.astype(np.float32), identity, expression)


def shape_errors(model: ShapeModel, points: np.ndarray) -> dict[str, float]:
    """Fit of (N, 468, 3) aligned faces: mean distance over the outer-eye distance, in per cent."""
    basis = np.concatenate([model.identity, model.expression])
    rows = (points - model.mean).reshape(len(points), -1)
    rest = (rows - map_coefficients(rows, basis, 0.003) @ basis).reshape(points.shape)
    eye = np.linalg.norm(points[:, 33] - points[:, 263], axis=1)[:, None]
    distance = np.linalg.norm(rest, axis=2) / eye * 100
    planar = np.linalg.norm(rest[..., :2], axis=2) / eye * 100
    return {
        "3d_percent": round(float(distance.mean()), 3),
        "2d_percent": round(float(planar.mean()), 3),
        "lips_2d_percent": round(float(planar[:, topo.INNER_LIPS].mean()), 3),
        "lids_2d_percent": round(float(planar[:, np.r_[topo.LEFT_EYE, topo.RIGHT_EYE]].mean()), 3),
    }


def layout_uv(mean: np.ndarray, mesh: ControlMesh, refine_op) -> np.ndarray:
    """(V, 2) UV: the face fills the square; the skirt, which carries no detail, is a narrow border around it."""
    face = unwrap(mean, topo.tessellation(), margin=0.06)
    control = np.asarray(mesh.position @ face)
    centre = face[topo.FACE_OVAL].mean(0)
    first = topo.LANDMARKS
    for ring in range(len(SKIRT_RADII)):
        rows = slice(first + ring * len(topo.FACE_OVAL), first + (ring + 1) * len(topo.FACE_OVAL))
        control[rows] = centre + (1 + 0.03 * (ring + 1)) * (face[topo.FACE_OVAL] - centre)
    return np.asarray(refine_op @ control).astype(np.float32)


def region_weights(mean: np.ndarray, refine_op, position) -> dict[str, np.ndarray]:
    """Soft (V,) masks around named landmark sets, Gaussian in the distance along the mean face."""
    vertices = refine_op @ (position @ mean)
    sets = {
        "lips": (np.r_[topo.OUTER_LIPS, topo.INNER_LIPS], 0.07),
        "brows": (np.r_[topo.LEFT_BROW, topo.RIGHT_BROW], 0.10),
        "eyes": (np.r_[topo.LEFT_EYE, topo.RIGHT_EYE], 0.07),
        "nose": (np.array([168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 129, 358, 49, 279]), 0.10),
        "jaw": (np.array([152, 148, 377, 176, 400, 175, 199, 200, 18, 140, 369]), 0.16),
    }
    out = {}
    for name, (points, width) in sets.items():
        d = np.linalg.norm(vertices[:, None] - mean[points][None], axis=2).min(1)
        out[name] = np.exp(-0.5 * (d / width) ** 2).astype(np.float32)
    return out


def main(argv: list[str] | None = None) -> int:
    """Builds and writes the model; prints the held-out figures as JSON."""
    p = argparse.ArgumentParser(prog="talkedit train face_model", description=__doc__.split("\n")[0])
    p.add_argument("--data", type=Path, required=True, help="folder of the open recipe's collection")
    p.add_argument("--cache", type=Path, default=Path("build/cache"), help="folder for tracked landmarks")
    p.add_argument("-o", "--output", type=Path, default=Path("bfm/open_face.safetensors"))
    p.add_argument("--manifest", type=Path, default=Path("checkpoints/manifest.json"))
    p.add_argument("--figures-only", action="store_true", help="measure on left-out people and write nothing")
    args = p.parse_args(argv)
    collection = Collection(args.data, args.cache)
    samples = collection.samples
    landmarks = collection.landmarks()
    shapes = align_all(samples, landmarks)
    out_people = held_out_people(samples)
    held = np.array([samples[i].person in out_people for i in shapes.owner])
    source = np.array([samples[i].source for i in shapes.owner])
    split = learn_shape(samples, shapes, ~held)
    figures: dict = {
        "shape": {s: shape_errors(split, shapes.points[held & (source == s)]) for s in ("mead", "london", "faces_open")}
    }
    # The shipped shape model is learned from everybody.
    model = learn_shape(samples, shapes, np.ones(len(held), bool))
    mesh = control_mesh()
    refine_op, triangles = refine(mesh)
    position = refine_op @ mesh.position
    vertices = np.asarray(position @ model.mean)
    uv = layout_uv(model.mean, mesh, refine_op)
    facing = signed_areas(uv, triangles)
    fade = np.clip(np.asarray(refine_op @ mesh.skirt), 0, 1).astype(np.float32)
    eyeball = np.asarray(refine_op @ mesh.eyeball.astype(np.float32)) > 0.5
    albedos, people = collect_albedos(collection, landmarks, position, triangles, (fade > 0.99) & ~eyeball)
    train_rows = np.array([q not in out_people for q in people])
    tex_mean, tex_basis, figures["texture"] = texture_basis(albedos, train_rows, TEX)
    figures["flipped_uv_triangles"] = int((facing * np.sign(np.median(facing)) <= 0).sum())
    figures["vertices"], figures["triangles"] = len(vertices), len(triangles)
    print(json.dumps(figures, indent=1))
    if args.figures_only:
        return 0
    arrays = {
        "mean": model.mean,
        "id_basis": model.identity.reshape(ID, 468, 3).transpose(1, 2, 0),
        "exp_basis": model.expression.reshape(EXP, 468, 3).transpose(1, 2, 0),
        "tex_mean": tex_mean,
        "tex_basis": tex_basis,
        "triangles": triangles.astype(np.int32),
        "uv": uv,
        "keypoints": topo.IBUG68.astype(np.int32),
        "mouth_loop": topo.INNER_LIPS.astype(np.int32),
        "skirt": fade,
        "eyeball": eyeball.astype(np.uint8),
    }
    arrays |= {f"region.{k}": v for k, v in region_weights(model.mean, refine_op, mesh.position).items()}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    meta = {"figures": json.dumps(figures), "licence": "see bfm/README.md"}
    save_open_model(args.output, arrays, refine_op, mesh.position, mesh.displacement, meta)
    update_manifest(args.manifest, args.output, ABOUT)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
