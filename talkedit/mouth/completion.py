"""Teeth completion (paper 3.3): a network sees lips and skin around a hidden mouth and fills in teeth, gums and cavity.

The encoder inverts the masked crop into a style vector, which stands for the person and the light, and features of
what lies around; the generator's layers are modulated by the style as in StyleGAN2 (Karras et al. 2020).
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from talkedit.errors import InputError
from talkedit.mouth.alignment import HEIGHT, WIDTH
from talkedit.tensor_file import read_tensors

CHANNELS = (16, 32, 64, 96, 128)
STYLE = 128


class StyledConv(nn.Module):
    """A 3x3 convolution whose input channels are scaled by a style, with StyleGAN2's demodulation.

    Args:
        inputs, outputs: channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3) * (9 * inputs) ** -0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = nn.Linear(STYLE, inputs)
        nn.init.normal_(self.scale.weight, std=0.05)
        nn.init.ones_(self.scale.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(B, inputs, h, w) and (B, STYLE) to (B, outputs, h, w)."""
        scale = self.scale(style)
        # Scaling what goes in and what comes out equals scaling the kernels of each sample, and is faster.
        power = scale.square() @ self.weight.square().sum((2, 3)).T
        y = functional.conv2d(x * scale[:, :, None, None], self.weight, padding=1)
        y = y * torch.rsqrt(power + 1e-6)[:, :, None, None] + self.bias[:, None, None]
        return functional.leaky_relu(y, 0.2) * 2**0.5


class Completion(nn.Module):
    """Encoder and generator.

    Args:
        width: channels in multiples of ``CHANNELS``.
    """

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        channels = [width * c for c in CHANNELS]
        down, up = [nn.Conv2d(4, channels[0], 3, padding=1)], []
        for inputs, outputs in pairwise(channels):
            down.append(nn.Conv2d(inputs, outputs, 3, 2, 1))
            up.append(nn.ModuleList([StyledConv(inputs + outputs, inputs), StyledConv(inputs, inputs)]))
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        cells = (HEIGHT >> len(up)) * (WIDTH >> len(up))
        self.to_style = nn.Linear(channels[-1] * cells, STYLE)
        self.to_rgb = nn.Conv2d(channels[0], 3, 1)

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        """(B, 3, HEIGHT, WIDTH) RGB in 0..1: the images, with what the mask hides filled in.

        Args:
            images: (B, 3, HEIGHT, WIDTH) in 0..1; what they hold under the mask is not used.
            mask: (B, 1, HEIGHT, WIDTH), 1 where hidden.
        """
        known = images * (1 - mask)
        x, beside = torch.cat([known * 2 - (1 - mask), mask], 1), []
        for layer in self.down:
            x = functional.leaky_relu(layer(x), 0.2)
            beside.append(x)
        style = functional.leaky_relu(self.to_style(beside.pop().flatten(1)), 0.2)
        for first, second in reversed(self.up):
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = second(first(torch.cat([x, beside.pop()], 1), style), style)
        return known + torch.sigmoid(self.to_rgb(x)) * mask


@torch.inference_mode()
def complete(network: Completion, crop: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) uint8 crop with the hidden part filled in; every other pixel is the crop's own.

    Args:
        network: trained.
        crop: (HEIGHT, WIDTH, 3) uint8.
        mask: (HEIGHT, WIDTH) float32, 1 where hidden.
    """
    images = torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255
    made = network(images, torch.from_numpy(mask)[None, None])[0].permute(1, 2, 0).numpy()
    return np.where(mask[..., None] > 0, (made * 255 + 0.5).astype(np.uint8), crop)


def save_completion(path: Path, network: Completion, metadata: dict[str, str]) -> None:
    """Writes the network as float16 safetensors."""
    save_file({k: v.half().contiguous() for k, v in network.state_dict().items()}, str(path), metadata=metadata)


def load_completion(path: Path) -> Completion:
    """Reads what :func:`save_completion` wrote, for inference.

    Raises:
        InputError: the file is damaged or something else.
    """
    try:
        tensors, _ = read_tensors(path)
        network = Completion(len(tensors["to_rgb.weight"][0]) // CHANNELS[0])
        network.load_state_dict({name: torch.from_numpy(value).float() for name, value in tensors.items()})
    except (SafetensorError, RuntimeError, KeyError, ValueError, TypeError, OSError) as error:
        raise InputError(f"{path} is not a teeth completion network ({str(error).splitlines()[0]})") from error
    return network.eval()
