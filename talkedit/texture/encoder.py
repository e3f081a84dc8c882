"""From a texture to W+ in the manner of pSp: a feature pyramid, and a small map-to-style network a code."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from talkedit.texture.editor import detail_of
from talkedit.texture.stylegan import CHANNELS, GAIN, Conv, Linear, W, activate, codes_of, enlarge
from talkedit.texture.uv_map import LUMINANCE

DETAIL_RANGE, CHROMA_RANGE = 1.6, 0.8
"""The largest log luminance and log chroma that are kept."""
CHROMA_PART = 4
"""Chroma is kept at this fraction of the texture's side: it is smooth."""
SPREAD = 0.5
"""Standard deviation of an untrained encoder's codes around their mean."""
EIGEN_SIZE = 64
"""Texels a side at which eigen-textures are read, and the variance of what they leave unexplained there."""
NOISE = 0.05
READ_SIZE = 128
"""Texels a side of what the encoder reads; finer detail would not fit into the codes."""


def face_channels(texture: np.ndarray, seen: np.ndarray, detail: np.ndarray | None = None) -> np.ndarray:
    """(3, T, T) float32 channels of a (T, T, 3) texture in 0..255 and its (T, T) visibility; see
    `talkedit.train.textures`. 0 where unseen. ``detail`` is `detail_of` its luminance, where it is known."""
    if not seen.any():
        return np.zeros((CHANNELS, *seen.shape), np.float32)
    log = np.log(texture.astype(np.float32) + 8)
    chroma = np.stack([log[..., 0] - log[..., 1], log[..., 2] - log[..., 1]])
    chroma = (chroma - np.median(chroma[:, seen], axis=1)[:, None, None]) * seen
    if detail is None:
        detail = detail_of(texture.astype(np.float32) @ LUMINANCE, seen)
    return np.concatenate([detail[None].clip(-DETAIL_RANGE, DETAIL_RANGE), chroma.clip(-CHROMA_RANGE, CHROMA_RANGE)])


def quarter_chroma(chroma: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(2, T/4, T/4) of (2, T, T), averaged over what was seen."""
    small = tuple(n // CHROMA_PART for n in seen.shape[::-1])
    weight = np.maximum(cv2.resize(seen.astype(np.float32), small, interpolation=cv2.INTER_AREA), 0.05)
    return np.stack([cv2.resize(c * seen, small, interpolation=cv2.INTER_AREA) / weight for c in chroma])


class Residual(nn.Module):
    """Two convolutions, the second of which halves the picture, beside a shortcut."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.first = Conv(fan_in, fan_in)
        self.second = Conv(fan_in, fan_out, stride=2)
        self.past = Conv(fan_in, fan_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(activate(self.first(activate(x))))
        return (y + self.past(functional.avg_pool2d(x, 2))) / GAIN


class MapToStyle(nn.Module):
    """(B, C, 8, 8) features to a (B, 512) code: halved down to 2 × 2, then read at once."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(Conv(width, width, stride=2) for _ in range(2))
        self.out = Linear(width * 4, W)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.down:
            x = activate(conv(x))
        return self.out(x.flatten(1))


class EigenReader(nn.Module):
    """The weights of a generator's eigen-textures that explain what was seen of a texture best, as codes.

    Args:
        codes: L.
        components: K, a multiple of L.
    """

    def __init__(self, codes: int, components: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(EIGEN_SIZE**2))
        self.register_buffer("components", torch.zeros(components, EIGEN_SIZE**2))
        self.register_buffer("subspace", torch.zeros(codes, components // codes, W))

    @torch.no_grad()
    def forward(self, detail: Tensor, seen: Tensor) -> Tensor:
        """(B, 1, S, S) log luminance and visibility → (B, L, 512): ridge regression over the texels seen."""
        small = (EIGEN_SIZE, EIGEN_SIZE)
        area = functional.interpolate(seen, small, mode="area").flatten(1)
        texture = functional.interpolate(detail * seen, small, mode="area").flatten(1) / area.clamp_min(1e-3)
        weight = area / NOISE
        left = torch.einsum("bp,kp,jp->bkj", weight, self.components, self.components)
        left = left + torch.eye(len(self.components), device=left.device)
        right = (weight * (texture - self.mean)) @ self.components.T
        found = torch.linalg.solve(left, right).unflatten(1, self.subspace.shape[:2])
        return torch.einsum("blk,lkw->blw", found, self.subspace)


class Encoder(nn.Module):
    """E: texture, visibility and whether it has colour → W+ code as an offset from a learned mean.

    Args:
        size: texels a side of the generator's textures; sets the number of codes.
        width: channels of the pyramid, a multiple of 8.
        components: how many eigen-textures the generator has.

    Attributes:
        mean: (L, 512), the code of the mean face.
    """

    def __init__(self, size: int, width: int = 48, components: int = 0) -> None:
        super().__init__()
        self.size, self.width, self.components = size, width, components
        self.read = Conv(CHANNELS + 2, width // 2, 5, stride=2)
        self.body = nn.ModuleList(
            [Residual(width // 2, width), Residual(width, 2 * width), Residual(2 * width, 2 * width)]
        )
        self.side = nn.ModuleList(Conv(c, width, 1) for c in (width, 2 * width, 2 * width))
        count = codes_of(size)
        # As in pSp: the first codes read the coarsest level, the next ones finer levels.
        self.level = [2 if i < 3 else 1 if i < 7 else 0 for i in range(count)]
        # The way from a level down to 8 × 8 is shared by the codes that read it.
        self.down = nn.ModuleList(nn.ModuleList(Conv(width, width, stride=2) for _ in range(2 - k)) for k in range(3))
        self.heads = nn.ModuleList(MapToStyle(width) for _ in range(count))
        self.mean = nn.Parameter(torch.randn(count, W))
        self.eigen = EigenReader(count, components) if components else None

    def forward(self, texture: Tensor, seen: Tensor, colour: Tensor) -> Tensor:
        """(B, 3, S, S), (B, 1, S, S) in 0..1 and (B,) 1 for colour, 0 for grey → (B, L, 512)."""
        if texture.shape[-1] != READ_SIZE:
            texture = functional.interpolate(texture, (READ_SIZE, READ_SIZE), mode="area")
            seen = functional.interpolate(seen, (READ_SIZE, READ_SIZE), mode="area")
        told = colour[:, None, None, None].expand_as(seen) * seen
        x = self.read(torch.cat([2 * texture[:, :1] * seen, 4 * texture[:, 1:] * told, seen - 0.5, told - 0.5], 1))
        levels = []
        for block in self.body:
            x = block(x)
            levels.append(x)
        top = None
        for k in (2, 1, 0):
            own = self.side[k](levels[k])
            levels[k] = top = own if top is None else (own + enlarge(top)) / GAIN
        for k, convs in enumerate(self.down):
            for conv in convs:
                levels[k] = activate(conv(levels[k]))
        codes = self.mean + SPREAD * torch.stack(
            [head(levels[k]) for head, k in zip(self.heads, self.level, strict=True)], 1
        )
        return codes if self.eigen is None else codes + self.eigen(texture[:, :1], seen)
