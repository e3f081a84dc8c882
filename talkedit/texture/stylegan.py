"""StyleGAN2 on UV textures in plain PyTorch: mapping, modulated convolutions, skip outputs, discriminator, losses.

Any power-of-two size and any channel budget. A generator of size T takes L = 2·log2(T) − 2 codes of 512 numbers (W+):
16 at 512 texels as the paper, 14 at 256.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

W = 512
"""Numbers in a code."""
CHANNELS = 3
"""Channels of a texture, see `talkedit.train.textures`."""
SLOPE, GAIN = 0.2, math.sqrt(2)


def codes_of(size: int) -> int:
    """L of a generator of ``size`` texels a side."""
    return 2 * int(math.log2(size)) - 2


def budget(size: int, most: int = 512, base: int = 16384) -> dict[int, int]:
    """Channels at each resolution from 4 to ``size``: min(base / resolution, most), as StyleGAN2 has them."""
    return {r: min(base // r, most) for r in resolutions(size)}


def resolutions(size: int) -> list[int]:
    """4, 8, ... ``size``."""
    return [2**k for k in range(2, int(math.log2(size)) + 1)]


class Linear(nn.Module):
    """A fully connected layer with equalised learning rate.

    Args:
        fan_in, fan_out: numbers in and out.
        bias: its initial value.
        rate: of learning, relative to the rest.
    """

    def __init__(self, fan_in: int, fan_out: int, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in) / rate)
        self.bias = nn.Parameter(torch.full((fan_out,), bias / rate))
        self.gain, self.rate = rate / math.sqrt(fan_in), rate

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight * self.gain, self.bias * self.rate)


class Conv(nn.Module):
    """A convolution with equalised learning rate, "same" padding; ``stride`` 2 halves the picture."""

    def __init__(self, fan_in: int, fan_out: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(fan_out)) if bias else None
        self.gain, self.stride, self.padding = 1 / math.sqrt(fan_in * kernel**2), stride, kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight * self.gain, self.bias, self.stride, self.padding)


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU that keeps the second moment."""
    return functional.leaky_relu(x, SLOPE) * GAIN


def enlarge(x: Tensor) -> Tensor:
    """(B, C, H, W) → (B, C, 2H, 2W) with the filter [1, 3, 3, 1], StyleGAN2's; borders go on beyond the edge."""
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def enlarge_dark(x: Tensor) -> Tensor:
    """`enlarge` with zeros beyond the edge, as published."""
    return enlarge(functional.pad(x, (1, 1, 1, 1)))[..., 2:-2, 2:-2]


def convolve_enlarged(x: Tensor, weight: Tensor) -> Tensor:
    """(B, C, H, W) → (B, D, 2H, 2W) as published: zeros between the texels, (D, C, 3, 3) weights, then [1, 3, 3, 1]."""
    y = functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    taps = y.new_tensor([1.0, 3, 3, 1]) / 4
    made = functional.conv2d(y.flatten(0, 1)[:, None], torch.outer(taps, taps)[None, None], padding=1)
    return made.unflatten(0, y.shape[:2])[:, :, 0]


class Mapping(nn.Module):
    """(B, 512) normal noise to (B, 512) codes, and their running mean ``average``."""

    def __init__(self, layers: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Linear(W, W, rate=0.01) for _ in range(layers))
        self.register_buffer("average", torch.zeros(W))

    def forward(self, z: Tensor, truncation: float = 1.0) -> Tensor:
        """Codes of ``z``, drawn towards the average where ``truncation`` is below 1."""
        w = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.layers:
            w = activate(layer(w))
        return w if truncation == 1 else self.average.lerp(w, truncation)

    @torch.no_grad()
    def follow(self, w: Tensor, keep: float = 0.998) -> None:
        """Moves the average towards the mean of (B, 512) codes."""
        self.average.copy_(w.mean(0).lerp(self.average, keep))


class ModulatedConv(nn.Module):
    """A convolution whose weights a code scales per input channel, normalised to unit output variance.

    out = conv(x · s, weight) · σ⁻¹ with s = affine(w) and σ² = Σ (weight · s)² over inputs and taps: the same as
    scaling the weights of each sample, at a fraction of the cost.

    Args:
        fan_in, fan_out: channels.
        kernel: taps a side.
        demodulate: normalise; left out where a picture is written.
        up: the result is twice as large, see `convolve_enlarged`.
    """

    def __init__(self, fan_in: int, fan_out: int, kernel: int = 3, demodulate: bool = True, up: bool = False) -> None:
        super().__init__()
        self.affine = Linear(W, fan_in, bias=1.0)
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in, kernel, kernel))
        self.gain, self.padding, self.demodulate = 1 / math.sqrt(fan_in * kernel**2), kernel // 2, demodulate
        self.up = up

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(B, C_in, H, W) and (B, 512) codes → (B, C_out, H, W), or 2H and 2W."""
        style, weight = self.affine(w), self.weight * self.gain
        x = x * style[:, :, None, None]
        y = convolve_enlarged(x, weight) if self.up else functional.conv2d(x, weight, padding=self.padding)
        if not self.demodulate:
            return y
        norm = (style.square() @ weight.square().sum((2, 3)).T + 1e-8).rsqrt()
        return y * norm[:, :, None, None]


class StyledLayer(nn.Module):
    """Modulated convolution, noise, bias, activation.

    Args:
        fan_in, fan_out: channels.
        size: texels a side of the result.
        up: whether the input is half that.
        published: see `Synthesis`.
    """

    def __init__(self, fan_in: int, fan_out: int, size: int, up: bool = False, published: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv(fan_in, fan_out, up=up and published)
        self.bias = nn.Parameter(torch.zeros(fan_out))
        self.strength = nn.Parameter(torch.zeros(()))
        self.size, self.up = size, up and not published

    def forward(self, x: Tensor, w: Tensor, noise: torch.Generator | None) -> Tensor:
        # Convolving before enlarging costs a quarter and gives the same smoothness.
        x = self.conv(x, w)
        if self.up:
            x = enlarge(x)
        if noise is not None:
            drawn = torch.randn((len(x), 1, self.size, self.size), generator=noise, device=noise.device)
            x = x + drawn.to(x.device) * self.strength
        return activate(x + self.bias[:, None, None])


class Block(nn.Module):
    """One resolution of the generator: one or two layers, and what it adds to the texture."""

    def __init__(self, fan_in: int, fan_out: int, size: int, published: bool = False) -> None:
        super().__init__()
        first = [] if size == 4 else [StyledLayer(fan_in, fan_out, size, True, published)]
        self.layers = nn.ModuleList([*first, StyledLayer(fan_in if size == 4 else fan_out, fan_out, size)])
        self._enlarge = enlarge_dark if published else enlarge
        self.write = ModulatedConv(fan_out, CHANNELS, 1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(CHANNELS))

    def forward(self, x: Tensor, picture: Tensor | None, codes: Tensor, noise: torch.Generator | None):
        """Features, texture so far, and the (B, 2 or 3, 512) codes of this block → features and texture."""
        for i, layer in enumerate(self.layers):
            x = layer(x, codes[:, i], noise)
        added = self.write(x, codes[:, len(self.layers)]) + self.bias[:, None, None]
        return x, added if picture is None else self._enlarge(picture) + added


class Synthesis(nn.Module):
    """(B, L, 512) codes to (B, 3, T, T) textures.

    UV textures lie on a fixed template, so there may be eigen-textures below the styled layers: fixed pictures that
    the codes weigh, and to which the layers add what is not linear.

    Args:
        channels: how many at each resolution from 4 to T, see `budget`.
        components: how many eigen-textures, a multiple of L; 0 gives the plain StyleGAN2.
        published: enlarges exactly as the published StyleGAN2, as weights that were trained with it need.
    """

    def __init__(self, channels: dict[int, int], components: int = 0, published: bool = False) -> None:
        super().__init__()
        self.channels, self.components, self.published = dict(channels), components, published
        self.size = max(channels)
        self.codes = codes_of(self.size)
        self.constant = nn.Parameter(torch.randn(channels[4], 4, 4))
        sizes = resolutions(self.size)
        self.blocks = nn.ModuleList(Block(channels[max(r // 2, 4)], channels[r], r, published) for r in sizes)

        if components:
            half = self.size // 2
            self.register_buffer("mean", torch.zeros(CHANNELS, self.size, self.size))
            self.register_buffer("eigen", torch.zeros(components, half, half))
            self.register_buffer("subspace", torch.zeros(self.codes, components // self.codes, W))

    def linear(self, codes: Tensor, size: int) -> Tensor:
        """(B, 3, S, S) mean and eigen-textures, weighted by (B, L, 512) codes."""
        weights = torch.einsum("blw,lkw->blk", codes, self.subspace).flatten(1)
        half = self.size // 2
        side = min(size, half)
        eigen = functional.interpolate(self.eigen[None], (side, side), mode="area") if side < half else self.eigen[None]
        made = (weights @ eigen[0].flatten(1)).reshape(-1, 1, side, side)
        if size > side:
            made = enlarge(made)
        mean = functional.interpolate(self.mean[None], (size, size), mode="area")
        return mean + functional.pad(made, (0, 0, 0, 0, 0, CHANNELS - 1))

    def forward(self, codes: Tensor, size: int | None = None, noise: torch.Generator | None = None) -> Tensor:
        """The texture, or its first stages up to ``size`` texels; without noise it is a function of the codes."""
        x, picture = self.constant.expand(len(codes), -1, -1, -1), None
        at = 0
        for block in self.blocks[: len(resolutions(size or self.size))]:
            x, picture = block(x, picture, codes[:, at : at + len(block.layers) + 1], noise)
            at += len(block.layers)
        return picture + self.linear(codes, size or self.size) if self.components else picture


class Generator(nn.Module):
    """t-GAN: mapping and synthesis.

    Args:
        channels, published: see `Synthesis`.
        layers: of the mapping.
    """

    def __init__(self, channels: dict[int, int], layers: int = 8, published: bool = False) -> None:
        super().__init__()
        self.mapping = Mapping(layers)
        self.synthesis = Synthesis(channels, published=published)

    def forward(self, z: Tensor, other: Tensor | None = None, cut: int | None = None,
                noise: torch.Generator | None = None, size: int | None = None) -> tuple[Tensor, Tensor]:  # fmt: skip
        """(B, 512) noise → textures and their (B, L, 512) codes; from code ``cut`` on those of ``other`` (mixing)."""
        w = self.mapping(z)
        if self.training:
            self.mapping.follow(w)
        codes = w[:, None].repeat(1, self.synthesis.codes, 1)
        if other is not None:
            codes[:, cut:] = self.mapping(other)[:, None]
        return self.synthesis(codes, size, noise), codes


class Discriminator(nn.Module):
    """Residual discriminator of textures of which only a part was seen.

    Unseen texels are set to 0 in real and made textures alike, and it sees the visibility, so that they teach nothing.

    Args:
        channels: how many at each resolution from 4 to T.
        chroma: False compares luminance only (grey pictures).
    """

    def __init__(self, channels: dict[int, int]) -> None:
        super().__init__()
        self.size = max(channels)
        sizes = resolutions(self.size)[::-1]
        self.read = Conv(CHANNELS + 2, channels[self.size], 1)
        self.first = nn.ModuleList(Conv(channels[r], channels[r]) for r in sizes[:-1])
        self.second = nn.ModuleList(Conv(channels[r], channels[r // 2], 3, 2) for r in sizes[:-1])
        self.past = nn.ModuleList(Conv(channels[r], channels[r // 2], 1, bias=False) for r in sizes[:-1])
        self.last = Conv(channels[4] + 1, channels[4])
        self.flat = Linear(channels[4] * 16, channels[4])
        self.score = Linear(channels[4], 1)

    def forward(self, texture: Tensor, seen: Tensor, colour: Tensor) -> Tensor:
        """(B, 3, T, T), (B, 1, T, T) visibility in 0..1 and (B,) 1 for colour, 0 for grey → (B,) scores."""
        told = colour[:, None, None, None].expand_as(seen) * seen
        parts = [texture[:, :1] * seen, texture[:, 1:] * told, seen, told]
        x = activate(self.read(torch.cat(parts, 1)))
        for first, second, past in zip(self.first, self.second, self.past, strict=True):
            y = activate(second(activate(first(x))))
            x = (y + past(functional.avg_pool2d(x, 2))) / GAIN
        x = torch.cat([x, spread(x).expand(len(x), 1, 4, 4)], 1)
        x = activate(self.last(x)).flatten(1)
        return self.score(activate(self.flat(x)))[:, 0]


def spread(x: Tensor, group: int = 4) -> Tensor:
    """(B, 1, 1, 1) mean standard deviation within groups of the batch (minibatch statistics)."""
    count = len(x)
    group = math.gcd(count, group)
    y = x.reshape(group, count // group, *x.shape[1:])
    deviation = (y.var(0, unbiased=False) + 1e-8).sqrt()
    return deviation.mean((1, 2, 3)).repeat(group).reshape(count, 1, 1, 1)


def r1_penalty(score: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """Mean squared gradient norm of the score at real textures (R1)."""
    real = real.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(score(real).sum(), real, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def path_lengths(texture: Tensor, codes: Tensor, noise: Tensor) -> Tensor:
    """(B,) lengths of Jᵀy for y = noise / √texels, the root mean square over the codes.

    Args:
        texture: (B, C, H, W) made from ``codes``.
        codes: (B, L, 512), in the graph of ``texture``.
        noise: like ``texture``, standard normal.
    """
    scaled = noise / math.sqrt(texture.shape[2] * texture.shape[3])
    (gradient,) = torch.autograd.grad((texture * scaled).sum(), codes, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()


def path_penalty(lengths: Tensor, mean: Tensor, keep: float = 0.99) -> tuple[Tensor, Tensor]:
    """Mean squared distance of (B,) path lengths from their running mean, and that mean, moved on."""
    moved = lengths.detach().mean().lerp(mean, keep)
    return (lengths - moved).square().mean(), moved


@torch.no_grad()
def follow_average(average: nn.Module, network: nn.Module, keep: float) -> None:
    """Moves an exponential moving average of a network (EMA) one step on, buffers included."""
    new = network.state_dict()
    for name, value in average.state_dict().items():
        value.copy_(new[name].lerp(value, keep) if value.is_floating_point() else new[name])
