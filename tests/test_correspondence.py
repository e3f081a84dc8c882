"""Closest points, borders, registration and the dense correspondence, on meshes whose answer is known."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from talkedit.errors import InputError
from talkedit.facemodel.boundary import boundary_loop, boundary_loops, close_hole
from talkedit.facemodel.closest import closest_points, interpolation
from talkedit.facemodel.correspondence import ANCHORS, correspond
from talkedit.facemodel.load import load_template
from talkedit.facemodel.model import FaceModel, load_model, save_model
from talkedit.facemodel.register import thin_plate
from talkedit.facemodel.template import on_template
from talkedit.track import topology as topo


@cache
def template() -> FaceModel:
    return load_template()


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """A flat square of (size + 1)² vertices with the middle cell left out."""
    x, y = np.meshgrid(np.arange(size + 1.0), np.arange(size + 1.0))
    vertices = np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)])
    triangles = []
    for r in range(size):
        for c in range(size):
            a, b = r * (size + 1) + c, (r + 1) * (size + 1) + c
            if (r, c) != (size // 2, size // 2):
                triangles += [(a, a + 1, b), (a + 1, b + 1, b)]
    return vertices, np.array(triangles, np.int32)


def test_closest_points_are_those_of_a_dense_sampling() -> None:
    rng = np.random.default_rng(0)
    vertices, triangles = grid(5)
    vertices[:, 2] = np.sin(vertices[:, 0]) + 0.5 * vertices[:, 1]
    points = rng.uniform(-1, 6, (200, 3))
    triangle, weights, distance = closest_points(points, vertices, triangles)
    assert weights.min() >= 0 and np.allclose(weights.sum(1), 1)
    found = interpolation(triangle, weights, triangles, len(vertices)) @ vertices
    np.testing.assert_allclose(np.linalg.norm(found - points, axis=1), distance, atol=1e-5)
    share = rng.dirichlet([1, 1, 1], 4000)
    samples = (share @ vertices[triangles]).reshape(-1, 3)
    nearest = np.array([np.linalg.norm(samples - p, axis=1).min() for p in points])
    assert (distance <= nearest + 1e-9).all() and (nearest - distance).max() < 0.06


def test_closest_points_prefer_triangles_that_face_the_same_way() -> None:
    vertices, triangles = grid(5)
    both = np.concatenate([vertices, vertices + np.array([0, 0, 0.1])])
    two = np.concatenate([triangles, triangles[:, ::-1] + len(vertices)])  # the upper sheet looks down
    facing = np.repeat([[0, 0, 1.0], [0, 0, -1.0]], len(triangles), axis=0)
    point, up = np.array([[1.2, 0.7, 0.08]]), np.array([[0, 0, 1.0]])
    assert closest_points(point, both, two)[0][0] >= len(triangles)
    triangle, _, distance = closest_points(point, both, two, up, facing)
    assert triangle[0] < len(triangles) and distance[0] == pytest.approx(0.08)


def test_boundaries_and_closing_a_hole() -> None:
    vertices, triangles = grid(5)
    outer, inner = boundary_loops(triangles)
    assert len(outer) == 20 and len(inner) == 4
    assert set(inner.tolist()) == set(boundary_loop(triangles, int(inner[2])).tolist())
    patch, operator = close_hole(inner, len(vertices), 0.5)
    closed = np.concatenate([triangles, patch])
    assert [len(loop) for loop in boundary_loops(closed)] == [20]
    new = operator @ vertices
    np.testing.assert_allclose(new[-1], vertices[inner].mean(0))
    a, b, c = (np.concatenate([vertices, new])[patch[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)[:, 2]
    assert (normals > 0).all() and normals.sum() / 2 == pytest.approx(1)  # the hole's area, nothing twice


@pytest.mark.parametrize("dimensions", [2, 3])
def test_thin_plate_meets_its_points_and_keeps_affine_maps(dimensions: int) -> None:
    rng = np.random.default_rng(1)
    source, points = rng.normal(size=(12, dimensions)), rng.normal(size=(30, dimensions))
    target = source + 0.1 * rng.normal(size=source.shape)
    np.testing.assert_allclose(thin_plate(source, target, source), target, atol=1e-9)
    matrix, shift = rng.normal(size=(dimensions, dimensions)), rng.normal(size=dimensions)
    np.testing.assert_allclose(thin_plate(source, source @ matrix + shift, points), points @ matrix + shift, atol=1e-8)


def bent(points: np.ndarray) -> np.ndarray:
    """Another person's face: turned, larger, and smoothly bent."""
    turn = np.array([[0.96, 0.0, 0.28], [0.0, 1.0, 0.0], [-0.28, 0.0, 0.96]])
    wave = 0.03 * np.sin(3 * points[:, [1, 2, 0]] + [0.3, 1.0, 2.0])
    return 1.3 * (points * [1.05, 0.97, 1.1] + wave) @ turn + [0.2, -0.1, 0.4]


def test_correspondence_of_a_bent_face_is_found() -> None:
    m = template()
    mean = bent(m.mean.astype(np.float64))
    found = correspond(mean, m.triangles, topo.IBUG68, m)
    marks, truth = found.landmarks @ mean, mean[:468]
    eye = np.linalg.norm(truth[33] - truth[263])
    error = 100 * np.linalg.norm(marks - truth, axis=1) / eye
    # Per cent of the outer-eye distance. On forehead and cheeks points may slide: nothing there holds them.
    drawn = np.concatenate([topo.INNER_LIPS, topo.OUTER_LIPS, topo.LEFT_EYE, topo.RIGHT_EYE])
    assert error.mean() < 0.5 and error[drawn].max() < 1 and error.max() < 4
    assert 100 * found.keypoint_errors(mean, topo.IBUG68)[ANCHORS].max() < 0.5
    face = m.skirt > 0.97
    assert np.abs(found.uv[: len(mean)][face] - m.uv[face]).mean() < 0.004
    # The trained maps' places, read back through the operator.
    np.testing.assert_allclose((found.on_template @ m.uv)[: len(mean)][face], found.uv[: len(mean)][face], atol=0.02)
    assert found.mouth_loop.shape == (20,) and len(set(found.mouth_loop.tolist())) == 20
    assert 100 * np.linalg.norm(mean[found.mouth_loop] - truth[topo.INNER_LIPS], axis=1).max() / eye < 4


def test_keypoints_are_found_from_the_others() -> None:
    m = template()
    mean = bent(m.mean.astype(np.float64))
    found = correspond(mean, m.triangles, topo.IBUG68, m, anchors=ANCHORS[::2])
    left_out = 100 * found.keypoint_errors(mean, topo.IBUG68)[ANCHORS[1::2]]
    assert left_out.mean() < 3 and left_out.max() < 8


def test_a_mesh_without_a_mouth_is_refused() -> None:
    m = template()
    loop = boundary_loop(m.triangles, int(topo.INNER_LIPS[0]))
    patch, operator = close_hole(loop, len(m.mean), 0.5)
    mean = np.concatenate([m.mean, operator @ m.mean])
    with pytest.raises(InputError, match="hole between the lips"):
        correspond(mean, np.concatenate([m.triangles, patch]), topo.IBUG68, m)


def test_operators_of_a_converted_face(tmp_path) -> None:
    m = template()
    mean = bent(m.mean.astype(np.float64))
    arrays = {"mean": mean, "id_basis": m.id_basis[..., :30], "exp_basis": m.exp_basis, "triangles": m.triangles,
              "keypoints": topo.IBUG68}  # fmt: skip
    made = on_template("other", arrays, m)
    marks = made.at_landmarks(made.mean)
    count = int(made.meta["vertices"])
    assert count == len(mean) and len(made.mean) > count
    np.testing.assert_allclose(made.mean[:count], mean, atol=1e-6)
    assert made.id_basis.shape[2] == 80 and not made.id_basis[..., 30:].any()
    # Turning, scaling and shifting the landmarks does the same to the mesh.
    assert np.abs(made.position.sum(1) - 1).max() < 1e-5
    turn = np.array([[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 1]])
    moved = made.position @ (100 * marks @ turn + [300, 200, 0])
    np.testing.assert_allclose(moved, 100 * (made.position @ marks) @ turn + [300, 200, 0], atol=2e-2)
    inside = (m.skirt > 0.97) & (np.linalg.norm(m.uv - m.uv[topo.FACE_OVAL].mean(0), axis=1) < 0.25)
    assert np.abs((made.position @ marks)[:count][inside] - mean[inside]).mean() < 0.004
    # Nothing moves where the mesh ends, and the landmarks move as they are told.
    rim = boundary_loops(made.triangles)[0]
    assert abs(made.displacement[rim]).max() < 1e-5 and made.skirt[rim].max() < 1e-3
    assert np.abs(made.landmarks @ made.displacement @ np.ones(468) - 1)[topo.OUTER_LIPS].max() < 0.02
    path = tmp_path / "other.safetensors"
    save_model(path, made)
    again = load_model(path)
    assert again.name == "other" and again.meta == made.meta
    for name in ("mean", "exp_basis", "uv", "triangles", "mouth_loop", "eyeball", "landmark_vertices"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))
    assert abs(again.position - made.position).max() == 0 and abs(again.landmarks - made.landmarks).max() == 0


def test_damaged_converted_files_are_refused(tmp_path) -> None:
    path = tmp_path / "x.safetensors"
    for content in (b"", b"\x08\0\0\0\0\0\0\0{}      ", b"not a model at all"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"x\.safetensors"):
            load_model(path)
