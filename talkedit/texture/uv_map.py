"""Between the frame and the fixed UV template: which source pixel every texel shows."""

from __future__ import annotations

import cv2
import numpy as np

from talkedit.facemodel.model import FaceModel
from talkedit.reconstruct.light import normals_of
from talkedit.render import attribute_map

# Rec. 601 weights of red, green and blue.
LUMINANCE = np.float32([0.299, 0.587, 0.114])

# Visibility: side of the depth map in pixels, and how far behind the nearest surface a texel still counts as seen, over
# the mesh's width.
DEPTH_SIZE = 192
DEPTH_SLACK = 0.01
# Cosine between normal and view below which a texel is a smear of too few pixels.
FACING = 0.2


class UvTemplate:
    """The rasterised UV layout of a face model.

    Args:
        model: the face model.
        size: texels a side.

    Attributes:
        size: texels a side.
        inside: (T, T) bool, texels on the face (not on skirt, eyeballs or the mouth hole).
        triangle: (T, T) int32, the triangle each texel lies on, -1 off the mesh.
    """

    def __init__(self, model: FaceModel, size: int = 256) -> None:
        self.size = size
        points = np.concatenate([model.uv * size - 0.5, np.zeros((len(model.uv), 1))], axis=1).astype(np.float32)
        flags = np.stack([model.skirt, model.eyeball.astype(np.float32)], 1)
        values, hit = attribute_map(points, model.triangles, flags, size, size)
        self.inside = (hit >= 0) & (values[..., 0] > 0.97) & (values[..., 1] < 0.02)
        self.mesh, self.triangle = hit >= 0, hit
        self._triangles = model.triangles
        self._points = points

    def source_map(self, mesh: np.ndarray) -> np.ndarray:
        """(T, T, 2) float32 frame position of each texel for a (V, ≥2) mesh in pixels; 0 outside the mesh."""
        return self._map(mesh[:, :2])

    def _map(self, attributes: np.ndarray) -> np.ndarray:
        values = np.ascontiguousarray(attributes, np.float32)
        return attribute_map(self._points, self._triangles, values, self.size, self.size)[0]

    def visible(self, mesh: np.ndarray) -> np.ndarray:
        """(T, T) bool, the texels of ``inside`` that the frame shows: not turned away, not behind the nose or cheek.

        Args:
            mesh: (V, 3) in pixels of the frame, z away from the viewer.
        """
        low = mesh[:, :2].min(0)
        scale = min(1.0, DEPTH_SIZE / float((mesh[:, :2].max(0) - low).max()))
        points = np.float32([scale, scale, 1]) * (mesh - np.float32([*low, 0]))
        width, height = np.ceil(points[:, :2].max(0)).astype(int) + 1
        depth, hit = attribute_map(points.astype(np.float32), self._triangles, points[:, 2:], int(height), int(width))
        nearest = np.where(hit >= 0, depth[..., 0], np.float32(1e9)).astype(np.float32)
        # A surface hides what lies behind it, not itself between two samples of a slope.
        nearest = cv2.dilate(nearest, np.ones((3, 3), np.uint8))
        normals = normals_of(mesh, self._triangles)
        where = self._map(np.concatenate([points, -normals[:, 2:]], axis=1))
        front = cv2.remap(nearest, where[..., 0], where[..., 1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        near = where[..., 2] <= front + DEPTH_SLACK * float(np.ptp(mesh[:, 0]))
        return self.inside & near & (where[..., 3] > FACING)

    def unwrap(self, frame: np.ndarray, mesh: np.ndarray) -> np.ndarray:
        """(T, T, C) or (T, T) float32 texture of a frame (H, W, C) or (H, W), sampled without aliasing."""
        where = self.source_map(mesh)
        inside = self.inside[1:, 1:] & self.inside[:-1, :-1]
        step = np.linalg.norm(where[1:, 1:] - where[:-1, :-1], axis=2)[inside] / np.sqrt(2)
        blur = 0.4 * float(np.median(step))
        picture = frame.astype(np.float32)
        if blur > 0.5:
            picture = cv2.GaussianBlur(picture, (0, 0), blur)
        return cv2.remap(picture, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
