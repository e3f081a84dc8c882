"""Generators of StyleGAN2-ADA for PyTorch, read without running anything that their pickles hold or ask for.

Such a file pickles whole networks, each with the source code of its class. Here a network becomes the plain dict of its
attributes, the source code stays text, tensors are read by `torch.load` with ``weights_only``, numbers of NumPy are
dropped, and every other name that a pickle asks for is refused.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from talkedit.errors import InputError
from talkedit.texture.stylegan import CHANNELS, Generator, W, resolutions
from talkedit.texture.uv_map import LUMINANCE

# d log(value + 8) / dx of a channel x in -1..1 that means 0..255, at mid grey.
LOG_SLOPE = 127.5 / (127.5 + 8)


class _Plain(dict):
    """What takes the place of a dictionary class or of an object that is not needed; keeps entries only."""

    def __init__(self, *_: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        """Ignores it."""


def _network(meta: dict[str, Any]) -> dict[str, Any]:
    """A network's attributes; its source code, ``meta["module_src"]``, is left alone."""
    return meta["state"]


def _storage(data: bytes) -> torch.storage.TypedStorage:
    found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if not isinstance(found, torch.storage.TypedStorage):
        raise pickle.UnpicklingError("a storage holds something else")
    return found


def _tensor(storage: torch.storage.TypedStorage, offset: int, size: tuple, stride: tuple, *_: object) -> Tensor:
    with warnings.catch_warnings():  # PyTorch means to replace typed storages; pickles have them
        warnings.simplefilter("ignore", UserWarning)
        flat = torch.empty(0, dtype=storage.dtype).set_(storage.untyped())
    return flat.as_strided(size, stride, offset)


def _parameter(data: Tensor, *_: object) -> Tensor:
    return data


_ALLOWED: dict[str, Callable] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "dnnlib.util.EasyDict": _Plain,
    "torch_utils.persistence._reconstruct_persistent_obj": _network,
    "torch.storage._load_from_bytes": _storage,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
} | dict.fromkeys(
    (
        "numpy.dtype",
        "numpy.ndarray",
        *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    ),
    _Plain,
)


class _Unpickler(pickle.Unpickler):
    """Knows the names above and no others."""

    def find_class(self, module: str, name: str) -> Callable:
        found = _ALLOWED.get(f"{module}.{name}")
        if found is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")
        return found

    def persistent_load(self, pid: object) -> None:
        raise pickle.UnpicklingError("it refers to something outside the file")


def _tensors(network: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of a network and its parts, by their dotted names."""
    for kind in ("_parameters", "_buffers"):
        for name, value in network.get(kind, {}).items():
            if isinstance(value, Tensor):
                yield prefix + name, value.float()
    for name, part in network.get("_modules", {}).items():
        yield from _tensors(part, f"{prefix}{name}.")


def _renamed(found: dict[str, Tensor], layers: int, sizes: list[int]) -> Iterator[tuple[str, Tensor]]:
    """Takes our generator's tensors out of ``found``, gains as ours are."""
    for i in range(layers):
        for part in ("weight", "bias"):
            yield f"mapping.layers.{i}.{part}", found.pop(f"mapping.fc{i}.{part}")
    yield "mapping.average", found.pop("mapping.w_avg")
    yield "synthesis.constant", found.pop("synthesis.b4.const")
    for k, size in enumerate(sizes):
        theirs, ours = f"synthesis.b{size}", f"synthesis.blocks.{k}"
        convs = ("conv1",) if size == 4 else ("conv0", "conv1")
        pairs = [(f"{theirs}.{conv}", f"{ours}.layers.{i}.conv", f"{ours}.layers.{i}") for i, conv in enumerate(convs)]
        for source, conv, layer in (*pairs, (f"{theirs}.torgb", f"{ours}.write", ours)):
            weight = found.pop(f"{source}.weight")
            if layer != ours:  # there weights are used as they are, here times 1 / √(inputs · taps)
                weight = weight * math.sqrt(weight[0].numel())
                yield f"{layer}.strength", found.pop(f"{source}.noise_strength", torch.zeros(()))
            yield f"{conv}.weight", weight
            yield f"{layer}.bias", found.pop(f"{source}.bias")
            for part in ("weight", "bias"):
                yield f"{conv}.affine.{part}", found.pop(f"{source}.affine.{part}")


def read_generator(path: Path) -> Generator:
    """The moving average of the generator, writing red, green and blue in -1..1 as it was trained to.

    It answers codes as the original does with ``noise_mode="none"`` in single precision; the original's fixed noise
    pictures and the clamp of its half-precision layers are not taken over.

    Raises:
        InputError: the file cannot be read, asks for something that might run code, or holds another network: classes,
            codes of another length, residual outputs, other filters.
    """
    try:
        with path.open("rb") as file:
            network = _Unpickler(file).load()["G_ema"]
        found = dict(_tensors(network))
        filters = [found.pop(name) for name in list(found) if name.endswith("resample_filter")]
        taps = torch.tensor([1.0, 3, 3, 1]) / 8
        if any(f.shape != (4, 4) or not torch.allclose(f, torch.outer(taps, taps), atol=1e-6) for f in filters):
            raise ValueError("its filters are not [1, 3, 3, 1]")
        found = {name: value for name, value in found.items() if not name.endswith("noise_const")}
        layers = sum(name.startswith("mapping.fc") and name.endswith("weight") for name in found)
        size = max(int(name.split(".")[1][1:]) for name in found if name.startswith("synthesis.b"))
        sizes = resolutions(size)
        channels = {r: len(found[f"synthesis.b{r}.conv1.weight"]) for r in sizes}
        if found["mapping.fc0.weight"].shape[1] != W or len(found["synthesis.b4.torgb.weight"]) != CHANNELS:
            raise ValueError(f"it must take codes of {W} numbers, without classes, and write {CHANNELS} channels")
        state = dict(_renamed(found, layers, sizes))
        if found:
            raise ValueError(f"it also has {sorted(found)[0]}")
        generator = Generator(channels, layers, published=True)
        generator.load_state_dict(state)
    except KeyError as error:
        raise InputError(f"'{path}' is not a generator of StyleGAN2-ADA for PyTorch ({error} is missing)") from error
    except (OSError, pickle.UnpicklingError, ValueError, TypeError, AttributeError, IndexError, RuntimeError, EOFError,
            OverflowError, MemoryError, struct.error) as error:  # fmt: skip
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"'{path}' is not a generator of StyleGAN2-ADA for PyTorch ({reason})") from error
    return generator.eval()


@torch.no_grad()
def write_texture_channels(generator: Generator) -> Generator:
    """Turns red, green and blue into the channels of `talkedit.train.textures`, to first order at mid grey, in place.

    Luminance keeps its low-pass and chroma its mean, so such a generator is a start for a training, not its end.
    """
    mix = LOG_SLOPE * torch.tensor([LUMINANCE.tolist(), [1.0, -1, 0], [0, -1, 1]])
    for block in generator.synthesis.blocks:
        block.write.weight.copy_(torch.einsum("cd,dikl->cikl", mix, block.write.weight))
        block.bias.copy_(mix @ block.bias)
    return generator
