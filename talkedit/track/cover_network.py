"""The network that sees in one small texture of a face what hides it: what stands still is not told by movement.

A U-Net (Ronneberger et al. 2015) over the texels' luminance, trained with made-up things before real faces
(`talkedit.train.things`).
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
from talkedit.tensor_file import read_tensors
from talkedit.track.texels import SIZE

CHANNELS = (16, 32, 64, 96)
# Textures a pass.
_BATCH = 16


class CoverNetwork(nn.Module):
    """Logits that a texel shows something before the face."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(_pair(*pair) for pair in pairwise((1, *CHANNELS)))
        self.up = nn.ModuleList(_pair(low + high, low) for low, high in pairwise(CHANNELS))
        self.last = nn.Conv2d(CHANNELS[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, SIZE, SIZE) normalised luminance, 0 off the face, to (B, 1, SIZE, SIZE) logits."""
        beside = []
        for i, layer in enumerate(self.down):
            x = layer(functional.max_pool2d(x, 2) if i else x)
            beside.append(x)
        x = beside.pop()
        for layer in reversed(self.up):
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = layer(torch.cat([x, beside.pop()], 1))
        return self.last(x)


def _pair(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def normalised(luminance: np.ndarray) -> np.ndarray:
    """(B, N) float32 with median 0 and a typical spread of 1, whatever the exposure; of (B, N) luminance, 0..255."""
    middle = np.median(luminance, axis=1, keepdims=True)
    spread = np.median(np.abs(luminance - middle), axis=1, keepdims=True)
    return ((luminance - middle) / (2 * spread + 10)).astype(np.float32)


@torch.inference_mode()
def cover(network: CoverNetwork, luminance: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(B, N) float32 0..1, how surely each texel shows something before the face.

    Args:
        network: trained, in evaluation mode.
        luminance: (B, N) of the texels, 0..255.
        inside: (SIZE, SIZE) bool, where they lie.
    """
    pictures = torch.zeros(len(luminance), 1, SIZE, SIZE)
    pictures[:, 0, torch.from_numpy(inside)] = torch.from_numpy(normalised(luminance))
    out = [torch.sigmoid(network(part))[:, 0].numpy()[:, inside] for part in pictures.split(_BATCH)]
    return np.concatenate(out)


def save_cover(path: Path, network: CoverNetwork, metadata: dict[str, str]) -> None:
    """Writes the network as safetensors, numbers as float16."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    save_file({k: v.contiguous() for k, v in state.items()}, str(path), metadata=metadata)


def load_cover(path: Path) -> CoverNetwork:
    """Reads what :func:`save_cover` wrote, for inference.

    Raises:
        InputError: the file is damaged or something else.
    """
    try:
        network = CoverNetwork()
        network.load_state_dict({name: torch.from_numpy(value) for name, value in read_tensors(path)[0].items()})
    except (SafetensorError, RuntimeError, KeyError, ValueError, TypeError, OSError) as error:
        raise InputError(f"{path} is not an occluder network ({str(error).splitlines()[0]})") from error
    return network.eval()
