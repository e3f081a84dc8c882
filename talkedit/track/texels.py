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
        y, x = np.nonzero(self.inside)
        # Barycentric shares: the corners' (u, v, 1) times the shares is (x, y, 1).
        edges = np.concatenate([model.uv[corners] * SIZE - 0.5, np.ones((*corners.shape, 1))], axis=2)
        shares = np.linalg.solve(edges.transpose(0, 2, 1), np.stack([x, y, np.ones(len(x))], 1)[..., None])[..., 0]
        rows = np.repeat(np.arange(len(corners)), 3)
        weights = sparse.csr_matrix((shares.ravel(), (rows, corners.ravel())), shape=(len(corners), len(model.uv)))
        self._points = (weights @ model.position).astype(np.float32).tocsr()
        self._slopes = [(_differences(self.inside, axis) @ self._points).tocsr() for axis in (1, 0)]
        mean = model.at_landmarks(model.mean) * np.float32([1, -1, -1])
        self._sign = np.sign(np.median(self._depth(mean)))

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

    def within(self, landmarks: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """(N,) bool: which texels lie in a picture of a shape (H, W, ...), for (≥468, ≥2) landmarks in pixels."""
        x, y = (self._points @ landmarks[:LANDMARKS, :2]).T
        return (x >= 0) & (y >= 0) & (x <= shape[1] - 1) & (y <= shape[0] - 1)

    def facing(self, landmarks: np.ndarray) -> np.ndarray:
        """(N,) float32 cosine between each texel's normal and the view, for (≥468, 3) landmarks in pixels."""
        return self._depth(landmarks[:LANDMARKS]) * self._sign

    def _depth(self, landmarks: np.ndarray) -> np.ndarray:
        """(N,) depth of the unit normals, of one sign or the other."""
        (ax, ay, az), (bx, by, bz) = ((slope @ landmarks.astype(np.float32)).T for slope in self._slopes)
        x, y, z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        return z / np.sqrt(x * x + y * y + z * z + np.float32(1e-9))

    def picture(self, values: np.ndarray) -> np.ndarray:
        """(SIZE, SIZE, ...) of (N, ...) values at the texels, 0 off the face."""
        out = np.zeros((SIZE, SIZE, *values.shape[1:]), values.dtype)
        out[self.inside] = values
        return out


def _differences(inside: np.ndarray, axis: int) -> sparse.csr_matrix:
    """(N, N): each texel's next neighbour along an axis minus the one before, as far as they are ``inside``."""
    number = np.cumsum(inside).reshape(inside.shape) - 1
    low, high = (np.take(number, np.arange(s, SIZE - 1 + s), axis) for s in (0, 1))
    both = np.take(inside, np.arange(SIZE - 1), axis) & np.take(inside, np.arange(1, SIZE), axis)
    low, high, one = low[both], high[both], np.ones(both.sum(), np.float32)
    rows, columns = np.r_[low, low, high, high], np.r_[high, low, high, low]
    return sparse.csr_matrix((np.r_[one, -one, one, -one], (rows, columns)), shape=(number.max() + 1,) * 2)
