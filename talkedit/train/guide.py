"""Directions that are seen as an emotion: what tracked actors and crowds do, turned towards what reads on pictures.

A direction learned from tracked landmarks says how faces differ on average, and much of that is how the actors of one
emotion hold themselves. So neutral pictures of the training people are warped along the direction and shown to a
`talkedit.train.picture_reader.Reader`, and the direction follows the slope of what it reads, at the same length, kept
near where it began and the same on both sides of the face. An addition of ours; the paper has no such term.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import Delaunay, cKDTree
from torch import Tensor
from torch.nn import functional

from talkedit.emotions import EMOTIONS, NEUTRAL
from talkedit.facemodel.camera import CAMERA, screen_points
from talkedit.facemodel.model import FaceModel
from talkedit.geometry.holds import Holds
from talkedit.geometry.losses import FacePoints
from talkedit.geometry.openings import Openings
from talkedit.reconstruct.coefficients import LAYOUT
from talkedit.train.crops import Crops
from talkedit.train.picture_reader import SIZES, ZOOM, Reader, grey_of, growth, look, noisy, view
from talkedit.train.reconstruction import Mirror

# Emotions whose tracked averages hardly read on pictures though crowds show them. Smiles and surprise read as they are,
# and of fear, disgust and contempt the pictures here show too few people for a reader to be trusted.
# How firmly each is held to where it began, over `Guidance.keep`: sadness turned as far as anger is read less by a
# classifier of tracked expressions (0.69 of the frames, 0.80 asked), and changes the person more.
GUIDED = {"angry": 1.0, "sad": 5.0}
MAX_YAW = 0.35
# Outer and inner edge of the upper lip and of the lower one. A reader takes full lips for a pout; nobody's get thicker.
_LIPS = (np.array([37, 0, 267, 84, 17, 314]), np.array([82, 13, 312, 87, 14, 317]))
_THICKNESS = 300.0
# How far around the face its movement fades, over the outer-eye distance.
_SKIRT = 0.2


@dataclass(frozen=True)
class Guidance:
    """Settings.

    Attributes:
        steps: of the ascent; 0 leaves directions as they are.
        batch: pictures a step, spread over the emotions.
        rate: of Adam, in units of the coefficients' spread.
        keep: weight of the squared distance from the start, same units.
        pictures: how many of a crowd are shown; studio pictures and actors come on top.
    """

    steps: int = 150
    batch: int = 32
    rate: float = 0.02
    keep: float = 0.02
    pictures: int = 300


class Held:
    """Moves of the face as an edit holds them (see `talkedit.editor`), lips shut: linear in the coefficients.

    Args:
        model: the face model.
    """

    def __init__(self, model: FaceModel) -> None:
        mean = model.at_landmarks(model.mean)
        openings = Openings(mean)
        holds = Holds(mean, openings.distances)
        basis = np.moveaxis(model.at_landmarks(model.exp_basis), 2, 0)
        self._basis = torch.tensor(openings.shut(holds(basis)), dtype=torch.float32)
        self._eye = float(np.linalg.norm(mean[33] - mean[263]))

    def __call__(self, moves: Tensor) -> Tensor:
        """(B, 468, 3) landmark displacements, model units, of (B, 64) changes of the expression."""
        return torch.einsum("bk,kvc->bvc", moves, self._basis)

    def thickness(self, moves: Tensor) -> Tensor:
        """(B, 6) change of the lips' thickness, upper ones first, over the outer-eye distance."""
        y, side = self(moves)[..., 1], torch.tensor([1, 1, 1, -1, -1, -1])
        return (y[:, _LIPS[0]] - y[:, _LIPS[1]]) * side / self._eye

    def size(self, moves: Tensor) -> Tensor:
        """(B,) root of the mean squared displacement: a large movement of few points counts more than many small."""
        return self(moves).square().sum(-1).mean(1).sqrt()


class Shown:
    """Pictures of faces with their landmarks displaced.

    Args:
        crops: the faces.
        model: the face model.
        size: pixels a side of what comes out.
    """

    def __init__(self, crops: Crops, model: FaceModel, size: int = SIZES[-1]) -> None:
        self._grey = torch.from_numpy(grey_of(crops.images))[:, None].float() / 255
        self._grid = view(size)
        places = ((self._grid[0].reshape(-1, 2).numpy() + 1) / 2 * CAMERA.size - 0.5).astype(np.float64)
        corners, weights = zip(*(_weights(points, places) for points in crops.landmarks), strict=True)
        self._corners, self._weights = torch.from_numpy(np.stack(corners)), torch.from_numpy(np.stack(weights))
        code = torch.from_numpy(crops.coefficients)
        self._angle, self._translation = code[:, LAYOUT["angle"]], code[:, LAYOUT["translation"]]
        self._points = FacePoints(model).surface(torch.cat([code[:, LAYOUT[n]] for n in ("identity", "expression")], 1))

    def __len__(self) -> int:
        return len(self._grey)

    def __call__(self, rows: Tensor, delta: Tensor) -> Tensor:
        """(B, 1, S, S) pictures, 0..1, differentiable in the displacements.

        Args:
            rows: (B,) which faces.
            delta: (B, 468, 3) model units.
        """
        pose = (self._angle[rows], self._translation[rows])
        before, after = (screen_points(self._points[rows] + d, *pose)[..., :2] for d in (0 * delta, delta))
        moved = (after - before) * (2 / CAMERA.size)
        near = moved[torch.arange(len(rows))[:, None, None], self._corners[rows]]
        size = self._grid.shape[1]
        flow = (near * self._weights[rows][..., None]).sum(2).unflatten(1, (size, size))
        # A pixel shows what moved there: the movement is looked up where that came from.
        grid = self._grid.expand(len(rows), -1, -1, -1)
        back = look(flow.movedim(3, 1), (grid - flow) / ZOOM).movedim(1, 3)
        return look(self._grey[rows], grid - back)


def _weights(points: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P, 3) landmarks and weights that give the movement at (P, 2) places, those around the face included."""
    mesh = Delaunay(points.astype(np.float64))
    found = mesh.find_simplex(places)
    affine = mesh.transform[found]
    first = np.einsum("nij,nj->ni", affine[:, :2], places - affine[:, 2])
    corners, weights = mesh.simplices[found].astype(np.int64), np.c_[first, 1 - first.sum(1)]
    out = found < 0
    away, nearest = cKDTree(points).query(places[out])
    eye = np.linalg.norm(points[33] - points[263])
    corners[out], weights[out] = nearest[:, None], 0
    weights[out, 0] = np.exp(-0.5 * (away / (_SKIRT * eye)) ** 2)
    return corners, weights.astype(np.float32)


def neutral_faces(crops: Crops, emotions: np.ndarray, left_out: np.ndarray, count: int, seed: int = 0) -> Crops:
    """Neutral crops that look at the camera: ``count`` of a crowd, all of a studio, a few of each actor.

    Args:
        crops: everything.
        emotions: (N,) labels, see `talkedit.train.crops.emotions_of`.
        left_out: (N,) bool, faces not to take.
        count: of the crowd.
        seed: of the choice.
    """
    rng = np.random.default_rng(seed)
    facing = np.abs(crops.coefficients[:, LAYOUT["angle"]][:, 1]) < MAX_YAW
    usable = (emotions == NEUTRAL) & ~left_out & facing

    def some(rows: np.ndarray, most: int) -> np.ndarray:
        return np.sort(rng.permutation(rows)[:most])

    chosen = [np.flatnonzero(usable & (crops.sources == "london"))]
    chosen.append(some(np.flatnonzero(usable & (crops.sources == "faces_open")), count))
    actors = np.unique(crops.people[usable & (crops.sources == "mead")])
    chosen += [some(np.flatnonzero(usable & (crops.people == a)), 6) for a in actors]
    return crops.where(np.concatenate(chosen))


def guided(
    directions: np.ndarray, projection: np.ndarray, reader: Reader, shown: Shown, model: FaceModel,
    settings: Guidance, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """Directions that the reader takes for their emotions more than before.

    Args:
        directions: (7, 64) changes of the expression at full strength, in the order of ``EMOTIONS``.
        projection: (64, 64) takes the opening of the lips out, see `talkedit.geometry.gan.speech_projection`.
        reader: of pictures.
        shown: neutral faces.
        model: the face model.
        settings: of the ascent.
        seed: of the batches.

    Returns:
        (7, 64), as long as before by `Held.size`; emotions that are not ``GUIDED`` as they were.
    """
    held, mirror = Held(model), Mirror(model)
    free = torch.tensor([e in GUIDED for e in EMOTIONS]).float()[:, None]
    wanted = torch.tensor([EMOTIONS.index(e) for e in GUIDED])
    out_of_speech = torch.from_numpy(projection.T)
    start = torch.from_numpy(directions) @ out_of_speech
    firm = torch.tensor([GUIDED.get(e, 1.0) for e in EMOTIONS])
    length, thickness = held.size(start), held.thickness(start)
    change = torch.zeros_like(start, requires_grad=True)
    optimiser = torch.optim.Adam([change], settings.rate)

    def moves() -> Tensor:
        both = (change + mirror.expression(change)) / 2
        turned = start + free * both @ out_of_speech
        return turned * (length / held.size(turned))[:, None]

    for step in range(settings.steps):
        rng = np.random.default_rng([seed, step])
        rows = torch.from_numpy(rng.integers(0, len(shown), settings.batch))
        target = wanted[torch.arange(settings.batch) % len(wanted)]
        strength = torch.from_numpy(rng.uniform(0.5, 1, (settings.batch, 1)).astype(np.float32))
        now = moves()
        seen = noisy(shown(rows, held(now[target] * strength)), rng)
        loss = functional.nll_loss(reader(seen), target) + settings.keep * (firm * change.square().sum(1)).mean()
        loss = loss + _THICKNESS * (held.thickness(now) - thickness).square().mean(1).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return moves().detach().numpy()


@torch.no_grad()
def gains(moves: np.ndarray, reader: Reader, shown: Shown, model: FaceModel) -> dict[str, float]:
    """By how much each emotion's mean probability grows when faces are moved by (7, 64) changes."""
    held, still = Held(model), torch.zeros(1, moves.shape[1])
    each = torch.from_numpy(moves)[:, None]

    def show(rows: Tensor, emotion: int | None) -> Tensor:
        return shown(rows, held((still if emotion is None else each[emotion]).expand(len(rows), -1)))

    return growth(reader, len(shown), show)
