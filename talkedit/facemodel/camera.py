"""The camera of the face model and the similarity between its 224 px crop and the full frame.

One contract, that of Deep3DFaceRecon (Deng et al. 2019), so that its coefficients mean the same here:

* model points are row vectors, ``p @ R + t`` with ``R = (Rz Ry Rx)^T`` and angles in radians about x, y, z;
* the camera stands at z = 10 and looks towards -z: depth ``z' = 10 - z`` (smaller is nearer);
* pinhole with f = 1015, centre 112, 224 px, and **y up**; an image row is ``223 - y``.

From here on *screen* means pixels with x to the right and y down, pixel centres at whole numbers, and the depth z'
as third number: what the rasterizer takes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from talkedit.errors import InputError

ALIGN_SCALE = 102.0
"""Reference units to crop pixels: crop scale s = ALIGN_SCALE / s_pos (D1, ``rescale_factor``)."""

REFERENCE_5_POINTS = (
    (-0.3115, 0.2904, 0.1338),  # left eye (in the image), mean of its two corners
    (0.3098, 0.2897, 0.1318),  # right eye
    (0.0032, -0.0462, 0.5524),  # nose tip
    (-0.2522, -0.3813, 0.2241),  # left mouth corner
    (0.2485, -0.3813, 0.2224),  # right mouth corner
)
"""The 3-D points that the crop is aligned to, in model units, y up (D1, ``similarity_Lm3D_all.mat``)."""

_GIMBAL = 1e-6  # cosine of the yaw below which pitch and roll turn about the same axis


@dataclass(frozen=True)
class Camera:
    """Pinhole camera of the crop.

    Attributes:
        focal: focal length in crop pixels.
        center: principal point in crop pixels, the same in x and (y-up) y.
        size: side of the square crop in pixels.
        distance: z of the camera in model units.
    """

    focal: float = 1015.0
    center: float = 112.0
    size: int = 224
    distance: float = 10.0


CAMERA = Camera()
"""The camera of D1."""


# --- pose ---------------------------------------------------------------------------------------------------------


def rotation_matrix(angles: Tensor) -> Tensor:
    """Rotation for row vectors, ``p @ R``, from angles about x, y, z.

    Args:
        angles: (..., 3) radians.

    Returns:
        (..., 3, 3), ``(Rz @ Ry @ Rx)`` transposed.

    Raises:
        ValueError: if the last dimension is not 3.
    """
    _require_last(angles, 3, "angles")
    sine, cosine = torch.sin(angles), torch.cos(angles)
    sx, sy, sz = sine.unbind(-1)
    cx, cy, cz = cosine.unbind(-1)
    entries = (
        (cz * cy, sz * cy, -sy),
        (cz * sy * sx - sz * cx, sz * sy * sx + cz * cx, cy * sx),
        (cz * sy * cx + sz * sx, sz * sy * cx - cz * sx, cy * cx),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in entries], dim=-2)


def angles_from_matrix(rotation: Tensor) -> Tensor:
    """Inverse of :func:`rotation_matrix`, with the y angle in [-pi/2, pi/2].

    Where y is +-pi/2 only the sum or difference of the x and z angles is defined: x is set to 0.

    Args:
        rotation: (..., 3, 3), as :func:`rotation_matrix` gives it.

    Returns:
        (..., 3) radians.

    Raises:
        ValueError: if the last dimensions are not 3 x 3.
    """
    if rotation.shape[-2:] != (3, 3):
        raise ValueError(f"rotation must end in 3 x 3, got {tuple(rotation.shape)}")
    squared = rotation[..., 0, 0].square() + rotation[..., 0, 1].square()
    locked = squared < _GIMBAL**2
    # A constant under the root where the angles lock keeps the gradient finite.
    cosine = torch.where(locked, torch.ones_like(squared), squared).sqrt()
    zero = torch.zeros_like(cosine)
    x = torch.where(locked, zero, torch.atan2(rotation[..., 1, 2], rotation[..., 2, 2]))
    y = torch.atan2(-rotation[..., 0, 2], torch.where(locked, zero, cosine))
    free, tied = (rotation[..., 0, 1], rotation[..., 0, 0]), (-rotation[..., 1, 0], rotation[..., 1, 1])
    z = torch.where(locked, torch.atan2(*tied), torch.atan2(*free))
    return torch.stack([x, y, z], dim=-1)


def transform(points: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """Rigid motion of row vectors: ``points @ rotation + translation``.

    Args:
        points: (B, V, 3) or (V, 3) model units.
        rotation: (B, 3, 3).
        translation: (B, 3) model units.

    Returns:
        (B, V, 3).
    """
    return points @ rotation + translation.unsqueeze(-2)


# --- projection ---------------------------------------------------------------------------------------------------


def to_camera(points: Tensor, camera: Camera = CAMERA) -> Tensor:
    """Replace z by the depth ``distance - z``; a new tensor, the input stays as it is. It is its own inverse.

    Args:
        points: (..., 3) model units, after :func:`transform`.
        camera: the camera.

    Returns:
        (..., 3): x, y as before, depth in model units, positive in front of the camera.
    """
    _require_last(points, 3, "points")
    return torch.cat([points[..., :2], camera.distance - points[..., 2:]], dim=-1)


def project(points: Tensor, camera: Camera = CAMERA) -> Tensor:
    """Camera space to the screen of the crop.

    Args:
        points: (..., 3) from :func:`to_camera`; depths must be positive.
        camera: the camera.

    Returns:
        (..., 3): x right and y down in crop pixels, and the depth unchanged.
    """
    _require_last(points, 3, "points")
    x, y, depth = points.unbind(-1)
    column = camera.focal * x / depth + camera.center
    row = (camera.size - 1 - camera.center) - camera.focal * y / depth
    return torch.stack([column, row, depth], dim=-1)


def unproject(screen: Tensor, camera: Camera = CAMERA) -> Tensor:
    """Inverse of :func:`project`.

    Args:
        screen: (..., 3) x, y in crop pixels, depth in model units.
        camera: the camera.

    Returns:
        (..., 3) camera space.
    """
    _require_last(screen, 3, "screen")
    column, row, depth = screen.unbind(-1)
    x = (column - camera.center) * depth / camera.focal
    y = (camera.size - 1 - camera.center - row) * depth / camera.focal
    return torch.stack([x, y, depth], dim=-1)


def screen_points(vertices: Tensor, angles: Tensor, translation: Tensor, camera: Camera = CAMERA) -> Tensor:
    """Model vertices to the screen of the crop, with gradients to every argument.

    Args:
        vertices: (B, V, 3) or (V, 3) model units, y up.
        angles: (B, 3) radians.
        translation: (B, 3) model units.
        camera: the camera.

    Returns:
        (B, V, 3): x right, y down in crop pixels, depth in model units.
    """
    return project(to_camera(transform(vertices, rotation_matrix(angles), translation), camera), camera)


class ScreenProjection(nn.Module):
    """Module twin of :func:`screen_points`.

    Args:
        camera: the camera.
    """

    def __init__(self, camera: Camera = CAMERA) -> None:
        super().__init__()
        self.camera = camera

    def forward(self, vertices: Tensor, angles: Tensor, translation: Tensor) -> Tensor:
        return screen_points(vertices, angles, translation, self.camera)


# --- one frame in NumPy -------------------------------------------------------------------------------------------


def rotation_matrix_numpy(angles: np.ndarray) -> np.ndarray:
    """:func:`rotation_matrix` of one pose: (3,) radians to (3, 3) float64."""
    sx, sy, sz = np.sin(np.asarray(angles, np.float64))
    cx, cy, cz = np.cos(np.asarray(angles, np.float64))
    return np.array(
        [
            [cz * cy, sz * cy, -sy],
            [cz * sy * sx - sz * cx, sz * sy * sx + cz * cx, cy * sx],
            [cz * sy * cx + sz * sx, sz * sy * cx - cz * sx, cy * cx],
        ]
    )


def screen_points_numpy(
    vertices: np.ndarray,
    angles: np.ndarray,
    translation: np.ndarray,
    camera: Camera = CAMERA,
    crop: CropTransform | None = None,
) -> np.ndarray:
    """:func:`screen_points` of one frame without gradients (0.1 ms for 9,000 vertices).

    Args:
        vertices: (V, 3) model units.
        angles: (3,) radians.
        translation: (3,) model units.
        camera: the camera.
        crop: if given, x and y come out in pixels of the frame instead of the crop.

    Returns:
        (V, 3) float32 x, y, depth.
    """
    scale, offset = (1.0, (0.0, 0.0)) if crop is None else (1.0 / crop.scale, crop.offset)
    # One matrix takes points to homogeneous screen coordinates relative to the principal point.
    to_homogeneous = np.diag([camera.focal * scale, -camera.focal * scale, -1.0])
    moved = np.asarray(translation, np.float64) @ to_homogeneous + (0.0, 0.0, camera.distance)
    matrix = (rotation_matrix_numpy(angles) @ to_homogeneous).astype(np.float32)
    # float32 from here; the (3, V) layout keeps each coordinate contiguous.
    points = matrix.T @ np.asarray(vertices, np.float32).T
    points += moved.astype(np.float32)[:, None]
    points[:2] /= points[2]
    points[0] += np.float32((camera.center - offset[0]) * scale)
    points[1] += np.float32((camera.size - 1 - camera.center - offset[1]) * scale)
    return np.ascontiguousarray(points.T)


# --- crop ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CropTransform:
    """Exact similarity ``crop = scale * frame + offset`` between pixel positions (x right, y down).

    Attributes:
        scale: crop pixels per frame pixel, positive.
        offset: where the frame's pixel (0, 0) lies in the crop, (x, y).
    """

    scale: float
    offset: tuple[float, float]

    def frame_to_crop(self, points: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """(..., 2) or (..., 3) frame pixels to crop pixels; a third number (depth) is kept."""
        return _similarity(points, self.scale, self.offset)

    def crop_to_frame(self, points: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """Inverse of :meth:`frame_to_crop`."""
        return _similarity(points, 1.0 / self.scale, (-self.offset[0] / self.scale, -self.offset[1] / self.scale))

    def matrix(self) -> np.ndarray:
        """(2, 3) float64 taking frame pixels to crop pixels, as ``cv2.warpAffine`` wants it."""
        return np.array([[self.scale, 0.0, self.offset[0]], [0.0, self.scale, self.offset[1]]])


IDENTITY_CROP = CropTransform(1.0, (0.0, 0.0))


def frame_to_crop(points: np.ndarray | Tensor, crop: CropTransform) -> np.ndarray | Tensor:
    """Function form of :meth:`CropTransform.frame_to_crop`."""
    return crop.frame_to_crop(points)


def crop_to_frame(points: np.ndarray | Tensor, crop: CropTransform) -> np.ndarray | Tensor:
    """Function form of :meth:`CropTransform.crop_to_frame`."""
    return crop.crop_to_frame(points)


def five_points(landmarks68: np.ndarray) -> np.ndarray:
    """The five alignment points of 68 iBUG landmarks (D1: 1-based 31; 37, 40; 43, 46; 49; 55).

    Args:
        landmarks68: (68, 2) or (68, 3) pixels.

    Returns:
        (5, 2) float64: left and right eye (as seen in the image), nose tip, left and right mouth corner.

    Raises:
        ValueError: if there are not 68 points.
    """
    points = np.asarray(landmarks68, np.float64)
    if points.ndim != 2 or points.shape[0] != 68 or points.shape[1] < 2:
        raise ValueError(f"landmarks must be (68, 2), got {points.shape}")
    points = points[:, :2]
    return np.stack([points[[36, 39]].mean(0), points[[42, 45]].mean(0), points[30], points[48], points[54]])


def align_crop(
    landmarks5: np.ndarray,
    size: tuple[int, int] | None = None,
    reference: np.ndarray | None = None,
    camera: Camera = CAMERA,
) -> CropTransform:
    """The crop that D1 would cut, as one sub-pixel similarity.

    Scaled-orthographic pose (POS) of the reference points by least squares: each image coordinate is
    ``s r . X + t``; s_pos is the mean length of the two rows, ``scale = 102 / s_pos``, and the projection of the
    reference origin goes to the principal point. D1 then truncates the size and position of its crop to whole
    pixels, which makes still faces jump by up to a pixel, and maps landmarks and pixels (scale - 1) / 2 px apart.
    Here both follow the landmarks' map.

    Args:
        landmarks5: (5, 2) frame pixels, x right, y down, in the order of :func:`five_points`.
        size: (H, W) of the frame. D1 needs H to turn y up; the turn cancels, so here it only serves to refuse points
            that lie wholly outside the frame.
        reference: (5, 3) model units, y up; :data:`REFERENCE_5_POINTS` if None.
        camera: gives the size and centre of the crop.

    Returns:
        The transform between frame and crop.

    Raises:
        ValueError: if the shapes do not fit.
        InputError: if the points are not finite, coincide, or all lie outside the frame.
    """
    points = np.asarray(landmarks5, np.float64)
    model = np.asarray(REFERENCE_5_POINTS if reference is None else reference, np.float64)
    if points.shape != (len(model), 2) or model.shape != (len(model), 3):
        raise ValueError(f"landmarks must be (5, 2) for (5, 3) reference points, got {points.shape} for {model.shape}")
    if not np.isfinite(points).all():
        raise InputError("The face's landmarks hold numbers that are not finite.")
    if size is not None:
        height, width = size
        inside = (points >= -0.5).all(1) & (points[:, 0] < width - 0.5) & (points[:, 1] < height - 0.5)
        if not inside.any():
            raise InputError("The face's landmarks lie outside the frame.")
    upward = points * (1.0, -1.0)
    design = np.column_stack([model, np.ones(len(model))])
    solution, *_ = np.linalg.lstsq(design, upward, rcond=None)  # (4, 2): rows s r and t of both coordinates
    pose_scale = np.linalg.norm(solution[:3], axis=0).mean()
    if pose_scale < 1e-9:
        raise InputError("The face's landmarks coincide.")
    scale = ALIGN_SCALE / pose_scale
    target = (camera.center, camera.size - 1 - camera.center)
    return CropTransform(
        float(scale), (float(target[0] - scale * solution[3, 0]), float(target[1] + scale * solution[3, 1]))
    )


def crop_image(image: np.ndarray, crop: CropTransform, size: int = CAMERA.size) -> np.ndarray:
    """Cut the crop out of a frame with one bilinear warp; what lies outside the frame is black.

    Args:
        image: (H, W, C) or (H, W), uint8 or float32.
        crop: from :func:`align_crop`.
        size: side of the crop in pixels.

    Returns:
        (size, size, C) of the input's dtype.
    """
    matrix = crop.matrix()
    if crop.scale < 0.75:
        # Bilinear taps skip pixels when shrinking: remove first what the crop cannot hold.
        image = cv2.GaussianBlur(image, (0, 0), 0.45 * np.sqrt(crop.scale**-2 - 1.0))
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


# --- helpers ------------------------------------------------------------------------------------------------------


def _similarity(points: np.ndarray | Tensor, scale: float, offset: tuple[float, float]) -> np.ndarray | Tensor:
    width = points.shape[-1]
    if width not in (2, 3):
        raise ValueError(f"points must end in 2 or 3 numbers, got {tuple(points.shape)}")
    if isinstance(points, Tensor):
        factor = points.new_tensor([scale, scale, 1.0][:width])
        shift = points.new_tensor([offset[0], offset[1], 0.0][:width])
        return points * factor + shift
    dtype = np.result_type(points.dtype, np.float32)
    factor = np.array([scale, scale, 1.0][:width], dtype)
    return points * factor + np.array([offset[0], offset[1], 0.0][:width], dtype)


def _require_last(tensor: Tensor, size: int, name: str) -> None:
    if tensor.shape[-1] != size:
        raise ValueError(f"{name} must end in {size}, got {tuple(tensor.shape)}")
