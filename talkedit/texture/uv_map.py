"""Between the frame and the fixed UV template: which source pixel every texel shows."""

from __future__ import annotations

import cv2
import numpy as np

from talkedit.facemodel.model import FaceModel
from talkedit.render import attribute_map

# Rec. 601 weights of red, green and blue.
LUMINANCE = np.float32([0.299, 0.587, 0.114])


class UvTemplate:
    """The rasterised UV layout of a face model.

    Args:
        model: the face model.
        size: texels a side.

    Attributes:
        size: texels a side.
        inside: (T, T) bool, texels on the face (not on skirt, eyeballs or the mouth hole).
    """

    def __init__(self, model: FaceModel, size: int = 256) -> None:
        self.size = size
        points = np.concatenate([model.uv * size - 0.5, np.zeros((len(model.uv), 1))], axis=1).astype(np.float32)
        self._vertex = np.arange(len(model.uv), dtype=np.float32)
        flags = np.stack([model.skirt, model.eyeball.astype(np.float32)], 1)
        values, hit = attribute_map(points, model.triangles, flags, size, size)
        self.inside = (hit >= 0) & (values[..., 0] > 0.97) & (values[..., 1] < 0.02)
        self.mesh = hit >= 0
        self._triangles = model.triangles
        self._points = points

    def source_map(self, mesh: np.ndarray) -> np.ndarray:
        """(T, T, 2) float32 frame position of each texel for a (V, ≥2) mesh in pixels; 0 outside the mesh."""
        attributes = np.ascontiguousarray(mesh[:, :2], np.float32)
        return attribute_map(self._points, self._triangles, attributes, self.size, self.size)[0]

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
