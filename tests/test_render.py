"""Rasterizers and interpolation against closed forms, finite differences and each other."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from talkedit.facemodel.camera import CropTransform, screen_points
from talkedit.facemodel.lighting import irradiance
from talkedit.render import (
    Renderer,
    available_backends,
    barycentric,
    choose_backend,
    interpolate,
    rasterize,
    render,
)
from talkedit.render.pytorch3d_backend import to_ndc

BACKENDS = [
    pytest.param("numba", marks=pytest.mark.skipif("numba" not in available_backends(), reason="no numba")),
    "torch",
    pytest.param("pytorch3d", marks=pytest.mark.skipif("pytorch3d" not in available_backends(), reason="no pytorch3d")),
]
EXACT = BACKENDS[:2]  # pytorch3d leaves out pixels that lie on an edge


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


@pytest.fixture(params=EXACT)
def exact(request):
    return request.param


def random_mesh(seed: int, triangles: int = 300, vertices: int = 150, size: float = 48) -> tuple:
    """A soup of triangles, many overlapping, some beyond the image."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(2, vertices, 3, generator=generator) * torch.tensor([size * 1.4, size * 1.4, 5.0]) - size * 0.2
    return points, torch.randint(0, vertices, (triangles, 3), generator=generator)


def sphere(rings: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit sphere (V, 3), y up, triangles counter-clockwise seen from outside."""
    polar, azimuth = np.meshgrid(np.linspace(0, np.pi, rings), np.arange(2 * rings) * np.pi / rings, indexing="ij")
    vertices = np.stack([np.sin(polar) * np.cos(azimuth), np.cos(polar), np.sin(polar) * np.sin(azimuth)], -1)
    index = np.arange(rings * 2 * rings).reshape(rings, 2 * rings)
    a, b = index[:-1], np.roll(index, -1, 1)[:-1]
    c, d = index[1:], np.roll(index, -1, 1)[1:]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    return torch.from_numpy(vertices.reshape(-1, 3)).float(), torch.from_numpy(faces)


def sphere_on_screen(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    vertices, faces = sphere()
    return screen_points(vertices, torch.tensor([[0.3, 0.2, 0.1]]), torch.zeros(1, 3)) * torch.tensor(
        [size / 224, size / 224, 1]
    ), faces


# --- which pixels, which triangle ---


def test_one_triangle_covers_the_right_pixels_with_the_right_weights(backend):
    points = torch.tensor([[[1.5, 0.5, 2.0], [9.5, 1.0, 4.0], [3.0, 7.5, 8.0]]])
    found = rasterize(points, torch.tensor([[0, 1, 2]]), 10, 12, backend)
    assert found.triangle.shape == (1, 10, 12) and found.triangle.dtype == torch.int64
    matrix = np.vstack([points[0, :, :2].T.numpy(), np.ones(3)])  # columns: corners; pixel = matrix @ weights
    for row in range(10):
        for column in range(12):
            weights = np.linalg.solve(matrix, [column, row, 1])
            assert (found.triangle[0, row, column] == 0) == (weights.min() >= 0), (row, column)
            if weights.min() >= 0:
                np.testing.assert_allclose(found.barycentric[0, row, column], weights, atol=1e-6)
                assert float(found.depth[0, row, column]) == pytest.approx(weights @ [2, 4, 8], rel=1e-6)
    outside = ~found.mask
    assert (found.barycentric[outside] == 0).all() and torch.isposinf(found.depth[outside]).all()


def test_pixels_on_edges_belong_to_the_triangle_and_to_the_lowest_index(exact):
    points = torch.tensor([[[1.0, 1, 1], [5, 1, 1], [5, 5, 1], [1, 5, 1]]])
    found = rasterize(points, torch.tensor([[0, 1, 2], [0, 2, 3]]), 7, 7, exact).triangle[0]
    expected = torch.full((7, 7), -1)
    for row in range(1, 6):
        for column in range(1, 6):
            expected[row, column] = 0 if column >= row else 1  # the shared diagonal goes to triangle 0
    assert torch.equal(found, expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_no_pixel_falls_between_neighbours(seed):
    """A fan around a point inside a square covers every pixel of the square, however the edges run."""
    rng = np.random.default_rng(seed)
    ring = np.array([[2, 2], [20, 2], [20, 20], [2, 20]], float)
    middle = rng.uniform(3, 19, (1, 2)) if seed % 2 else rng.integers(3, 19, (1, 2))
    points = torch.from_numpy(np.column_stack([np.vstack([ring, middle]), np.ones(5)])).float()[None]
    fan = torch.tensor([[0, 1, 4], [1, 2, 4], [3, 2, 4], [4, 0, 3]])
    for name in available_backends()[:2]:
        assert rasterize(points, fan, 23, 23, name).mask.sum() == 19 * 19


def test_the_nearest_triangle_wins_whatever_the_order(backend):
    square = torch.tensor([[-1.0, -1], [30, -1], [-1, 30]])
    points = torch.cat([torch.cat([square, torch.full((3, 1), depth)], 1) for depth in (5.0, -2.0, 3.0)])[None]
    triangles = torch.tensor([[0, 1, 2], [3, 4, 5], [6, 7, 8]])
    found = rasterize(points, triangles, 8, 8, backend)
    assert (found.triangle == 1).all() and (found.depth == -2).all()
    assert (rasterize(points, triangles[[0, 2]], 8, 8, backend).triangle == 1).all()


def test_crossing_triangles_are_split_where_their_depths_meet(backend):
    points = torch.tensor([[[-20.0, -20, 0], [-20, 60, 0], [60, 20, 8], [60, -20, 0], [60, 60, 0], [-20, 20, 8]]])
    found = rasterize(points, torch.tensor([[0, 1, 2], [3, 4, 5]]), 41, 41, backend).triangle[0]
    assert (found[20, :20] == 0).all() and (found[20, 21:] == 1).all()


def test_back_faces_can_be_left_out(backend):
    points = torch.tensor([[[1.0, 8, 1], [8, 8, 1], [4, 1, 1]]])  # counter-clockwise as seen
    ccw, cw = torch.tensor([[0, 1, 2]]), torch.tensor([[0, 2, 1]])
    both = rasterize(points, ccw, 10, 10, backend)
    assert torch.equal(both.triangle, rasterize(points, cw, 10, 10, backend).triangle)
    assert torch.equal(both.triangle, rasterize(points, ccw, 10, 10, backend, backface=False).triangle)
    assert not rasterize(points, cw, 10, 10, backend, backface=False).mask.any()


def test_useless_triangles_do_no_harm(backend):
    nan, inf = math.nan, math.inf
    points = torch.tensor(
        [
            [
                [1.0, 1, 1],
                [9, 1, 1],
                [1, 9, 1],
                [nan, 1, 1],
                [inf, 1, 1],
                [5, 5, nan],
                [3, 3, 1],
                [1e30, 1e30, 1],
                [-400, 2, 0],
                [-300, 2, 0],
                [-300, 9, 0],
                [400, 2, 0],
                [3e38, -3e38, 0],
                [5, 5, -inf],
            ]
        ]
    )
    useless = [[3, 1, 2], [4, 1, 2], [0, 1, 5], [0, 1, 13], [0, 0, 1], [0, 6, 6], [8, 9, 10], [11, 11, 11]]
    assert not rasterize(points, torch.tensor(useless), 10, 10, backend).mask.any()
    huge = rasterize(points, torch.tensor([*useless, [0, 1, 7], [0, 1, 12]]), 10, 10, backend)
    assert huge.triangle.max() < 10
    mixed = rasterize(points, torch.tensor([*useless, [0, 1, 2]]), 10, 10, backend)
    alone = rasterize(points, torch.tensor([[0, 1, 2]]), 10, 10, backend)
    assert torch.equal(mixed.mask, alone.mask) and mixed.mask.any()
    values = interpolate(mixed, points, torch.tensor([*useless, [0, 1, 2]]), torch.ones(14, 1))
    torch.testing.assert_close(values[..., 0], alone.mask.float())


def test_empty_meshes_and_batches(backend):
    none = torch.zeros(0, 3, dtype=torch.int64)
    assert not rasterize(torch.zeros(2, 4, 3), none, 5, 6, backend).mask.any()
    assert rasterize(torch.zeros(0, 4, 3), none, 5, 6, backend).triangle.shape == (0, 5, 6)


def test_a_batch_is_its_meshes_one_by_one(backend):
    points, triangles = random_mesh(5)
    together = rasterize(points, triangles, 40, 52, backend)
    for index in range(2):
        alone = rasterize(points[index : index + 1], triangles, 40, 52, backend)
        assert torch.equal(together.triangle[index], alone.triangle[0])
        assert torch.equal(together.depth[index], alone.depth[0])


def test_wrong_input_is_refused():
    points, triangles = torch.zeros(1, 3, 3), torch.tensor([[0, 1, 2]])
    with pytest.raises(ValueError, match="backend"):
        rasterize(points, triangles, 4, 4, "none")
    with pytest.raises(ValueError, match="points"):
        rasterize(points[0], triangles, 4, 4)
    with pytest.raises(ValueError, match="vertices outside"):
        rasterize(points, triangles + 1, 4, 4)
    with pytest.raises(ValueError, match="vertices outside"):
        rasterize(points, triangles - 1, 4, 4)
    with pytest.raises(ValueError, match="integers"):
        rasterize(points, triangles.float(), 4, 4)
    with pytest.raises(ValueError, match="pixels"):
        rasterize(points, triangles, 0, 4)
    found = rasterize(points, triangles, 4, 4)
    with pytest.raises(ValueError, match="attributes"):
        interpolate(found, points, triangles, torch.zeros(4, 2))
    with pytest.raises(ValueError, match="backend"):
        interpolate(found, points, triangles, torch.zeros(3, 2), backend="none")


# --- backends against each other ---


@pytest.mark.skipif("numba" not in available_backends(), reason="no numba")
@pytest.mark.parametrize("backface", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_numba_and_torch_agree(seed, backface):
    points, triangles = random_mesh(seed) if seed else sphere_on_screen(160)
    size = 48 if seed else 160
    fast = rasterize(points, triangles, size, size, "numba", backface)
    plain = rasterize(points, triangles, size, size, "torch", backface)
    same = fast.triangle == plain.triangle
    assert same.float().mean() >= 0.995
    both = same & fast.mask
    assert both.any()
    torch.testing.assert_close(fast.barycentric[both], plain.barycentric[both], atol=1e-4, rtol=0)
    torch.testing.assert_close(fast.depth[both], plain.depth[both], atol=1e-4, rtol=1e-5)


def test_pytorch3d_agrees():
    pytest.importorskip("pytorch3d")
    points, triangles = sphere_on_screen(160)
    other = rasterize(points, triangles, 150, 160, "pytorch3d")
    plain = rasterize(points, triangles, 150, 160, "torch")
    same = other.triangle == plain.triangle
    assert same.float().mean() >= 0.995
    torch.testing.assert_close(other.barycentric[same], plain.barycentric[same], atol=1e-4, rtol=0)


def test_pytorch3d_coordinates():
    """Corner pixel centres lie half a pixel inside: +x left, +y up, shorter side -1..1."""
    points = torch.tensor([[0.0, 0.0, 4.0], [199.0, 99.0, 6.0], [-0.5, -0.5, 5.0]])
    expected = torch.tensor([[1.99, 0.99, 1.0], [-1.99, -0.99, 3.0], [2.0, 1.0, 2.0]])
    torch.testing.assert_close(to_ndc(points, 100, 200), expected)


@pytest.mark.skipif("pytorch3d" in available_backends(), reason="pytorch3d is installed")
def test_asking_for_a_missing_backend_says_so():
    with pytest.raises(ImportError, match="pytorch3d, which is not installed"):
        rasterize(torch.zeros(1, 3, 3), torch.tensor([[0, 1, 2]]), 4, 4, "pytorch3d")


def test_automatic_choice(monkeypatch):
    assert choose_backend("cuda") == "torch"
    assert choose_backend("cpu") == ("numba" if "numba" in available_backends() else "torch")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert available_backends() == ("torch",) and choose_backend("cpu") == "torch"


def test_the_same_input_gives_the_same_bits(exact):
    points, triangles = random_mesh(9)
    first, second = (rasterize(points, triangles, 48, 48, exact) for _ in range(2))
    assert torch.equal(first.triangle, second.triangle)
    assert torch.equal(first.barycentric, second.barycentric) and torch.equal(first.depth, second.depth)


def test_torch_in_small_chunks_is_the_same(monkeypatch):
    points, triangles = random_mesh(10)
    whole = rasterize(points, triangles, 48, 48, "torch")
    monkeypatch.setattr("talkedit.render.torch_backend._CANDIDATES", 1000)
    pieces = rasterize(points, triangles, 48, 48, "torch")
    assert torch.equal(whole.triangle, pieces.triangle)


# --- attribute maps ---


def test_attribute_map_reproduces_positions_and_the_rasterizer():
    numba_backend = pytest.importorskip("talkedit.render.numba_backend")
    points, triangles = sphere_on_screen(160)
    found = rasterize(points, triangles, 160, 160, backface=False)
    values, hit = numba_backend.attribute_map(
        points[0].numpy(), triangles.int().numpy(), points[0, :, :2].numpy(), 160, 160, backface=False
    )
    assert values.dtype == np.float32 and hit.dtype == np.int32
    assert np.array_equal(hit, found.triangle[0])
    rows, columns = np.nonzero(hit >= 0)
    np.testing.assert_allclose(values[rows, columns], np.column_stack([columns, rows]), atol=2e-5)
    assert (values[hit < 0] == 0).all()


def test_attribute_map_of_a_rectangle_is_a_cut_of_the_whole():
    numba_backend = pytest.importorskip("talkedit.render.numba_backend")
    points, triangles = random_mesh(11)
    attributes = np.random.default_rng(0).random((150, 5), dtype=np.float32)
    mesh = (points[0].numpy(), triangles.int().numpy(), attributes)
    values, hit = numba_backend.attribute_map(*mesh, 48, 48)
    buffers = numba_backend.map_buffers(20, 13, 5)
    for _ in range(2):
        part, part_hit = numba_backend.attribute_map(*mesh, 20, 13, origin=(30, 7), out=buffers)
        assert part is buffers[0]
        assert np.array_equal(part_hit, hit[7:27, 30:43]) and np.array_equal(part, values[7:27, 30:43])
    outside, outside_hit = numba_backend.attribute_map(*mesh, 60, 60, origin=(-5, -6))
    assert np.array_equal(outside_hit[6:54, 5:53], hit) and np.array_equal(outside[6:54, 5:53], values)


def test_attribute_map_refuses_wrong_input():
    numba_backend = pytest.importorskip("talkedit.render.numba_backend")
    points, triangles = np.zeros((3, 3), np.float32), np.array([[0, 1, 2]], np.int32)
    with pytest.raises(ValueError, match="outside"):
        numba_backend.attribute_map(points, triangles + 1, points, 4, 4)
    with pytest.raises(ValueError, match="attributes"):
        numba_backend.attribute_map(points, triangles, points[:2], 4, 4)
    with pytest.raises(ValueError, match="buffers"):
        numba_backend.attribute_map(points, triangles, points, 4, 4, out=numba_backend.map_buffers(4, 5, 3))


# --- interpolation and gradients ---


@pytest.fixture(params=EXACT)
def small_case(request):
    """Interpolation backend, fragments, float64 points and triangles of a few overlapping triangles."""
    points, triangles = random_mesh(21, triangles=5, vertices=7, size=9)
    points = points.double() + torch.tensor([0.0, 0.0, 12.0])
    return request.param, rasterize(points, triangles, 9, 10), points, triangles


@pytest.mark.parametrize("perspective", [False, True])
def test_interpolation_gradients(small_case, perspective):
    backend, found, points, triangles = small_case
    attributes = torch.rand(2, 7, 2, dtype=torch.float64, requires_grad=True)
    points.requires_grad_()

    def function(p, a):
        return interpolate(found, p, triangles, a, perspective, background=0.5, backend=backend)

    # Slivers have steep derivatives: compare with a smaller step.
    assert torch.autograd.gradcheck(function, (points, attributes), eps=1e-7, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("perspective", [False, True])
def test_both_ways_of_interpolation_agree(perspective):
    if "numba" not in available_backends():
        pytest.skip("no numba")
    points, triangles = sphere_on_screen(120)
    attributes = torch.rand(points.shape[1], 3)
    found = rasterize(points, triangles, 120, 120)
    weight = torch.rand(1, 120, 120, 3)
    results = []
    for name in ("numba", "torch"):
        p, a = points.clone().requires_grad_(), attributes.clone().requires_grad_()
        values = interpolate(found, p, triangles, a, perspective, 0.25, name)
        (values * weight).sum().backward()
        results.append((values.detach(), a.grad, p.grad))
    fast, plain = results
    torch.testing.assert_close(fast[0], plain[0], atol=2e-4, rtol=0)
    torch.testing.assert_close(fast[1], plain[1], atol=2e-3, rtol=1e-3)
    assert torch.linalg.norm(fast[2] - plain[2]) < 1e-3 * torch.linalg.norm(plain[2])


def test_weights_match_the_rasterizer_and_perspective_is_exact():
    corners = torch.tensor([[-3.0, -2.0, 4.0], [3.5, -1.0, 9.0], [0.5, 4.0, 14.0]], dtype=torch.float64)  # in space
    focal = 6.0
    points = torch.cat([focal * corners[:, :2] / corners[:, 2:] + 6, corners[:, 2:]], 1)[None]
    triangles = torch.tensor([[0, 1, 2]])
    found = rasterize(points, triangles, 14, 14)
    affine = barycentric(found, points, triangles)
    torch.testing.assert_close(affine.float(), found.barycentric, atol=1e-5, rtol=0)
    exact = interpolate(found, points, triangles, corners, perspective=True)[found.mask]
    row, column = found.mask[0].nonzero(as_tuple=True)
    # The interpolated point in space must project back onto its pixel.
    torch.testing.assert_close(focal * exact[:, 0] / exact[:, 2] + 6, column.double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(focal * exact[:, 1] / exact[:, 2] + 6, row.double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(barycentric(found, points, triangles, True)[found.mask] @ corners, exact)


# --- whole pictures ---


def test_rendered_sphere_has_the_closed_form_disc_normals_and_light():
    vertices, triangles = sphere(64)
    gamma = torch.randn(1, 27, generator=torch.Generator().manual_seed(4)) * 0.3
    albedo = torch.tensor([0.5, 0.6, 0.7]).expand(len(vertices), 3)
    angles = torch.tensor([[0.2, -0.5, 0.3]])
    image, mask, _ = render(vertices[None], triangles, albedo, angles, torch.zeros(1, 3), gamma, backface=False)
    rows, columns = torch.meshgrid(torch.arange(224.0), torch.arange(224.0), indexing="ij")
    # Rays from the camera at z = 10; the unit sphere's outline lies at tan = 1 / sqrt(99).
    x, y = (columns - 112) / 1015, (111 - rows) / 1015
    tangent = torch.sqrt(x * x + y * y)
    inside, outside = tangent < 0.99 / math.sqrt(99), tangent > 1.01 / math.sqrt(99)
    assert mask[0][inside].all() and not mask[0][outside].any()
    assert (image[0][outside] == 0).all()
    length = tangent**2 + 1
    distance = (10 - torch.sqrt((100 - 99 * length).clamp_min(0))) / length
    normals = torch.stack([x * distance, y * distance, 10 - distance], -1)
    deep = tangent < 0.9 / math.sqrt(99)
    expected = (irradiance(normals[None], gamma) * albedo[0])[0]
    torch.testing.assert_close(image[0][deep], expected[deep], atol=0.01, rtol=0)


def test_render_gradients_by_finite_differences(exact):
    vertices, triangles = sphere(6)
    vertices = vertices[None].double() * 0.2
    generator = torch.Generator().manual_seed(5)
    inputs = {
        "vertices": vertices,
        "albedo": torch.rand(vertices.shape, generator=generator, dtype=torch.float64),
        "angles": torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64),
        "translation": torch.tensor([[0.03, -0.02, 0.1]], dtype=torch.float64),
        "gamma": torch.randn(1, 27, generator=generator, dtype=torch.float64) * 0.3,
    }
    renderer = Renderer(triangles, height=20, width=24, backend=exact, backface=False)
    crop = CropTransform(5.0, (60.0, 62.0))  # the frame is small: 224 px of crop are 45 px of frame
    weight = torch.rand(1, 20, 24, 3, generator=generator, dtype=torch.float64)

    def loss(**values):
        picture = renderer(**values, crop=crop)
        return (picture.image * weight).sum(), picture.fragments.triangle

    leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    value, hits = loss(**leaves)
    assert (hits >= 0).sum() > 20
    value.backward()
    step = 1e-7  # small, so that no pixel changes its triangle
    for name, leaf in leaves.items():
        direction = torch.randn(leaf.shape, generator=generator, dtype=torch.float64)
        (above, first), (below, second) = (
            loss(**{**inputs, name: inputs[name] + sign * step * direction}) for sign in (1, -1)
        )
        assert torch.equal(first, second)
        slope = (above - below) / (2 * step)
        torch.testing.assert_close((leaf.grad * direction).sum(), slope, atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("name", ["auto", "torch"])
def test_pictures_without_a_hit_or_without_a_mesh(name):
    """Behind the camera nothing is drawn, and an empty batch gives an empty batch."""
    vertices, triangles = sphere(8)
    vertices = vertices[None].requires_grad_()
    args = (torch.ones(vertices.shape[1], 3), torch.zeros(1, 3))
    picture = render(vertices, triangles, *args, torch.tensor([[0.0, 0.0, 30.0]]), torch.zeros(1, 27), backend=name)
    assert not picture.mask.any() and (picture.image == 0).all()
    picture.image.sum().backward()
    assert (vertices.grad == 0).all()
    none = torch.zeros(0, 3)
    empty = render(vertices[:0], triangles, args[0], none, none, torch.zeros(0, 27), backend=name)
    assert empty.image.shape == (0, 224, 224, 3)


def test_module_and_function_agree_at_any_frame_size():
    vertices, triangles = sphere(10)
    args = (torch.rand(len(vertices), 3), torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 27))
    batch = vertices.expand(2, -1, -1)
    module = Renderer(triangles, 60, 70)(batch, *args, crop=CropTransform(4.0, (0.0, 0.0)))
    function = render(batch, triangles, *args, height=60, width=70, crop=CropTransform(4.0, (0.0, 0.0)))
    assert module.image.shape == (2, 60, 70, 3) and torch.equal(module.image, function.image)
    assert torch.equal(module.image[0], module.image[1])
    assert Renderer(triangles)(batch, *args).mask.shape == (2, 224, 224)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu():
    points, triangles = random_mesh(30)
    cpu = rasterize(points, triangles, 48, 48, "torch")
    gpu = rasterize(points.cuda(), triangles.cuda(), 48, 48)
    assert gpu.triangle.is_cuda
    same = cpu.triangle == gpu.triangle.cpu()
    assert same.float().mean() >= 0.995
    torch.testing.assert_close(cpu.barycentric[same], gpu.barycentric.cpu()[same], atol=1e-4, rtol=0)
