"""Lighting and normals against closed forms."""

import math

import numpy as np
import pytest
import torch

from talkedit.facemodel import lighting
from talkedit.facemodel.lighting import irradiance, sh_basis, shade, vertex_normals


def unit_normals(count: int, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=dtype), dim=-1)


def test_basis_is_orthonormal_up_to_the_lobe_weights():
    """Divided by pi, 2 pi / sqrt 3 and 2 pi / sqrt 8 the functions are orthonormal on the sphere."""
    heights, weights = np.polynomial.legendre.leggauss(8)  # exact for the degrees at hand
    turns = np.arange(16) * (2 * np.pi / 16)
    z, azimuth = np.repeat(heights, 16), np.tile(turns, 8)
    radius = np.sqrt(1 - z * z)
    normals = torch.from_numpy(np.column_stack([radius * np.cos(azimuth), radius * np.sin(azimuth), z]))
    lobe = np.array([math.pi] + [2 * math.pi / math.sqrt(3)] * 3 + [2 * math.pi / math.sqrt(8)] * 5)
    basis = sh_basis(normals).numpy() / lobe
    gram = (basis * np.repeat(weights, 16)[:, None] * (2 * np.pi / 16)).T @ basis
    np.testing.assert_allclose(gram, np.eye(9), atol=1e-12)


def test_signs_and_order_of_the_basis():
    x, y, z = unit_normals(30).unbind(-1)
    expected = [1 + 0 * x, -y, z, -x, x * y, -y * z, 3 * z**2 - 1, -x * z, x**2 - y**2]
    for found, term in zip(sh_basis(unit_normals(30)).unbind(-1), expected, strict=True):
        ratio = found / term
        assert ratio.min() > 0 and torch.allclose(ratio, ratio[0].expand_as(ratio))


@pytest.mark.parametrize(
    ("normal", "expected"),
    [
        ((1, 0, 0), lambda a, c: [a[0] * c[0], 0, 0, -a[1] * c[1], 0, 0, -a[2] * c[2] / 12**0.5, 0, a[2] * c[2] / 2]),
        ((0, 1, 0), lambda a, c: [a[0] * c[0], -a[1] * c[1], 0, 0, 0, 0, -a[2] * c[2] / 12**0.5, 0, -a[2] * c[2] / 2]),
        ((0, 0, 1), lambda a, c: [a[0] * c[0], 0, a[1] * c[1], 0, 0, 0, a[2] * c[2] / 3**0.5, 0, 0]),
    ],
)
def test_basis_along_the_axes(normal, expected):
    a = [math.pi, 2 * math.pi / math.sqrt(3), 2 * math.pi / math.sqrt(8)]
    c = [1 / math.sqrt(4 * math.pi), math.sqrt(3) / math.sqrt(4 * math.pi), 3 * math.sqrt(5) / math.sqrt(12 * math.pi)]
    found = sh_basis(torch.tensor(normal, dtype=torch.float32))
    torch.testing.assert_close(found, torch.tensor(expected(a, c), dtype=torch.float32), atol=1e-5, rtol=0)


def test_no_gamma_is_even_light():
    normals = unit_normals(10, torch.float32).expand(2, 10, 3)
    light = irradiance(normals, torch.zeros(2, 27))
    torch.testing.assert_close(light, torch.full_like(light, 0.8 * math.pi / math.sqrt(4 * math.pi)))


def test_gamma_is_per_channel_and_batched_over_maps():
    generator = torch.Generator().manual_seed(1)
    gamma = torch.randn(2, 27, generator=generator)
    normals = unit_normals(2 * 4 * 5, torch.float32).reshape(2, 4, 5, 3)
    albedo = torch.rand(2, 4, 5, 3, generator=generator)
    colour = lighting.Shading()(albedo, normals, gamma)
    for channel in range(3):
        weights = gamma[1, 9 * channel : 9 * channel + 9].clone()
        weights[0] += 0.8
        expected = albedo[1, 2, 3, channel] * (sh_basis(normals[1, 2, 3]) @ weights)
        torch.testing.assert_close(colour[1, 2, 3, channel], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(shade(albedo[0], normals[0], gamma[0]), colour[0])


def test_light_gradients():
    normals = unit_normals(3).reshape(1, 3, 3).requires_grad_()
    albedo = torch.rand(1, 3, 3, dtype=torch.float64, requires_grad=True)
    gamma = torch.randn(1, 27, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(shade, (albedo, normals, gamma))


def test_normals_of_a_tilted_plane_point_towards_the_viewer():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 1], [0, 1, 1]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    expected = torch.tensor([0.0, -(0.5**0.5), 0.5**0.5]).expand(4, 3)
    for weighting in ("area", "uniform"):
        torch.testing.assert_close(vertex_normals(vertices, triangles, weighting), expected)


def test_normals_weights_and_definition():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 3]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])  # areas 1/2 facing +z, 3/2 facing +x
    v1, v2, v3 = vertices[triangles[1]]
    torch.testing.assert_close(lighting.face_normals(vertices, triangles)[1], torch.linalg.cross(v1 - v2, v2 - v3))
    area = torch.tensor([3.0, 0, 1]) / 10**0.5
    torch.testing.assert_close(vertex_normals(vertices, triangles)[0], area)
    torch.testing.assert_close(vertex_normals(vertices, triangles, "uniform")[2], torch.tensor([0.5**0.5, 0, 0.5**0.5]))


def test_normals_batch_gradients_and_loose_vertices():
    generator = torch.Generator().manual_seed(3)
    vertices = torch.rand(2, 5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    triangles = torch.tensor([[0, 1, 2], [1, 2, 3]], dtype=torch.int32)
    normals = vertex_normals(vertices, triangles)
    assert torch.equal(normals[:, 4], torch.zeros(2, 3, dtype=torch.float64))
    torch.testing.assert_close(normals[1], vertex_normals(vertices[1], triangles))
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v, triangles)[:, :4], (vertices,))


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="27"):
        irradiance(torch.zeros(1, 4, 3), torch.zeros(1, 26))
    with pytest.raises(ValueError, match="fit"):
        irradiance(torch.zeros(2, 4, 3), torch.zeros(1, 27))
    with pytest.raises(ValueError, match="end in 3"):
        sh_basis(torch.zeros(4, 2))
    with pytest.raises(ValueError, match="weighting"):
        vertex_normals(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]), "other")
