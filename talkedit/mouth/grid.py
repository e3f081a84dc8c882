"""Where a speaker's rows of teeth lie: rigid on the skull and on the jaw, in a picture plane of the model's frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from talkedit.mouth.rows import Row
from talkedit.reconstruct.pose import Pose
from talkedit.track.topology import INNER_LIPS

# Half the width of a kept mouth, and how far it reaches above and below the lips of the mean face, in eye distances.
_SIDE, _ABOVE, _BELOW = 0.5, 0.25, 0.5
_BEHIND = 0.05  # the rows lie that far behind the lips, in eye distances
# Points on the same bone as each row, near enough that errors of the head's turn hardly count.
_NOSE_BASE = np.array([2, 94, 97, 326])
_CHIN = np.array([152, 148, 377, 176, 400, 175, 199])


def jaws(moved: np.ndarray) -> np.ndarray:
    """(2, D) how the bones under the upper and the lower teeth move, of (468, D) displacements of the landmarks."""
    return np.stack([moved[bone].mean(0) for bone in (_NOSE_BASE, _CHIN)])


class Grid:
    """A picture plane through the teeth in the model's frame.

    Args:
        mean: (468, 3) mean landmarks in model units.
        pixels: per eye distance.
    """

    def __init__(self, mean: np.ndarray, pixels: float) -> None:
        self._eye = float(np.linalg.norm(mean[33] - mean[263]))
        self.pixels = pixels
        self.scale = pixels / self._eye * np.array([1.0, -1.0])  # pixels per model unit
        lips = mean[INNER_LIPS].mean(0)
        self._corner = lips[:2] + np.array([-_SIDE, _ABOVE]) * self._eye
        self._depth = float(lips[2]) - _BEHIND * self._eye
        self._mean = mean
        self.lips_at = _ABOVE * pixels  # row of the pictures in which the lips of the mean face lie
        self.size = (round(2 * _SIDE * pixels), round((_ABOVE + _BELOW) * pixels))

    def shifts(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(2,) each, where upper and lower jaw of (468, 3) landmarks lie in the model's frame, against the mean's."""
        upper, lower = jaws(points[:, :2] - self._mean[:, :2])
        return upper, lower

    def at(self, point: np.ndarray) -> np.ndarray:
        """(2,) where a (2,) point of the model's frame, less the shift of its jaw, lies in this picture, pixels."""
        return (point - self._corner) * self.scale

    def place(self, pose: Pose, shift: np.ndarray) -> np.ndarray:
        """(2, 3) float32 affine map from the frame to this picture, for what the model's frame shows ``shift`` away."""
        flip = np.array([1.0, -1.0])
        matrix = pose.scale * pose.rotation[:2, :2].T * flip[:, None]
        offset = (pose.scale * self._depth * pose.rotation[2, :2] + pose.translation[:2]) * flip
        back = np.linalg.inv(matrix)
        still = -back @ offset - shift - self._corner
        return np.concatenate([back * self.scale[:, None], (still * self.scale)[:, None]], 1).astype(np.float32)


@dataclass
class Rows:
    """Both rows of a shot's speaker, in the model's frame.

    Attributes:
        upper, lower: the row, its ``place`` still without a frame; None where it was never seen.
        grid: of the pictures.
        guess: a drawn upper row, where it was never seen.
    """

    upper: Row | None
    lower: Row | None
    grid: Grid
    guess: Row | None = None

    def placed(self, pose: Pose, points: np.ndarray) -> tuple[Row | None, Row | None]:
        """The rows in a frame.

        Args:
            pose: of the frame.
            points: (468, 3) its landmarks in the model's frame.
        """
        shifts = self.grid.shifts(points)
        return tuple(
            None if row is None else row.at(self.grid.place(pose, shift))
            for row, shift in zip((self.upper, self.lower), shifts, strict=True)
        )

    def guessed(self, pose: Pose, points: np.ndarray) -> Row | None:
        """The drawn row in a frame, given as in `placed`."""
        if self.guess is None:
            return None
        return self.guess.at(self.grid.place(pose, self.grid.shifts(points)[0]))
