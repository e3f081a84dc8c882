"""Directions in W+ that are seen as an emotion: as `talkedit.train.guide`, for shading instead of shape.

Neutral pictures of the training people are shaded with what the generator adds for an emotion, a picture reader looks
at them, and one offset in W+ for everybody follows the slope of what it reads. The generator keeps the change a face's:
folds and shadows where its training saw them. An addition of ours; the paper has no such term.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from talkedit.emotions import EMOTIONS
from talkedit.facemodel.camera import CAMERA, screen_points_numpy
from talkedit.facemodel.model import FaceModel
from talkedit.reconstruct.coefficients import LAYOUT
from talkedit.render.attributes import attribute_map
from talkedit.texture.editor import LIMIT
from talkedit.texture.gan import FINE, LIGHT, Directions, TextureGan
from talkedit.train.crops import Crops
from talkedit.train.picture_reader import SIZES, ZOOM, Reader, grey_of, growth, look, noisy, view

TURNED = ("happy", "angry", "sad", "surprised")
"""Those that crowds show often enough for a reader to be trusted; the others keep their directions."""
EXTENT = {"happy": 0.85, "angry": 0.7, "sad": 0.65, "surprised": 0.9, "disgusted": 0.65, "contempt": 0.85}
"""How strong the change of an emotion is at the end, its root mean square over what it was before: what reads better
needs less, and disgust is read off its furrows, which change the person less than shading does."""


@dataclass(frozen=True)
class ShadeGuidance:
    """Settings.

    Attributes:
        rounds: steps for each emotion that is turned; 0 leaves all directions where they point.
        batch: pictures a step.
        rate: of Adam, in units of W+.
        keep: weight of the offset's squared length.
    """

    rounds: int = 50
    batch: int = 24
    rate: float = 0.008
    keep: float = 0.02


class Shaded:
    """Pictures of faces with a change of log luminance on the UV template.

    Args:
        crops: the faces.
        model: the face model.
        size: pixels a side of what comes out.
    """

    def __init__(self, crops: Crops, model: FaceModel, size: int = SIZES[-1]) -> None:
        grey = torch.from_numpy(grey_of(crops.images))[:, None].float() / 255
        self._grey = look(grey, view(size).expand(len(grey), -1, -1, -1))
        maps = [_uv_map(row, model, size) for row in crops.coefficients]
        self._at = torch.from_numpy(np.stack([uv for uv, _ in maps])) * 2 - 1
        self._hit = torch.from_numpy(np.stack([hit for _, hit in maps]))[:, None]

    def __len__(self) -> int:
        return len(self._grey)

    def __call__(self, rows: Tensor, log_ratio: Tensor) -> Tensor:
        """(B, 1, S, S) pictures, 0..1, of (B,) rows under a (T, T) change; differentiable in the change."""
        change = functional.grid_sample(
            log_ratio[None, None].expand(len(rows), -1, -1, -1), self._at[rows], align_corners=False
        )
        return self._grey[rows] * (change * self._hit[rows]).exp()


def _uv_map(coefficients: np.ndarray, model: FaceModel, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(S, S, 2) texture coordinates that a picture's pixels see, and (S, S) float32 where they see the face."""
    mesh = model.vertices(coefficients[LAYOUT["identity"]], coefficients[LAYOUT["expression"]])
    points = screen_points_numpy(mesh, coefficients[LAYOUT["angle"]], coefficients[LAYOUT["translation"]])
    inside = ((points[:, :2] + 0.5) / CAMERA.size * 2 - 1) / ZOOM
    points[:, :2] = (inside + 1) / 2 * size - 0.5
    uv, hit = attribute_map(points.astype(np.float32), model.triangles, model.uv.astype(np.float32), size, size)
    return uv, (hit >= 0).astype(np.float32)


class _Changes:
    """What the generator adds for an emotion, differentiable in an offset to the direction.

    Args:
        gan: the editor; its people weigh alike.
        codes: (N, L, 512) of neutral faces.
    """

    def __init__(self, gan: TextureGan, codes: np.ndarray) -> None:
        self._gan, self._codes = gan, torch.from_numpy(np.asarray(codes, np.float32))
        equal = np.full(len(gan.people), 1 / len(gan.people), np.float32)
        self.directions = torch.from_numpy(np.stack([gan.directions.mixed(j, equal) for j in range(len(EMOTIONS))]))
        self._mask, self._rest = torch.from_numpy(gan.mask), torch.from_numpy(gan.remainder)

    def __call__(self, code: Tensor, emotion: int, offset: Tensor, factor: float = 1.0) -> Tensor:
        """(T, T) softly limited change from a (L, 512) code."""
        moved = code + factor * (self.directions[emotion] + offset)
        details = self._gan.synthesis(torch.stack([moved, code]))[:, 0]
        change, scale = (details[0] - details[1])[None, None], details.shape[-1] / 256
        if self._gan.flat[emotion]:
            change = change - _blurred(change, LIGHT * scale)
        raw = _blurred(change, FINE * scale)[0, 0] * self._mask + factor * self._rest[emotion]
        return LIMIT * torch.tanh(raw / LIMIT)

    def some(self, rng: np.random.Generator) -> Tensor:
        """One of the codes."""
        return self._codes[rng.integers(len(self._codes))]

    def strength(self, emotion: int, offset: Tensor, factor: float = 1.0) -> Tensor:
        """Root mean square of the change from the mean code."""
        return self(self._codes.mean(0), emotion, offset, factor).square().mean().sqrt()


def _blurred(picture: Tensor, sigma: float) -> Tensor:
    """(1, 1, T, T) under a Gaussian, edges mirrored, as OpenCV does."""
    half = int(4 * sigma + 0.5)
    taps = torch.exp(-0.5 * (torch.arange(-half, half + 1) / sigma) ** 2)
    taps = taps / taps.sum()
    padded = functional.pad(picture, (half,) * 4, mode="reflect")
    return functional.conv2d(functional.conv2d(padded, taps[None, None, None]), taps[None, None, :, None])


def guided(
    gan: TextureGan, codes: np.ndarray, reader: Reader, shaded: Shaded, settings: ShadeGuidance, seed: int = 0
) -> TextureGan:
    """The editor with directions that the reader takes for their emotions more than before.

    Args:
        gan: the editor.
        codes: (N, L, 512) of neutral faces that the change is made from.
        reader: of pictures.
        shaded: neutral faces.
        settings: of the ascent.
        seed: of the batches.
    """
    gan.synthesis.requires_grad_(False)
    changes = _Changes(gan, codes)
    values, rest = gan.directions.values.copy(), gan.remainder.copy()
    for name, extent in EXTENT.items():
        emotion = EMOTIONS.index(name)
        offset = torch.zeros_like(changes.directions[emotion], requires_grad=True)
        optimiser = torch.optim.Adam([offset], settings.rate)
        before = changes.strength(emotion, offset).detach()
        for step in range(settings.rounds if name in TURNED else 0):
            rng = np.random.default_rng([seed, emotion, step])
            change = changes(changes.some(rng), emotion, offset)
            change = change * torch.clamp(before / change.square().mean().sqrt(), max=1.0) * float(rng.uniform(0.5, 1))
            if rng.random() < 0.5:  # what is good for one side is good for the other
                change = change.flip(1)
            rows = torch.from_numpy(rng.integers(0, len(shaded), settings.batch))
            seen = noisy(shaded(rows, change), rng)
            target = torch.full((len(rows),), emotion)
            loss = functional.nll_loss(reader(seen), target) + settings.keep * offset.square().sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        factor = _factor(changes, emotion, offset.detach(), extent * before)
        rows = np.unique(gan.directions.row[:, emotion])
        values[rows] = factor * (values[rows] + offset.detach().numpy())
        rest[emotion] *= factor
    return replace(gan, directions=Directions(values, gan.directions.row), remainder=rest)


@torch.no_grad()
def _factor(changes: _Changes, emotion: int, offset: Tensor, wanted: Tensor) -> float:
    """What direction, offset and remainder are multiplied by for a change of the wanted strength."""
    factor = 1.0
    for _ in range(6):
        factor *= float(wanted / changes.strength(emotion, offset, factor).clamp(min=1e-9))
    return factor


@torch.no_grad()
def gains(gan: TextureGan, codes: np.ndarray, reader: Reader, shaded: Shaded) -> dict[str, float]:
    """By how much each emotion's mean probability grows when faces are shaded at full intensity."""
    changes, mean = _Changes(gan, codes), torch.from_numpy(np.asarray(codes, np.float32)).mean(0)
    none = torch.zeros_like(mean)
    each = [changes(mean, j, none) for j in range(len(EMOTIONS))]

    def show(rows: Tensor, emotion: int | None) -> Tensor:
        return shaded(rows, torch.zeros(gan.mask.shape) if emotion is None else each[emotion])

    return growth(reader, len(shaded), show)
