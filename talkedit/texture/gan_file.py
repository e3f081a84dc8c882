"""Networks of the texture GAN as safetensors files of half precision."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import save_file
from torch import nn

from talkedit.errors import InputError
from talkedit.tensor_file import read_tensors
from talkedit.texture.encoder import Encoder
from talkedit.texture.stylegan import Synthesis

GENERATOR, ENCODER = "generator.safetensors", "encoder.safetensors"


def network_tensors(network: nn.Module) -> dict[str, np.ndarray]:
    """Weights by name, half precision."""
    return {k: np.ascontiguousarray(v.detach().cpu().numpy().astype(np.float16))
            for k, v in network.state_dict().items()}  # fmt: skip


def shape_of(network: nn.Module) -> dict[str, str]:
    """What has to be known to build the network again, as strings for a file's header."""
    if isinstance(network, Encoder):
        return {"encoder": json.dumps([network.size, network.width, network.components])}
    synthesis = network if isinstance(network, Synthesis) else network.synthesis
    shape = {"channels": synthesis.channels, "components": synthesis.components, "published": synthesis.published}
    return {name: json.dumps(value) for name, value in shape.items()}


def build_synthesis(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> Synthesis:
    """The synthesis network of a file, ready to use; KeyError, ValueError, RuntimeError where it is something else."""
    channels = {int(r): int(c) for r, c in json.loads(metadata["channels"]).items()}
    published = metadata.get("published") == "true"  # older files do not say
    synthesis = Synthesis(channels, int(metadata["components"]), published)
    synthesis.load_state_dict({k.removeprefix("synthesis."): torch.from_numpy(v.astype(np.float32))
                               for k, v in tensors.items() if not k.startswith("mapping.")})  # fmt: skip
    return synthesis.eval().requires_grad_(False)


def build_encoder(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> Encoder:
    """The encoder of a file, ready to use; errors as `build_synthesis`."""
    encoder = Encoder(*(int(n) for n in json.loads(metadata["encoder"])))
    encoder.load_state_dict({k: torch.from_numpy(v.astype(np.float32)) for k, v in tensors.items()})
    return encoder.eval().requires_grad_(False)


def save_network(path: Path, network: nn.Module) -> None:
    """Writes a generator, synthesis network or encoder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(network_tensors(network), str(path), metadata=shape_of(network))


def load_network(path: Path) -> Synthesis | Encoder:
    """Reads it; of a generator only the synthesis.

    Raises:
        InputError: it is missing, damaged or something else.
    """
    try:
        tensors, metadata = read_tensors(path)
        return (build_encoder if "encoder" in metadata else build_synthesis)(tensors, metadata)
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, OSError) as error:
        raise InputError(f"'{path}' is missing or is no part of a texture GAN ({error})") from error
