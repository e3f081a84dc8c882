"""Generators of StyleGAN2-ADA: read from pickles that the tests write, against the published equations."""

from __future__ import annotations

import os
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from talkedit.errors import InputError
from talkedit.texture import gan_file
from talkedit.texture.stylegan import Synthesis, W
from talkedit.texture.stylegan2_ada import read_generator, write_texture_channels
from talkedit.train import tgan

CHANNELS = {4: 6, 8: 5, 16: 4, 32: 3}
FILTER = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64


def _parameter(*shape: int, draw: torch.Generator, scale: float = 1.0) -> nn.Parameter:
    return nn.Parameter(scale * torch.randn(shape, generator=draw), requires_grad=False)


def _styled(fan_in: int, fan_out: int, size: int, draw: torch.Generator) -> nn.Module:
    """A layer as those of the release: parameters, buffers, and numbers of NumPy beside them."""
    layer, affine = nn.Module(), nn.Module()
    affine.weight, affine.bias = _parameter(fan_in, W, draw=draw), _parameter(fan_in, draw=draw)
    affine.weight_gain = 1 / np.sqrt(np.float64(W))
    layer.affine = affine
    if size:
        layer.register_buffer("resample_filter", FILTER.clone())
        layer.register_buffer("noise_const", torch.randn(size, size, generator=draw))
        layer.noise_strength = _parameter(draw=draw)
    kernel = 3 if size else 1
    layer.weight, layer.bias = _parameter(fan_out, fan_in, kernel, kernel, draw=draw), _parameter(fan_out, draw=draw)
    layer.act_gain = np.sqrt(2)
    return layer


def _network(sizes: dict[int, int] = CHANNELS, layers: int = 2) -> nn.Module:
    draw = torch.Generator().manual_seed(3)
    g, g.mapping, g.synthesis = (network := nn.Module()), nn.Module(), nn.Module()
    for i in range(layers):
        full = nn.Module()
        full.weight, full.bias = _parameter(W, W, draw=draw, scale=100.0), _parameter(W, draw=draw, scale=30.0)
        setattr(g.mapping, f"fc{i}", full)
    g.mapping.register_buffer("w_avg", torch.randn(W, generator=draw))
    for size, count in sizes.items():
        block = nn.Module()
        block.register_buffer("resample_filter", FILTER.clone())
        if size == 4:
            block.const = _parameter(count, 4, 4, draw=draw)
        else:
            block.conv0 = _styled(sizes[size // 2], count, size, draw)
        block.conv1 = _styled(count, count, size, draw)
        block.torgb = _styled(count, 3, 0, draw)
        setattr(g.synthesis, f"b{size}", block)
    return network


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that pickles networks by the module and class names of the release."""
    persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("the reader ran it")

    _reconstruct_persistent_obj.__module__ = persistence.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj
    util.EasyDict = type("EasyDict", (dict,), {"__module__": util.__name__})
    modules = {"torch_utils": types.ModuleType("torch_utils"), "dnnlib": types.ModuleType("dnnlib"),
               persistence.__name__: persistence, util.__name__: util}  # fmt: skip
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)

    class Pickler(pickle.Pickler):
        def reducer_override(self, obj):
            if not isinstance(obj, nn.Module):
                return NotImplemented
            kwargs = util.EasyDict(c_dim=0, gain=np.float64(2.0), shape=np.arange(3))
            source = f"open({str(tmp_path / 'ran')!r}, 'w')"
            meta = dict(type="class", version=6, module_src=source, class_name="Generator",
                        state=obj.__dict__ | {"_init_kwargs": kwargs})  # fmt: skip
            return _reconstruct_persistent_obj, (meta,)

    def write(content: object, protocol: int = 3):
        path = tmp_path / "network.pkl"
        with path.open("wb") as file:
            Pickler(file, protocol).dump(content)
        for name in modules:  # the reader finds none of them
            monkeypatch.delitem(sys.modules, name, raising=False)
        return path

    write.ran = tmp_path / "ran"
    return write


# -- the published network, as plainly as possible


def _affine(layer: nn.Module, w: Tensor) -> Tensor:
    return w @ layer.affine.weight.T / W**0.5 + layer.affine.bias


def _upsampled(x: Tensor) -> Tensor:
    """Zeros between the texels, then the filter, each channel by itself."""
    wide = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    wide[..., ::2, ::2] = x
    wide = functional.pad(wide, (2, 1, 2, 1))
    return functional.conv2d(wide.transpose(0, 1), 4 * FILTER[None, None]).transpose(0, 1)


def _layer(layer: nn.Module, x: Tensor, w: Tensor, up: bool) -> Tensor:
    weight = layer.weight * _affine(layer, w)[:, None, None]
    weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
    if up:  # enlarged with zeros, convolved with the turned kernel, filtered: as the release orders it
        wide = x.new_zeros(1, x.shape[1], 2 * x.shape[2], 2 * x.shape[3])
        wide[..., ::2, ::2] = x
        y = functional.conv2d(functional.pad(wide, (2, 2, 2, 2)), weight.flip(2, 3))
        y = functional.conv2d(functional.pad(y, (1, 0, 1, 0)).transpose(0, 1), 4 * FILTER[None, None]).transpose(0, 1)
    else:
        y = functional.conv2d(x, weight, padding=1)
    return functional.leaky_relu(y + layer.bias[:, None, None], 0.2) * 2**0.5


def _reference(network: nn.Module, z: Tensor) -> Tensor:
    x = z / z.square().mean(1, keepdim=True).sqrt()
    for full in network.mapping.children():
        x = functional.leaky_relu(x @ full.weight.T * 0.01 / W**0.5 + 0.01 * full.bias, 0.2) * 2**0.5
    out = []
    for w in x:
        x, picture = None, None
        for size, block in ((int(n[1:]), b) for n, b in network.synthesis.named_children()):
            if size == 4:
                x = block.const[None]
            else:
                x, picture = _layer(block.conv0, x, w, True), _upsampled(picture)
            x = _layer(block.conv1, x, w, False)
            style = _affine(block.torgb, w) / block.torgb.weight.shape[1] ** 0.5
            added = torch.einsum("oi,bihw->bohw", block.torgb.weight[..., 0, 0] * style, x)
            added = added + block.torgb.bias[:, None, None]
            picture = added if picture is None else picture + added
        out.append(picture)
    return torch.cat(out)


@pytest.mark.parametrize("protocol", [3, 4])
def test_a_generator_answers_as_the_published_network_does(write, protocol):
    network = _network()
    path = write({"G": None, "D": None, "G_ema": network, "training_set_kwargs": {"path": "x"}}, protocol)
    generator = read_generator(path)
    z = torch.randn(2, W, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, made = _reference(network, z), generator(z)[0]
    assert wanted.std() > 0.5
    assert torch.allclose(made, wanted, atol=1e-4 * wanted.abs().max().item())
    assert torch.equal(generator.mapping.average, network.mapping.w_avg)
    assert generator.synthesis.channels == CHANNELS
    assert generator.synthesis.blocks[2].layers[0].strength == network.synthesis.b16.conv0.noise_strength
    assert not write.ran.exists()  # the source code in the file was not run


def test_the_usual_order_of_enlarging_is_another_network(write):
    generator = read_generator(write({"G_ema": _network()}))
    other = Synthesis(CHANNELS)
    other.load_state_dict(generator.synthesis.state_dict())
    codes = torch.randn(1, other.codes, W, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made, wrong = generator.synthesis(codes), other(codes)
    assert (made - wrong).abs().mean() > 0.05 * made.std()


def test_saved_and_loaded_it_stays_the_published_network(write, tmp_path):
    generator = read_generator(write({"G_ema": _network()}))
    gan_file.save_network(tmp_path / "g.safetensors", generator)
    back = gan_file.load_network(tmp_path / "g.safetensors")
    codes = torch.randn(1, back.codes, W, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made, again = generator.synthesis(codes), back(codes)
    assert torch.allclose(made, again, atol=0.02 * made.std().item())


def test_colours_become_the_channels_of_textures(write):
    path = write({"G_ema": _network()})
    rgb, channels = read_generator(path), write_texture_channels(read_generator(path))
    codes = 0.01 * torch.randn(1, rgb.synthesis.codes, W, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        colour, made = rgb.synthesis(codes)[0], channels.synthesis(codes)[0]
    slope = 127.5 / 135.5
    assert torch.allclose(made[0], slope * (0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]), atol=1e-4)
    assert torch.allclose(made[1], slope * (colour[0] - colour[1]), atol=1e-4)
    assert torch.allclose(made[2], slope * (colour[2] - colour[1]), atol=1e-4)


def test_a_training_begins_with_it(write, tmp_path):
    sizes = {4: 8, 8: 8, 16: 4}  # min(64 / resolution, 8)
    path = write({"G_ema": _network(sizes)})
    config, start = tgan.begin_from(path, tgan.GanConfig(size=16, most=8, base=64, layers=2))
    assert config.published and start.synthesis.channels == sizes
    with pytest.raises(InputError, match="layers"):
        tgan.begin_from(path, tgan.GanConfig(size=16, most=8, base=64, layers=8))
    with pytest.raises(InputError, match="recipe paper"):
        tgan.main(["--start-from", str(path), "--data", str(tmp_path)])


class _Attack:
    def __init__(self, *what: object) -> None:
        self.what = what

    def __reduce__(self):
        return self.what[0], self.what[1:]


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    path, mark = tmp_path / "bad.pkl", tmp_path / "mark"
    for attack, name in (
        (_Attack(os.system, f"touch {mark}"), "system"),
        (_Attack(eval, f"open({str(mark)!r}, 'w')"), "eval"),
        (_Attack(getattr, {}, "clear"), "getattr"),
        (_Attack(torch.storage._load_from_bytes, pickle.dumps(_Attack(os.system, f"touch {mark}"), 2)), "Weights only"),
    ):
        path.write_bytes(pickle.dumps({"G_ema": attack}))
        with pytest.raises(InputError, match=name):
            read_generator(path)
        assert not mark.exists()


@pytest.mark.parametrize("broken", ["missing", "empty", "text", "other", "no network", "residual", "classes", "filter",
                                    "short codes", "cut"])  # fmt: skip
def test_other_files_are_refused_in_one_sentence(write, tmp_path, broken):
    network, content = _network(), {}
    if broken == "residual":
        network.synthesis.b8.skip = _styled(6, 5, 0, torch.Generator())
    elif broken == "classes":
        network.mapping.embed = _styled(3, W, 0, torch.Generator())
    elif broken == "filter":
        network.synthesis.b8.conv0.resample_filter *= 2
    elif broken == "short codes":
        network.mapping.fc0.weight = nn.Parameter(torch.zeros(W, 64))
    if broken != "no network":
        content["G_ema"] = network
    path = write(content)
    if broken == "missing":
        path.unlink()
    elif broken == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    elif broken in ("empty", "text", "other"):
        path.write_bytes({"empty": b"", "text": b"hello, world\n" * 9, "other": pickle.dumps([1, 2])}[broken])
    with pytest.raises(InputError, match="StyleGAN2-ADA") as error:
        read_generator(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300
