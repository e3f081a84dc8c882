"""The face of every frame as a small texture: cheap enough to be taken of each one."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import sparse

from talkedit.composite.warp import bounds
from talkedit.facemodel.model import FaceModel
from talkedit.texture.uv_map import UvTemplate
from talkedit.track.topology import LANDMARKS

# Texels a side of the template.
SIZE = 64
# Pixels across the face in the small picture that is sampled: one to two a texel.
ACROSS = 80


class Texels:
    """Samples the N texels of the face that lie on skin (not on skirt, eyeballs or mouth hole).

    Args:
        model: a face model.

    Attributes:
        inside: (SIZE, SIZE) bool, which texels of the template these are, row by row.
    """

    def __init__(self, model: FaceModel) -> None:
        template = UvTemplate(model, SIZE)
        self.inside = template.inside
        corners = model.triangles[template.triangle[self.inside]]
        known = self.inside.astype(np.float32)[..., None]
        self._both = known[1:] * known[:-1], known[:, 1:] * known[:, :-1]
        y, x = np.nonzero(self.inside)
        # Barycentric shares: the corners' (u, v, 1) times the shares is (x, y, 1).
        edges = np.concatenate([model.uv[corners] * SIZE - 0.5, np.ones((*corners.shape, 1))], axis=2)
        shares = np.linalg.solve(edges.transpose(0, 2, 1), np.stack([x, y, np.ones(len(x))], 1)[..., None])[..., 0]
        rows = np.repeat(np.arange(len(corners)), 3)
        weights = sparse.csr_matrix((shares.ravel(), (rows, corners.ravel())), shape=(len(corners), len(model.uv)))
        self._points = (weights @ model.position).astype(np.float32).tocsr()
        self._faces = np.sign(np.median(self._slopes(model.at_landmarks(model.mean) * np.float32([1, -1, -1]))))

    def __len__(self) -> int:
        return self._points.shape[0]

    def sample(self, rgb: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """(N, 3) uint8 colours of a frame (H, W, 3) uint8 with a face at (≥468, ≥2) landmarks, pixels.

        Beyond the picture's border its outermost pixels go on.
        """
        landmarks = landmarks[:LANDMARKS, :2]
        x0, y0, x1, y1 = bounds(landmarks, rgb.shape)
        if x1 - x0 < 2 or y1 - y0 < 2:
            return np.zeros((len(self), 3), np.uint8)
        factor = max(1, round(float(np.ptp(landmarks[:, 0])) / ACROSS))
        width, height = max(1, (x1 - x0) // factor), max(1, (y1 - y0) // factor)
        small = rgb[y0 : y0 + factor * height, x0 : x0 + factor * width]
        if factor > 1:
            small = cv2.resize(small, (width, height), interpolation=cv2.INTER_AREA)
        at = (landmarks - np.float32([x0, y0]) + np.float32(0.5)) / np.float32(factor) - np.float32(0.5)
        x, y = (self._points @ at).T
        return cv2.remap(small, x[:, None], y[:, None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]

    def facing(self, landmarks: np.ndarray) -> np.ndarray:
        """(N,) float32 cosine between each texel's normal and the view, for (≥468, 3) landmarks in pixels."""
        return self._slopes(landmarks[:LANDMARKS]) * self._faces

    def _slopes(self, landmarks: np.ndarray) -> np.ndarray:
        """(N,) depth of the unit normals, of one sign or the other."""
        places = self.picture(self._points @ landmarks.astype(np.float32))
        # Differences of neighbours; at the rim only one side of a texel is known.
        slopes = []
        for axis in (0, 1):
            step = np.diff(places, axis=axis) * self._both[axis]
            pad = ((1, 0), (0, 0), (0, 0)) if axis == 0 else ((0, 0), (1, 0), (0, 0))
            slopes.append(np.pad(step, pad) + np.pad(step, [p[::-1] for p in pad]))
        (ax, ay, az), (bx, by, bz) = (slope[self.inside].T for slope in slopes)
        x, y, z = by * az - bz * ay, bz * ax - bx * az, bx * ay - by * ax
        return z / np.sqrt(x * x + y * y + z * z + np.float32(1e-9))

    def picture(self, values: np.ndarray) -> np.ndarray:
        """(SIZE, SIZE, ...) of (N, ...) values at the texels, 0 off the face."""
        out = np.zeros((SIZE, SIZE, *values.shape[1:]), values.dtype)
        out[self.inside] = values
        return out
