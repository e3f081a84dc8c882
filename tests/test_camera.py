"""The camera against its definition: Deep3DFaceRecon's rotation, projection and alignment."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from talkedit.errors import InputError
from talkedit.facemodel import camera as cam

ANGLE = st.floats(-math.pi / 2 + 0.05, math.pi / 2 - 0.05)


def axis_rotation(axis: int, angle: float) -> np.ndarray:
    """Right-handed rotation of column vectors about one axis, from its definition."""
    i, j = ((1, 2), (2, 0), (0, 1))[axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = math.cos(angle)
    matrix[i, j], matrix[j, i] = -math.sin(angle), math.sin(angle)
    return matrix


def definition(angles) -> np.ndarray:
    return (axis_rotation(2, angles[2]) @ axis_rotation(1, angles[1]) @ axis_rotation(0, angles[0])).T


@settings(max_examples=50, deadline=None)
@given(st.tuples(ANGLE, ANGLE, ANGLE))
def test_rotation_follows_the_definition_and_inverts(angles):
    batch = torch.tensor([angles, (0.0, 0.0, 0.0)], dtype=torch.float64)
    rotation = cam.rotation_matrix(batch)
    np.testing.assert_allclose(rotation[0], definition(angles), atol=1e-12)
    np.testing.assert_allclose(cam.rotation_matrix_numpy(np.array(angles)), definition(angles), atol=1e-12)
    torch.testing.assert_close(rotation[1], torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(cam.angles_from_matrix(rotation), batch, atol=1e-9, rtol=0)


def test_rotation_of_row_vectors():
    quarter = torch.tensor([[0.0, 0.0, math.pi / 2]])
    turned = torch.tensor([[1.0, 0.0, 0.0]]) @ cam.rotation_matrix(quarter)[0]
    torch.testing.assert_close(turned, torch.tensor([[0.0, 1.0, 0.0]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_angles_at_the_gimbal_lock_give_the_same_rotation(sign):
    angles = torch.tensor([[0.4, sign * math.pi / 2, -0.3]], dtype=torch.float64)
    rotation = cam.rotation_matrix(angles).requires_grad_()
    found = cam.angles_from_matrix(rotation)
    torch.testing.assert_close(cam.rotation_matrix(found), rotation, atol=1e-9, rtol=0)
    found.sum().backward()
    assert rotation.grad.isfinite().all()


def test_projection_closed_form():
    points = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.5, -0.25, 2.0]])
    before = points.clone()
    space = cam.to_camera(points)
    assert torch.equal(points, before)
    torch.testing.assert_close(space[:, 2], torch.tensor([10.0, 10.0, 8.0]))
    # u = f x / z' + c; v (up) = f y / z' + c; row = 223 - v.
    expected = torch.tensor(
        [
            [112.0, 111.0, 10.0],
            [112 + 101.5, 111 - 101.5, 10.0],
            [112 + 1015 * 0.5 / 8, 111 + 1015 * 0.25 / 8, 8.0],
        ]
    )
    screen = cam.project(space)
    torch.testing.assert_close(screen, expected, atol=1e-4, rtol=1e-6)
    torch.testing.assert_close(cam.to_camera(cam.unproject(screen)), points, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_the_whole_chain_equals_the_published_formulas(dtype, tolerance):
    """p R + t, z' = 10 - z, the published 3 x 3 matrix, division by z', rows counted from the top."""
    rng = np.random.default_rng(0)
    points, angles, shifts = rng.uniform(-1, 1, (50, 3)), rng.uniform(-0.7, 0.7, (4, 3)), rng.uniform(-0.5, 0.5, (4, 3))
    matrix = np.array([[1015.0, 0, 112], [0, 1015, 112], [0, 0, 1]])
    for angle, shift in zip(angles, shifts, strict=True):
        moved = points @ definition(angle) + shift
        moved[:, 2] = 10 - moved[:, 2]
        image = moved @ matrix.T
        image = image[:, :2] / image[:, 2:]
        expected = np.column_stack([image[:, 0], 223 - image[:, 1], moved[:, 2]])
        given = (torch.tensor(x, dtype=dtype) for x in (points, angle[None], shift[None]))
        found = cam.screen_points(*given)[0].double().numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_screen_points_twins_agree():
    generator = torch.Generator().manual_seed(0)
    vertices = torch.rand(200, 3, generator=generator) * 2 - 1
    angles, translation = torch.tensor([[0.2, -0.4, 0.1]]), torch.tensor([[0.1, -0.2, 0.3]])
    expected = cam.screen_points(vertices.double(), angles.double(), translation.double())
    torch.testing.assert_close(
        cam.ScreenProjection()(vertices, angles, translation).double(), expected, atol=1e-4, rtol=0
    )
    fast = cam.screen_points_numpy(vertices.numpy(), angles[0].numpy(), translation[0].numpy())
    assert fast.dtype == np.float32 and fast.flags.c_contiguous
    np.testing.assert_allclose(fast, expected[0], atol=1e-4)
    crop = cam.CropTransform(0.37, (12.5, -80.25))
    framed = cam.screen_points_numpy(vertices.numpy(), angles[0].numpy(), translation[0].numpy(), crop=crop)
    np.testing.assert_allclose(framed, crop.crop_to_frame(expected[0].numpy()), atol=5e-4)


def test_gradients():
    generator = torch.Generator().manual_seed(1)
    vertices = (torch.rand(2, 4, 3, generator=generator, dtype=torch.float64) - 0.5).requires_grad_()
    angles = torch.tensor([[0.3, -0.2, 0.1], [0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    translation = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(cam.screen_points, (vertices, angles, translation))
    assert torch.autograd.gradcheck(lambda a: cam.angles_from_matrix(cam.rotation_matrix(a)), (angles,))


def test_wrong_shapes_are_refused():
    for call in (cam.rotation_matrix, cam.to_camera, cam.project, cam.unproject, cam.angles_from_matrix):
        with pytest.raises(ValueError, match="must end in"):
            call(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="68"):
        cam.five_points(np.zeros((67, 2)))
    with pytest.raises(ValueError, match="5, 2"):
        cam.align_crop(np.zeros((4, 2)))


# --- crop ---


def landmarks_of(crop: cam.CropTransform) -> np.ndarray:
    """Frame landmarks whose D1 crop is known: the reference, seen without perspective at 102 px a unit."""
    reference = np.array(cam.REFERENCE_5_POINTS)
    in_crop = np.column_stack([112 + 102 * reference[:, 0], 111 - 102 * reference[:, 1]])
    return crop.crop_to_frame(in_crop)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.05, 5), st.floats(-2000, 500), st.floats(-2000, 500))
def test_align_crop_finds_the_similarity(scale, x, y):
    crop = cam.CropTransform(scale, (x, y))
    found = cam.align_crop(landmarks_of(crop))
    assert found.scale == pytest.approx(scale, rel=1e-9)
    assert found.offset == pytest.approx((x, y), abs=1e-6)


def test_align_crop_is_d1_without_truncation():
    """D1 written out from its definition, with y up from the bottom of the frame and nothing rounded."""
    rng = np.random.default_rng(2)
    height = 480
    points = landmarks_of(cam.CropTransform(0.6, (-130.0, -40.0))) + rng.normal(0, 3, (5, 2))
    upward = np.column_stack([points[:, 0], height - 1 - points[:, 1]])
    reference = np.array(cam.REFERENCE_5_POINTS)
    system, target = np.zeros((10, 8)), upward.reshape(-1)
    system[0::2, :3], system[0::2, 3], system[1::2, 4:7], system[1::2, 7] = reference, 1, reference, 1
    k = np.linalg.lstsq(system, target, rcond=None)[0]
    scale = 102 / ((np.linalg.norm(k[:3]) + np.linalg.norm(k[4:7])) / 2)
    expected = (upward - k[[3, 7]]) * scale + 112
    expected[:, 1] = 223 - expected[:, 1]
    crop = cam.align_crop(points, (height, 640))
    np.testing.assert_allclose(cam.frame_to_crop(points, crop), expected, atol=1e-5)


def test_crop_and_frame_are_inverse_for_arrays_and_tensors():
    crop = cam.CropTransform(0.4, (17.3, -5.1))
    points = np.random.default_rng(3).random((7, 3)) * 900
    np.testing.assert_allclose(crop.crop_to_frame(crop.frame_to_crop(points)), points, atol=1e-9)
    tensor = torch.from_numpy(points)
    np.testing.assert_allclose(cam.crop_to_frame(tensor, crop), cam.crop_to_frame(points, crop), atol=1e-9)
    assert np.array_equal(crop.frame_to_crop(points)[:, 2], points[:, 2])
    np.testing.assert_allclose(
        points[:, :2] @ crop.matrix()[:, :2].T + crop.matrix()[:, 2], crop.frame_to_crop(points[:, :2]), atol=1e-9
    )


def test_align_crop_refuses_useless_landmarks():
    good = landmarks_of(cam.CropTransform(0.5, (0.0, 0.0)))
    with pytest.raises(InputError, match="finite"):
        cam.align_crop(np.full((5, 2), np.nan))
    with pytest.raises(InputError, match="coincide"):
        cam.align_crop(np.ones((5, 2)))
    with pytest.raises(InputError, match="outside"):
        cam.align_crop(good + 5000, (480, 640))


def test_five_points_are_the_documented_ones():
    landmarks = np.column_stack([np.arange(1, 69), np.arange(1, 69) * 10])
    np.testing.assert_allclose(cam.five_points(landmarks)[:, 0], [(37 + 40) / 2, (43 + 46) / 2, 31, 49, 55])


@pytest.mark.parametrize("scale", [0.3, 1.0, 1.7])
def test_crop_image_puts_pixels_where_the_transform_says(scale):
    frame = np.zeros((400, 500), np.float32)
    frame[200, 250] = 255
    frame = cv2.GaussianBlur(frame, (0, 0), 8 / scale)
    crop = cam.CropTransform(scale, (110.3 - 250 * scale, 97.6 - 200 * scale))
    image = cam.crop_image(frame, crop)
    rows, columns = np.mgrid[:224, :224]
    assert image.shape == (224, 224)
    assert (image * columns).sum() / image.sum() == pytest.approx(110.3, abs=0.05)
    assert (image * rows).sum() / image.sum() == pytest.approx(97.6, abs=0.05)
