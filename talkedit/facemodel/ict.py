"""ICT-FaceKit (USC-ICT 2020, MIT licence): the public release as a face model with teeth, gums and eyeballs.

The folder ``FaceXModel`` of the release holds one OBJ file for the neutral head, one per identity mode and one per
expression, all of the same topology in centimetres, and ``vertex_indices.json`` with the 68 keypoints. Vertex ranges
are those of the release's README.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from talkedit.errors import InputError
from talkedit.facemodel.align import similarity
from talkedit.facemodel.boundary import boundary_loops, close_hole
from talkedit.facemodel.camera import REFERENCE_5_POINTS, five_points
from talkedit.facemodel.control_mesh import EYE_RING
from talkedit.facemodel.model import Part

VERTICES = 26719
NEUTRAL, KEYPOINTS = "generic_neutral_mesh.obj", "vertex_indices.json"
IDENTITIES, EXPRESSIONS = 80, 64  # modes used at most; identity modes are ordered by variance
FACE = 9409  # the first vertices: face, ears, front of the neck
UPPER_TEETH, LOWER_TEETH = slice(17039, 19247), slice(19247, 21451)
GUMS = slice(14062, 17039)
EYEBALLS = {"left_eye": slice(21451, 23021), "right_eye": slice(23021, 24591)}
# Blendshape weights lie in 0..1; a third is an ordinary one, and becomes one unit of the coefficient.
EXPRESSION_UNIT = 1 / 3
# Gum that follows a jaw's rigid motion up to this (centimetres) belongs to it; tongue and lining do not.
_RIGID = 0.05


@dataclass(frozen=True)
class Release:
    """The release's numbers, as published: vertices in centimetres, offsets from the neutral head.

    Attributes:
        neutral: (26719, 3).
        triangles: (F, 3) int32.
        identity: (K, 26719, 3) offsets of one standard deviation.
        expression: (E, 26719, 3) offsets at full weight.
        names: of the expressions.
        keypoints: (68,) int vertices.
    """

    neutral: np.ndarray
    triangles: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    names: tuple[str, ...]
    keypoints: np.ndarray


def read_release(folder: Path) -> Release:
    """Reads the release.

    Args:
        folder: of the repository, or its ``FaceXModel``.

    Raises:
        InputError: a file is missing or has other vertices than the neutral head.
    """
    inner = folder / "FaceXModel"
    folder = inner if inner.is_dir() else folder
    if not (folder / NEUTRAL).is_file():
        raise InputError(f"'{folder}' is not the ICT-FaceKit release: it has no {NEUTRAL}")
    neutral = _vertices(folder / NEUTRAL)
    identities = sorted(folder.glob("identity[0-9]*.obj"))[:IDENTITIES]
    others = set(folder.glob("*.obj")) - set(folder.glob("identity*.obj")) - {folder / NEUTRAL}
    expressions = sorted(others)[:EXPRESSIONS]
    if not identities or not expressions:
        raise InputError(f"'{folder}' has no identity or no expression shapes beside {NEUTRAL}")
    shapes = [(_vertices(path) - neutral).astype(np.float32) for path in [*identities, *expressions]]
    return Release(
        neutral,
        _triangles(folder / NEUTRAL),
        np.stack(shapes[: len(identities)]),
        np.stack(shapes[len(identities) :]),
        tuple(path.stem for path in expressions),
        _keypoints(folder / KEYPOINTS),
    )


def _vertices(path: Path) -> np.ndarray:
    """(26719, 3) float64 from the ``v`` lines of an OBJ file."""
    try:
        lines = [line[2:].split()[:3] for line in path.read_bytes().splitlines() if line.startswith(b"v ")]
        vertices = np.array(lines, dtype=np.float64)
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} cannot be read as an OBJ file ({error})") from None
    if vertices.shape != (VERTICES, 3) or not np.isfinite(vertices).all():
        raise InputError(f"{path.name} has {len(vertices)} vertices, not {VERTICES}")
    return vertices


def _triangles(path: Path) -> np.ndarray:
    """(F, 3) int32 from the ``f`` lines of an OBJ file, polygons cut into fans."""
    out = []
    try:
        for line in path.read_bytes().splitlines():
            if line.startswith(b"f "):
                corners = [int(corner.split(b"/")[0]) - 1 for corner in line[2:].split()]
                out += [(corners[0], b, c) for b, c in pairwise(corners[1:])]
    except ValueError as error:
        raise InputError(f"{path.name} cannot be read as an OBJ file ({error})") from None
    triangles = np.array(out, np.int32).reshape(-1, 3)
    if len(triangles) == 0 or triangles.min() < 0 or triangles.max() >= VERTICES:
        raise InputError(f"the polygons of {path.name} do not fit its vertices")
    return triangles


def _keypoints(path: Path) -> np.ndarray:
    try:
        points = np.array(json.loads(path.read_text(encoding="utf-8"))["idx_to_landmark_verts"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"'{path}' is missing or does not hold the 68 landmarks") from None
    if points.shape != (68,) or points.dtype.kind != "i" or points.min() < 0 or points.max() >= FACE:
        raise InputError(f"'{path}' does not hold the 68 landmarks")
    return points


def mesh_of(release: Release) -> tuple[dict[str, np.ndarray], dict[str, Part]]:
    """The face's mesh with closed eye holes, and the rigid pieces, in model units.

    Returns:
        mean (V, 3) centred, id_basis (V, 3, 80), exp_basis (V, 3, E) for unit-variance coefficients, triangles,
        keypoints; and the parts by name: upper_teeth, lower_teeth, upper_gums, lower_gums, left_eye, right_eye.
    """
    scale, rotation, translation = similarity(
        _reference_points(release.neutral[release.keypoints]), np.array(REFERENCE_5_POINTS)
    )
    neutral = scale * release.neutral @ rotation + translation
    identity, expression = (np.moveaxis(scale * offsets @ rotation, 0, -1) for offsets in (
        release.identity, release.expression * EXPRESSION_UNIT))  # fmt: skip

    triangles = release.triangles[(release.triangles < FACE).all(1)]
    mean, id_basis, exp_basis = (values[:FACE] for values in (neutral, identity, expression))
    for loop in _eye_holes(triangles, neutral, release.keypoints):
        patch, operator = close_hole(loop, len(mean), EYE_RING)
        triangles = np.concatenate([triangles, patch])
        mean, id_basis, exp_basis = (
            np.concatenate([v, (operator @ v.reshape(len(v), -1)).reshape(-1, *v.shape[1:])])
            for v in (mean, id_basis, exp_basis)
        )
    centre = mean.mean(0)

    def part(vertices: np.ndarray, bone: str) -> Part:
        number = np.full(VERTICES, -1, np.int32)
        number[vertices] = np.arange(len(vertices))
        own = number[release.triangles]
        return Part(
            (neutral[vertices] - centre).astype(np.float32),
            identity[vertices].astype(np.float32),
            expression[vertices].astype(np.float32),
            own[(own >= 0).all(1)],
            bone,
        )

    everything = np.arange(VERTICES)
    upper_gums, lower_gums = _gums(release)
    parts = {
        "upper_teeth": part(everything[UPPER_TEETH], "skull"),
        "lower_teeth": part(everything[LOWER_TEETH], "jaw"),
        "upper_gums": part(upper_gums, "skull"),
        "lower_gums": part(lower_gums, "jaw"),
        **{name: part(everything[where], "skull") for name, where in EYEBALLS.items()},
    }
    arrays = {
        "mean": mean - centre,
        "id_basis": id_basis,
        "exp_basis": exp_basis,
        "triangles": triangles.astype(np.int32),
        "keypoints": release.keypoints.astype(np.int32),
    }
    return arrays, parts


def _reference_points(landmarks: np.ndarray) -> np.ndarray:
    """(5, 3) points of :func:`five_points`, in space."""
    return np.column_stack([five_points(landmarks), five_points(landmarks[:, [2, 1]])[:, 0]])


def _eye_holes(triangles: np.ndarray, neutral: np.ndarray, keypoints: np.ndarray) -> list[np.ndarray]:
    """The two boundary loops around the keypoints of the eyes."""
    loops = boundary_loops(triangles)
    eyes = [neutral[keypoints[points]].mean(0) for points in (slice(36, 42), slice(42, 48))]
    return [min(loops, key=lambda loop: np.linalg.norm(neutral[loop].mean(0) - eye)) for eye in eyes]


def _gums(release: Release) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the upper gum, which no opening of the jaw moves, and of the lower, which moves as its teeth do."""
    gums = np.arange(VERTICES)[GUMS]
    if "jawOpen" not in release.names:
        raise InputError("the ICT-FaceKit release has no jawOpen shape")
    open_jaw = release.expression[release.names.index("jawOpen")]
    teeth = release.neutral[LOWER_TEETH]
    scale, rotation, translation = similarity(teeth, teeth + open_jaw[LOWER_TEETH])
    follows = scale * release.neutral[gums] @ rotation + translation - release.neutral[gums]
    still = np.linalg.norm(open_jaw[gums], axis=1) < _RIGID
    with_jaw = np.linalg.norm(open_jaw[gums] - follows, axis=1) < _RIGID
    return gums[still & ~with_jaw], gums[with_jaw]
