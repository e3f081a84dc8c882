"""Alignment, subdivision, control mesh and UV, and the face model that ships."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from scipy.spatial.transform import Rotation

from talkedit import resources
from talkedit.editor import load_face_model
from talkedit.errors import InputError
from talkedit.facemodel.align import similarity
from talkedit.facemodel.control_mesh import EYE_FOLLOW, SKIRT_FADE, ControlMesh, control_mesh, refine
from talkedit.facemodel.model import FaceModel, load_open_model
from talkedit.facemodel.subdivide import subdivide
from talkedit.facemodel.uv import signed_areas, unwrap
from talkedit.track.topology import FACE_OVAL, INNER_LIPS, LEFT_EYE, RIGHT_EYE, tessellation

# -- alignment -----------------------------------------------------------------------------------------------------


@given(
    st.integers(0, 10_000), st.floats(0.01, 100), st.lists(st.floats(-50, 50), min_size=3, max_size=3), st.booleans()
)
def test_similarity_recovers_a_known_transform(seed: int, scale: float, shift: list[float], weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    source = rng.normal(size=(12, 3))
    rotation = Rotation.random(random_state=seed).as_matrix()
    weights = rng.uniform(0.1, 1, 12) if weighted else None
    got_scale, got_rotation, got_shift = similarity(source, scale * source @ rotation + shift, weights)
    assert got_scale == pytest.approx(scale, rel=1e-9)
    np.testing.assert_allclose(got_rotation, rotation, atol=1e-9)
    np.testing.assert_allclose(got_shift, shift, atol=1e-8 * (1 + scale))


def test_similarity_never_mirrors() -> None:
    source = np.random.default_rng(0).normal(size=(10, 3))
    _, rotation, _ = similarity(source, source * [1, 1, -1])
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_points_without_weight_do_not_count() -> None:
    rng = np.random.default_rng(1)
    source = rng.normal(size=(10, 3))
    target = 2 * source + 1
    target[7:] = rng.normal(size=(3, 3))
    scale, rotation, shift = similarity(source, target, np.r_[np.ones(7), np.zeros(3)])
    assert scale == pytest.approx(2)
    np.testing.assert_allclose(rotation, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(shift, 1, atol=1e-9)


def test_similarity_of_a_batch_is_that_of_each() -> None:
    rng = np.random.default_rng(2)
    source, target = rng.normal(size=(9, 3)), rng.normal(size=(4, 9, 3))
    together = similarity(source, target)
    for i in range(4):
        for one, many in zip(similarity(source, target[i]), together, strict=True):
            np.testing.assert_allclose(many[i], one, atol=1e-12)


# -- subdivision ---------------------------------------------------------------------------------------------------


def lattice(n: int) -> tuple[np.ndarray, np.ndarray]:
    """(n², 2) points of a triangular lattice (valence 6 inside) and its triangles."""
    j, i = np.mgrid[0:n, 0:n]
    points = np.stack([(i + 0.5 * j).ravel(), (np.sqrt(0.75) * j).ravel()], 1)
    k = np.arange(n * n).reshape(n, n)
    a, b, c, d = k[:-1, :-1].ravel(), k[:-1, 1:].ravel(), k[1:, :-1].ravel(), k[1:, 1:].ravel()
    return points, np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])


def icosahedron() -> tuple[np.ndarray, np.ndarray]:
    from scipy.spatial import ConvexHull

    g = (1 + 5**0.5) / 2
    points = np.array([np.roll([0, y, z * g], r) for r in range(3) for y in (-1, 1) for z in (-1, 1)])
    triangles = ConvexHull(points).simplices
    out = np.linalg.det(points[triangles]) > 0
    triangles[~out] = triangles[~out][:, ::-1]
    return points, triangles


def directed(triangles: np.ndarray) -> Counter:
    return Counter((t[i], t[(i + 1) % 3]) for t in triangles.tolist() for i in range(3))


def operator_checks(operator, count: int) -> None:
    np.testing.assert_allclose(np.asarray(operator.sum(1)).ravel(), 1, atol=1e-12)
    assert abs(operator[:count] - np.eye(count)).max() == 0


@pytest.mark.parametrize("mesh", [lattice(7), icosahedron()], ids=["lattice", "icosahedron"])
def test_operator_keeps_points_and_sums_to_one(mesh: tuple[np.ndarray, np.ndarray]) -> None:
    points, triangles = mesh
    operator, fine, _ = subdivide(triangles, len(points))
    operator_checks(operator, len(points))
    edges = {tuple(sorted(e)) for e in directed(triangles)}
    assert operator.shape == (len(points) + len(edges), len(points))
    assert len(fine) == 4 * len(triangles)
    assert max(directed(fine).values()) == 1
    # Each new vertex lies on the edge that its row says.
    assert set(np.unique(fine)) == set(range(operator.shape[0]))


def test_flat_meshes_stay_flat_and_their_area_is_kept() -> None:
    points, triangles = lattice(6)
    points = np.c_[points, points @ [0.3, -0.7] + 2]
    operator, fine, _ = subdivide(triangles, len(points), corners={0, 5, 30, 35})
    new = operator @ points
    np.testing.assert_allclose(new[:, 2], new[:, :2] @ [0.3, -0.7] + 2, atol=1e-12)
    areas = signed_areas(new[:, :2], fine)
    assert (areas > 0).all()
    assert areas.sum() == pytest.approx(signed_areas(points[:, :2], triangles).sum(), rel=1e-12)


def test_linear_functions_are_exact_everywhere_and_cubics_inside() -> None:
    points, triangles = lattice(9)
    operator, _, _ = subdivide(triangles, len(points), corners={0, 8, 72, 80})
    where = operator @ points
    # On the lattice every new vertex is an edge's midpoint, also at the border (for its corners see below).
    edges = sorted({tuple(sorted(e)) for e in directed(triangles)})
    inside = np.array([not {0, 8, 72, 80} & set(e) for e in edges])
    expected = np.array([points[list(e)].mean(0) for e in edges])
    np.testing.assert_allclose(where[len(points) :][inside], expected[inside], atol=1e-12)
    middle = np.linalg.norm(where - where.mean(0), axis=1) < 1.9  # stencils that do not touch the border
    assert middle[len(points) :].sum() > 10

    def error(function) -> float:
        return np.abs(operator @ function(*points.T) - function(*where.T))[middle].max()

    assert error(lambda x, y: 3 * x - 2 * y + 1) < 1e-12
    assert error(lambda x, y: x**3 - 2 * x**2 * y + 0.5 * y**3 + x * y) < 1e-10  # precision of the butterfly
    assert error(lambda x, y: x**4) > 1e-3  # and no further: the test can tell


def test_border_next_to_a_corner_gets_the_midpoint() -> None:
    points, triangles = lattice(5)
    operator, _, _ = subdivide(triangles, len(points), corners={0, 4, 20, 24})
    edges = sorted({tuple(sorted(e)) for e in directed(triangles)})
    new = operator[len(points) + edges.index((0, 1))] @ points
    np.testing.assert_allclose(np.ravel(new), [0.5, 0], atol=1e-12)


def test_closed_mesh_is_treated_alike_everywhere() -> None:
    points, triangles = icosahedron()
    operator, fine, _ = subdivide(triangles, len(points))
    radius = np.linalg.norm(operator @ points, axis=1)
    np.testing.assert_allclose(radius[12:], radius[12], rtol=1e-12)
    midpoint = np.linalg.norm(points[triangles[0, :2]].mean(0))
    assert midpoint < radius[12] < 1.05 * radius[0]  # bulges towards the sphere
    assert operator.shape[0] - len(fine) * 3 // 2 + len(fine) == 2  # Euler


def test_nothing_is_interpolated_across_a_crease() -> None:
    points, triangles = lattice(8)
    row = np.repeat(np.arange(8), 8)
    crease = {(24 + i, 24 + i + 1) for i in range(7)}  # along row 3
    operator, fine, finer = subdivide(triangles, len(points), crease, {24, 31})
    operator_checks(operator, len(points))
    uses = operator.toarray() != 0
    below, above = uses[:, row < 3].any(1), uses[:, row > 3].any(1)
    assert not (below & above).any()
    # Without the crease it is.
    plain = subdivide(triangles, len(points))[0].toarray() != 0
    assert (plain[:, row < 3].any(1) & plain[:, row > 3].any(1)).any()
    # New vertices on the crease use the crease alone, and the finer crease is twice as many edges.
    on = np.unique([v for e in finer for v in e])
    assert len(finer) == 14 and not uses[on][:, row != 3].any()
    # Two levels: the finer crease still parts the mesh.
    second, _, _ = subdivide(fine, operator.shape[0], finer, {24, 31})
    uses = (second @ operator).toarray() != 0
    assert not (uses[:, row < 3].any(1) & uses[:, row > 3].any(1)).any()


# -- control mesh --------------------------------------------------------------------------------------------------


@cache
def mesh() -> ControlMesh:
    return control_mesh()


def test_control_mesh_is_consistently_oriented() -> None:
    edges = directed(mesh().triangles)
    assert max(edges.values()) == 1
    # Only the outer ring of the skirt and the mouth are open.
    border = {v for a, b in edges if (b, a) not in edges for v in (a, b)}
    outer = 468 + 2 * len(FACE_OVAL)
    assert border == set(INNER_LIPS.tolist()) | set(range(outer, outer + len(FACE_OVAL)))
    assert set(np.unique(mesh().triangles)) == set(range(mesh().position.shape[0]))


def test_landmarks_are_the_first_control_points() -> None:
    for operator in (mesh().position, mesh().displacement):
        assert abs(operator[:468] - np.eye(468)).max() == 0
    np.testing.assert_allclose(mesh().position.sum(1), 1, atol=1e-12)
    assert (mesh().skirt[:468] == 1).all() and not mesh().eyeball[:468].any()


def test_skirt_fades_to_nothing() -> None:
    n = len(FACE_OVAL)
    for ring, fade in enumerate(SKIRT_FADE):
        rows = slice(468 + ring * n, 468 + (ring + 1) * n)
        np.testing.assert_allclose(mesh().displacement[rows].toarray()[np.arange(n), FACE_OVAL], fade)
        np.testing.assert_allclose(np.asarray(mesh().displacement[rows].sum(1)).ravel(), fade)
        np.testing.assert_allclose(mesh().skirt[rows], fade)
    assert mesh().displacement[468 + 2 * n : 468 + 3 * n].nnz == 0


def test_eyeballs_keep_still() -> None:
    eyes = np.flatnonzero(mesh().eyeball)
    assert len(eyes) == 2 * 17
    push = np.asarray(mesh().displacement[eyes].sum(1)).ravel()
    assert np.sort(push)[:2].tolist() == [0, 0]
    np.testing.assert_allclose(np.sort(push)[2:], EYE_FOLLOW)
    centres = eyes[push == 0]
    for centre, lids in zip(centres, (RIGHT_EYE, LEFT_EYE), strict=True):
        row = mesh().position[centre].toarray().ravel()
        assert set(np.flatnonzero(row)) == set(lids.tolist())
        np.testing.assert_allclose(row[lids], 1 / 16)


def test_refined_control_mesh() -> None:
    operator, triangles = refine(mesh(), 1)
    count = mesh().position.shape[0]
    operator_checks(operator, count)
    assert len(triangles) == 4 * len(mesh().triangles) and max(directed(triangles).values()) == 1
    # Lids are creases: no vertex outside them listens to an eyeball, and none inside to the skin.
    eye = mesh().eyeball.astype(float)
    lids = np.zeros(count)
    lids[np.r_[RIGHT_EYE, LEFT_EYE]] = 1
    uses = abs(operator)
    assert not ((uses @ eye > 0) & (uses @ (1 - eye - lids) > 0)).any()


# -- the model that ships ------------------------------------------------------------------------------------------


@cache
def model() -> FaceModel:
    return load_face_model("open")


def test_shipped_model_has_the_documented_sizes() -> None:
    m = model()
    v = len(m.mean)
    assert v >= 2000 and m.mean.shape == (v, 3)
    assert m.id_basis.shape == (v, 3, 80) and m.exp_basis.shape == (v, 3, 64) and m.tex_basis.shape == (v, 3, 80)
    assert m.tex_mean.shape == (v, 3) and m.tex_mean.min() > 0 and m.tex_mean.max() < 1
    assert m.uv.shape == (v, 2) and m.uv.min() >= 0 and m.uv.max() <= 1
    assert m.keypoints.shape == (68,) and len(set(m.keypoints.tolist())) == 68
    assert m.landmark_vertices.tolist() == list(range(468))
    assert m.position.shape == m.displacement.shape == (v, 468)
    assert m.triangles.min() == 0 and m.triangles.max() == v - 1
    assert m.skirt.shape == m.eyeball.shape == (v,) and m.skirt.min() == 0 and m.skirt.max() == 1
    assert all(w.shape == (v,) and w.min() >= 0 and w.max() <= 1 for w in m.regions.values()) and "lips" in m.regions
    for array in (m.mean, m.id_basis, m.exp_basis, m.tex_mean, m.tex_basis, m.uv):
        assert array.dtype == np.float32 and np.isfinite(array).all()


def test_shipped_operators_are_those_of_the_control_mesh() -> None:
    operator, triangles = refine(mesh())
    np.testing.assert_array_equal(triangles, model().triangles)
    assert abs(operator @ mesh().position - model().position).max() < 1e-5
    assert abs(operator @ mesh().displacement - model().displacement).max() < 1e-5


def test_mean_is_centred_and_a_face_of_decimetres() -> None:
    m = model().mean[:468]
    assert np.abs(m.mean(0)).max() < 0.1
    assert 0.7 < np.linalg.norm(m[33] - m[263]) < 1.1  # outer eye corners, about 9 cm
    assert m[10, 1] > m[168, 1] > m[1, 1] > m[13, 1] > m[152, 1]  # forehead, eyes, nose, lips, chin
    assert np.argmax(m[:, 2]) in (1, 4)  # the nose's tip comes first
    a, b, c = (model().mean[model().triangles[:, i]] for i in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).mean() > 0.98


@pytest.mark.parametrize("name", ["id_basis", "exp_basis"])
def test_bases_are_ordered_orthogonal_and_scaled_to_unit_variance(name: str) -> None:
    basis = getattr(model(), name)[:468].reshape(468 * 3, -1).astype(np.float64)
    gram = basis.T @ basis
    length = np.sqrt(np.diag(gram))
    assert (np.diff(length) < 0.01 * length[0]).all() and length[-1] > 0
    assert np.abs(gram / np.outer(length, length) - np.eye(len(gram))).max() < 0.02
    # A face drawn with unit-variance coefficients differs from the mean by millimetres (0.01 = 1 mm), not centimetres.
    draws = np.random.default_rng(0).normal(size=(50, basis.shape[1])) @ basis.T
    rms = np.linalg.norm(draws.reshape(50, 468, 3), axis=2).mean()
    assert 0.01 < rms < 0.1


def test_equation_1_by_hand() -> None:
    m = model()
    rng = np.random.default_rng(3)
    a, b, t = rng.normal(size=80), rng.normal(size=64), rng.normal(size=80)
    got, colour = m.vertices(a, b), m.texture(t)
    for v in (0, 13, 467, 5000, len(m.mean) - 1):
        for k in range(3):
            s = m.mean[v, k] + sum(float(x) * y for x, y in zip(m.id_basis[v, k], a, strict=True))
            s += sum(float(x) * y for x, y in zip(m.exp_basis[v, k], b, strict=True))
            assert got[v, k] == pytest.approx(s, abs=1e-5)
            c = m.tex_mean[v, k] + sum(float(x) * y for x, y in zip(m.tex_basis[v, k], t, strict=True))
            assert colour[v, k] == pytest.approx(c, abs=1e-5)
    np.testing.assert_array_equal(m.vertices(), m.mean)
    np.testing.assert_array_equal(m.texture(), m.tex_mean)
    np.testing.assert_allclose(m.vertices(a) - m.mean + m.vertices(None, b), got, atol=1e-6)


def test_a_mesh_of_tracked_landmarks_agrees_with_the_model() -> None:
    m = model()
    a = np.random.default_rng(4).normal(size=80)
    face = m.vertices(a)
    np.testing.assert_allclose(m.position @ face[:468], face, atol=2e-5)
    b = np.random.default_rng(5).normal(size=64)
    change = m.vertices(None, b) - m.mean
    np.testing.assert_allclose(m.displacement @ change[:468], change, atol=2e-5)


def test_expressions_leave_the_surroundings_alone() -> None:
    m = model()
    outside = m.skirt == 0
    assert outside.any() and np.abs(m.exp_basis[outside]).max() < 0.05 * np.abs(m.exp_basis).max()
    outer = 468 + 2 * len(FACE_OVAL)
    assert (m.exp_basis[outer : outer + len(FACE_OVAL)] == 0).all()
    centres = np.flatnonzero(mesh().eyeball)[[16, 33]]
    assert (m.exp_basis[centres] == 0).all()


def test_uv_turns_no_face_triangle_over_but_two() -> None:
    m = model()
    areas = signed_areas(m.uv, m.triangles)
    areas = areas * np.sign(np.median(areas))
    face = ((m.skirt == 1) & ~m.eyeball)[m.triangles].all(1)
    assert face.sum() > 13_000
    # Two mirror-image slivers under the nose's middle, together less than half a texel of 256 x 256.
    flipped = face & (areas <= 0)
    assert flipped.sum() <= 2
    assert -areas[flipped].sum() / 2 * 256**2 < 0.5
    # The rest that turns over lies on the skirt, which carries no texture.
    assert (m.skirt[m.triangles[(areas <= 0) & ~flipped]].max(1) < 0.97).all()
    assert (areas <= 0).sum() <= 26


def test_uv_is_upright_and_as_the_picture() -> None:
    uv = model().uv[:468]
    assert uv[33, 0] < 0.5 < uv[263, 0]  # the person's right eye is left in the picture
    assert uv[10, 1] < uv[168, 1] < uv[1, 1] < uv[13, 1] < uv[152, 1]
    # Left and right alike.
    np.testing.assert_allclose(uv[33] + uv[263] * [1, -1], [1, 0], atol=0.01)


def test_unwrap_of_the_mean_face_keeps_orientation() -> None:
    uv = unwrap(model().mean[:468], tessellation(), margin=0.06)
    assert (signed_areas(uv, tessellation()) < 0).all()
    np.testing.assert_allclose([uv.min(0), uv.max(0)], [[0.06, 0.06], [0.94, 0.94]], atol=1e-5)


# -- files ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> Path:
    return resources.find("bfm", "open_face.safetensors")


@pytest.mark.parametrize("size", [0, 7, 5000, 1_000_000])
def test_cut_off_file_is_refused(shipped: Path, tmp_path: Path, size: int) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(shipped.read_bytes()[:size])
    with pytest.raises(InputError, match=r"cut\.safetensors is not an open face model"):
        load_open_model(path)


def test_garbage_and_other_models_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "noise.safetensors"
    path.write_bytes(np.random.default_rng(0).bytes(4096))
    with pytest.raises(InputError, match="noise"):
        load_open_model(path)
    with pytest.raises(InputError, match="linear_editor"):
        load_open_model(resources.find("checkpoints", "linear_editor.safetensors"))


@settings(deadline=None, max_examples=20)
@given(st.text(st.characters(codec="ascii", exclude_characters="/\0"), min_size=1, max_size=12))
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        load_face_model(name + "?")
    with pytest.raises(InputError, match="does not exist"):
        load_face_model(f"/nowhere/{name}.safetensors")


@pytest.mark.parametrize("damage", ["no uv", "no mean", "short mean"])
def test_files_that_lack_a_part_are_refused(shipped: Path, tmp_path: Path, damage: str) -> None:
    tensors = load_file(shipped)
    if damage == "short mean":
        tensors["mean"] = np.ascontiguousarray(tensors["mean"][:400])
    else:
        del tensors[damage[3:]]
    save_file(tensors, tmp_path / "part.safetensors")
    with pytest.raises(InputError):
        load_open_model(tmp_path / "part.safetensors")
