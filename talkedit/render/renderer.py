"""From model vertices to a lit picture: camera, rasterizer, interpolation, shading."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from talkedit.facemodel.camera import CAMERA, Camera, CropTransform, rotation_matrix, screen_points
from talkedit.facemodel.lighting import shade, vertex_normals
from talkedit.render.fragments import Fragments
from talkedit.render.interpolation import interpolate
from talkedit.render.rasterizer import rasterize


class Rendering(NamedTuple):
    """A picture of a mesh.

    Attributes:
        image: (B, H, W, 3) RGB, 1 = white, not clipped, 0 outside the mesh.
        mask: (B, H, W) bool, True on the mesh.
        fragments: what the rasterizer found.
    """

    image: Tensor
    mask: Tensor
    fragments: Fragments


def render(
    vertices: Tensor,
    triangles: Tensor,
    albedo: Tensor,
    angles: Tensor,
    translation: Tensor,
    gamma: Tensor,
    *,
    height: int | None = None,
    width: int | None = None,
    crop: CropTransform | None = None,
    camera: Camera = CAMERA,
    normals: Tensor | None = None,
    backend: str = "auto",
    backface: bool = True,
    perspective: bool = False,
) -> Rendering:
    """Render a lit mesh, with gradients to every tensor but the triangles.

    Args:
        vertices: (B, V, 3) model units, y up.
        triangles: (F, 3) integers, counter-clockwise seen from outside.
        albedo: (B, V, 3) or (V, 3) RGB in 0..1.
        angles: (B, 3) radians.
        translation: (B, 3) model units.
        gamma: (B, 27) lighting.
        height: image rows; the side of the crop if None.
        width: image columns; likewise.
        crop: if given, the image shows the full frame that this crop was cut from (of every mesh in the batch).
        camera: the camera.
        normals: (B, V, 3) unit normals before rotation; computed from the vertices if None.
        backend: see :func:`talkedit.render.rasterize`.
        backface: likewise.
        perspective: see :func:`talkedit.render.barycentric`; at the distance of a face the difference is tiny.

    Returns:
        Image, mask and fragments.
    """
    points = screen_points(vertices, angles, translation, camera)
    if crop is not None:
        points = crop.crop_to_frame(points)
    if normals is None:
        normals = vertex_normals(vertices, triangles)
    return render_points(
        points,
        triangles,
        albedo,
        normals @ rotation_matrix(angles),
        gamma,
        height=camera.size if height is None else height,
        width=camera.size if width is None else width,
        backend=backend,
        backface=backface,
        perspective=perspective,
    )


def render_points(
    points: Tensor,
    triangles: Tensor,
    albedo: Tensor,
    normals: Tensor,
    gamma: Tensor,
    *,
    height: int,
    width: int,
    backend: str = "auto",
    backface: bool = True,
    perspective: bool = False,
) -> Rendering:
    """The part of :func:`render` after the camera, for points that are on the screen already.

    Normals are interpolated and each pixel is lit by itself.

    Args:
        points: (B, V, 3) screen points; triangles with a depth of 0 or less are left out.
        triangles: (F, 3) integers.
        albedo: (B, V, 3) or (V, 3) RGB in 0..1.
        normals: (B, V, 3) unit normals, x right, y up, z towards the camera.
        gamma: (B, 27) lighting.
        height: image rows.
        width: image columns.
        backend: see :func:`talkedit.render.rasterize`.
        backface: likewise.
        perspective: see :func:`talkedit.render.barycentric`.

    Returns:
        Image, mask and fragments.
    """
    behind = points.detach()[..., 2:] <= 0
    fragments = rasterize(points.detach().masked_fill(behind, torch.nan), triangles, height, width, backend, backface)
    triangles = triangles.to(points.device)
    surface = torch.cat([albedo.expand_as(points), normals], dim=-1)
    way = "torch" if backend == "torch" else "auto"
    colour, normal = interpolate(fragments, points, triangles, surface, perspective, backend=way).split(3, dim=-1)
    image = shade(colour, functional.normalize(normal, dim=-1), gamma)
    return Rendering(image, fragments.mask, fragments)


class Renderer(nn.Module):
    """Module twin of :func:`render` for one mesh topology.

    Args:
        triangles: (F, 3) integers.
        height: image rows; the side of the crop if None.
        width: image columns; likewise.
        camera: the camera.
        backend: see :func:`talkedit.render.rasterize`.
        backface: likewise.
        perspective: see :func:`talkedit.render.barycentric`.
    """

    def __init__(
        self,
        triangles: Tensor,
        height: int | None = None,
        width: int | None = None,
        camera: Camera = CAMERA,
        backend: str = "auto",
        backface: bool = True,
        perspective: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("triangles", triangles.long(), persistent=False)
        self.camera = camera
        self.height = camera.size if height is None else height
        self.width = camera.size if width is None else width
        self.backend = backend
        self.backface = backface
        self.perspective = perspective

    def forward(
        self,
        vertices: Tensor,
        albedo: Tensor,
        angles: Tensor,
        translation: Tensor,
        gamma: Tensor,
        crop: CropTransform | None = None,
    ) -> Rendering:
        return render(
            vertices,
            self.triangles,
            albedo,
            angles,
            translation,
            gamma,
            height=self.height,
            width=self.width,
            crop=crop,
            camera=self.camera,
            backend=self.backend,
            backface=self.backface,
            perspective=self.perspective,
        )
