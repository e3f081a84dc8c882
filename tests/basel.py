"""A stand-in for the Basel Face Model: real topology and index files, made-up bases, the exact file formats.

The mean is the open model's face wrapped over BFM's own UV layout and bent so that its 68 keypoints are those of the
real mean, which travel with Deep3DFaceRecon. Where the 468 MediaPipe landmarks lie on it is therefore known.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import loadmat, savemat

from talkedit.facemodel import bfm
from talkedit.facemodel.boundary import boundary_loop, boundary_loops
from talkedit.facemodel.closest import closest_points, interpolation
from talkedit.facemodel.correspondence import ANCHORS, face_of
from talkedit.facemodel.model import FaceModel
from talkedit.facemodel.register import thin_plate
from talkedit.track import topology as topo

COMPONENTS, EXPRESSIONS = 199, 79


@dataclass(frozen=True)
class StandIn:
    """Made-up numbers in decimetres: mean (35709, 3), bases (35709, 3, 80 / 64 / 80), texture 0..1, truth (468, 3)."""

    mean: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    colour: np.ndarray
    colours: np.ndarray
    landmarks: np.ndarray


def parts_of(shared: Path) -> Path:
    """Folder of the real index files."""
    return shared / "data/face_models/bfm_parts"


def _index(parts: Path, name: str, key: str) -> np.ndarray:
    return loadmat(parts / name)[key].reshape(-1).astype(int) - 1


def _places(parts: Path, triangles: np.ndarray, keypoints: np.ndarray, model: FaceModel) -> np.ndarray:
    """(35709, 2) places in the open model's layout, by a thin-plate spline between the two layouts."""
    own = loadmat(parts / "BFM_UV.mat")["UV"][_index(parts, "BFM_front_idx.mat", "idx")]
    own = np.column_stack([own[:, 0], 1 - own[:, 1]])
    outline, mouth = boundary_loops(triangles)
    hole = boundary_loop(face_of(model), int(topo.INNER_LIPS[0]))
    ring = boundary_loops(model.triangles)[0]

    def share(points: np.ndarray) -> np.ndarray:
        length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
        return length / length[-1]

    def direction(points: np.ndarray, middle: np.ndarray) -> np.ndarray:
        return np.arctan2(*(points - middle).T)

    # The lips by share of their length from one corner on, the outline by direction.
    mouth, hole = (np.roll(p, -int(q[p, 0].argmin())) for p, q in ((mouth, own), (hole, model.uv)))
    lips = np.stack([np.interp(share(own[mouth]), share(model.uv[hole]), model.uv[hole, k]) for k in (0, 1)], 1)
    middle = model.uv[topo.IBUG68[ANCHORS[1:]]].mean(0)
    theirs, mine = direction(model.uv[ring], middle), direction(own[outline], own[keypoints[ANCHORS[1:]]].mean(0))
    order = theirs.argsort()
    border = np.stack([np.interp(mine, theirs[order], model.uv[ring][order, k], period=2 * np.pi) for k in (0, 1)], 1)
    # BFM's front model ends right behind the jaw, and half-way up the skirt of the forehead.
    beyond = 0.1 + 0.5 * np.clip((middle[1] - border[:, 1]) / 0.45, 0, 1)
    border = middle + (border - middle) * (1 - 0.08 * (1 - beyond))[:, None]
    source = np.concatenate([own[keypoints[ANCHORS]], own[mouth], own[outline[::15]]])
    target = np.concatenate([model.uv[topo.IBUG68[ANCHORS]], lips, border[::15]])
    return thin_plate(source, target, own, smoothing=1e-6)


def stand_in(parts: Path, model: FaceModel) -> StandIn:
    """Deterministic."""
    info = loadmat(parts / "facemodel_info.mat")
    triangles, keypoints = info["tri"].astype(int) - 1, info["keypoints"].reshape(-1).astype(int) - 1
    uv = _places(parts, triangles, keypoints, model)
    flat, layout = (np.column_stack([p, np.zeros(len(p))]) for p in (uv, model.uv))
    triangle, weights, _ = closest_points(flat, layout, model.triangles)
    here = interpolation(triangle, weights, model.triangles, len(model.uv))

    def on_mesh(values: np.ndarray) -> np.ndarray:
        return (here @ values.reshape(len(values), -1)).reshape(-1, *values.shape[1:]).astype(np.float32)

    mean = on_mesh(model.mean).astype(np.float64)
    back = (1 - np.clip(here @ model.skirt, 0, 1))[:, None]
    mean = mean * (1 - back * [0.25, 0.2, 0]) - back * [0, 0, 0.5]  # the skirt is no disc: it bends round the head
    goal = loadmat(parts / "similarity_Lm3D_all.mat")["lm"][ANCHORS]
    bent = thin_plate(mean[keypoints[ANCHORS]], goal, np.concatenate([mean, model.mean[:468]]))
    rng = np.random.default_rng(0)
    expression = on_mesh(model.exp_basis)
    waves = np.sin(mean @ rng.normal(0, 4, (3, 18)) + rng.uniform(0, 6, 18))  # FaceWarehouse has 46 shapes of its own
    expression[..., 46:] = 0.01 * waves[:, None] * rng.normal(size=(1, 3, 18))
    return StandIn(
        bent[: len(mean)], on_mesh(model.id_basis), expression, on_mesh(model.tex_mean), on_mesh(model.tex_basis),
        bent[len(mean) :],
    )  # fmt: skip


def write_files(folder: Path, parts: Path, made: StandIn) -> None:
    """Writes ``01_MorphableModel.mat`` and ``Exp_Pca.bin`` beside copies of the real index files."""
    for source in parts.iterdir():
        shutil.copy(source, folder / source.name)
    trimmed = _index(parts, "BFM_front_idx.mat", "idx")
    full = _index(parts, "BFM_exp_idx.mat", "trimIndex")[trimmed]
    deviations = np.loadtxt(parts / "std_exp.txt")
    scanned = {}
    spread = np.linspace(9e5, 1e4, COMPONENTS, dtype=np.float32)[:, None]
    for kind, mean, basis, unit in (("shape", made.mean, made.identity, 1e5), ("tex", made.colour, made.colours, 255)):
        components = np.zeros((bfm.FULL, 3, COMPONENTS), np.float32)
        components[full, :, : basis.shape[2]] = basis * unit / spread[: basis.shape[2], 0]
        middle = np.zeros((bfm.FULL, 3), np.float32)
        middle[full] = mean * unit
        scanned |= {f"{kind}PC": components.reshape(-1, COMPONENTS), f"{kind}EV": spread,
                    f"{kind}MU": middle.reshape(-1, 1)}  # fmt: skip
    savemat(folder / bfm.SCANNED_MODEL, scanned)
    moves = np.zeros((EXPRESSIONS, bfm.TRIMMED, 3), "<f4")
    moves[:64, trimmed] = np.moveaxis(made.expression, 2, 0) * 1e5 / deviations[:64, None, None]
    with (folder / bfm.EXPRESSIONS).open("wb") as stream:
        stream.write(np.array([EXPRESSIONS], "<i4").tobytes())
        stream.write(np.zeros(3 * bfm.TRIMMED, "<f4").tobytes())
        stream.write(moves.tobytes())
