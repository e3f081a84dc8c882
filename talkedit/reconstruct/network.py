"""Reconstruction by a network (Deep3DFaceRecon, Deng et al. 2019): an aligned crop in, 257 coefficients out.

Two trunks under the same seven 1x1-convolution heads:

* :func:`resnet50_network`, names and shapes of the public ``epoch_20.pth``, for the Basel model;
* :func:`small_network`, trained by ``talkedit train reconstruction`` for the open face model, which ships.

The small one is a thin residual net of plain 3x3 convolutions: on a CPU a MobileNet of half the multiplications takes
more than twice the time, because depthwise layers wait for memory.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from talkedit import resources
from talkedit.errors import InputError
from talkedit.facemodel.camera import CAMERA, Camera, CropTransform, align_crop, crop_image, five_points
from talkedit.reconstruct.coefficients import LAYOUT, Coefficients
from talkedit.track.topology import IBUG68

HEADS = (80, 64, 80, 3, 27, 2, 1)
"""Identity, expression, texture, angle, gamma, translation x y, translation z (D1)."""

SMALL_SIZE = 112
SMALL_WIDTH = 24
NETWORKS = {"open": "reconstruction.safetensors", "bfm": "epoch_20.pth"}
RESNET50_BLOCKS = (3, 4, 6, 3)


# --- crops of other sizes -----------------------------------------------------------------------------------------


def crop_at(crop: CropTransform, size: int) -> CropTransform:
    """The same field of view as ``crop`` in ``size`` pixels instead of 224; pixel centres at whole numbers."""
    factor = size / CAMERA.size
    x, y = ((o + 0.5) * factor - 0.5 for o in crop.offset)
    return CropTransform(crop.scale * factor, (x, y))


def camera_at(size: int) -> Camera:
    """The camera that projects into the crop of :func:`crop_at`."""
    factor = size / CAMERA.size
    return Camera(CAMERA.focal * factor, (CAMERA.center + 0.5) * factor - 0.5, size, CAMERA.distance)


# --- networks -----------------------------------------------------------------------------------------------------


class ReconstructionNetwork(nn.Module):
    """A trunk and seven heads.

    Args:
        backbone: (B, 3, size, size) to (B, features, 1, 1).
        features: channels of the trunk.
        size: side of the crop in pixels.
    """

    def __init__(self, backbone: nn.Module, features: int, size: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.final_layers = nn.ModuleList([nn.Conv2d(features, count, 1) for count in HEADS])
        self.size = size
        # As in D1, training starts from the mean face.
        for head in self.final_layers:
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, size, size) RGB in 0..1 to (B, 257) in the order of ``talkedit.reconstruct.coefficients.LAYOUT``."""
        features = self.backbone(images)
        return torch.cat([head(features) for head in self.final_layers], dim=1).flatten(1)


class _Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolution beside a short cut; four times as many channels come out."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = _short_cut(inputs, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        return functional.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


class _Basic(nn.Module):
    """Two 3x3 convolutions beside a short cut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = _short_cut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + (x if self.downsample is None else self.downsample(x)))


def _short_cut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if inputs == outputs and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class ResNet50Trunk(nn.Module):
    """ResNet-50 (He et al. 2016, stride in the 3x3 convolutions) up to the pooled 2048 features."""

    features = 2048

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        inputs = 64
        for stage, count in enumerate(RESNET50_BLOCKS):
            width = 64 << stage
            blocks = []
            for n in range(count):
                blocks.append(_Bottleneck(inputs, width, 2 if stage and n == 0 else 1))
                inputs = 4 * width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return functional.adaptive_avg_pool2d(x, 1)


class SmallTrunk(nn.Module):
    """Six residual blocks, 112 pixels down to 4; ``8 * width`` features."""

    def __init__(self, width: int = SMALL_WIDTH) -> None:
        super().__init__()
        self.features = 8 * width
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width)
        blocks, inputs = [], width
        for factor, count in ((1, 1), (2, 1), (4, 2), (8, 2)):
            for n in range(count):
                blocks.append(_Basic(inputs, factor * width, 2 if n == 0 else 1))
                inputs = factor * width
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(self.blocks(functional.relu(self.bn1(self.conv1(x)))), 1)


def resnet50_network() -> ReconstructionNetwork:
    """Deep3DFaceRecon's network, untrained; 224-pixel crops."""
    return ReconstructionNetwork(ResNet50Trunk(), ResNet50Trunk.features, CAMERA.size)


def small_network(width: int = SMALL_WIDTH) -> ReconstructionNetwork:
    """The small network, untrained; 112-pixel crops."""
    trunk = SmallTrunk(width)
    return ReconstructionNetwork(trunk, trunk.features, SMALL_SIZE)


# --- files --------------------------------------------------------------------------------------------------------


def load_safely(path: Path, device: str = "cpu") -> object:
    """What ``torch.save`` wrote, without running anything in the file.

    Raises:
        InputError: it cannot be read, is damaged, or holds more than tensors and plain values.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, LookupError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} is not a checkpoint that can be read safely: {_first_line(error)}") from error


def load_deep3d(path: Path) -> ReconstructionNetwork:
    """Reads the public ``epoch_20.pth`` of Deep3DFaceRecon_pytorch; nothing in the file is executed.

    Raises:
        InputError: not such a file, or names and shapes differ.
    """
    stored = load_safely(path)
    if not isinstance(stored, dict) or not isinstance(stored.get("net_recon"), dict):
        raise InputError(f"{path} holds no 'net_recon', so it is not a checkpoint of Deep3DFaceRecon")
    return _filled(resnet50_network(), stored["net_recon"], path)


def save_small(path: Path, network: ReconstructionNetwork, metadata: dict[str, str]) -> None:
    """Writes the small network as float16 safetensors."""
    tensors = {k: v.half() for k, v in network.state_dict().items() if v.is_floating_point()}
    width = str(network.backbone.conv1.out_channels)
    save_file({k: v.contiguous() for k, v in tensors.items()}, str(path), metadata={**metadata, "width": width})


def load_small(path: Path) -> ReconstructionNetwork:
    """Reads what :func:`save_small` wrote, for inference.

    Raises:
        InputError: the file is damaged or something else.
    """
    try:
        with safe_open(str(path), framework="pt") as f:
            width = int((f.metadata() or {})["width"])
            tensors = {k: f.get_tensor(k).float() for k in f.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a reconstruction network ({_first_line(error)})") from error
    network = small_network(width)
    # Counters of the batch normalisations serve training only.
    counters = {k: v for k, v in network.state_dict().items() if not v.is_floating_point()}
    return _filled(network, tensors | counters, path)


def _filled(network: ReconstructionNetwork, tensors: dict[str, Tensor], path: Path) -> ReconstructionNetwork:
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{path} does not fit the network: {_first_line(error, 1)}") from error
    return network.eval()


def _first_line(error: Exception, line: int = 0) -> str:
    lines = [text.strip() for text in str(error).splitlines() if text.strip()] or [type(error).__name__]
    return lines[min(line, len(lines) - 1)]


# --- one frame ----------------------------------------------------------------------------------------------------


def load_reconstructor(face_model: str, device: str = "cpu") -> NetworkReconstructor:
    """The network that answers in the coefficients of a face model.

    Args:
        face_model: ``open`` (the small network) or ``bfm`` (``epoch_20.pth`` of Deep3DFaceRecon, from the user).
        device: "cpu" or "cuda".

    Raises:
        InputError: there is no network for this face model, or its file is missing or damaged.
    """
    if face_model not in NETWORKS:
        raise InputError(f"--reconstruction network: there is one for the face models {' and '.join(NETWORKS)}, "
                         f"not for '{face_model}'; use --reconstruction fit")  # fmt: skip
    try:
        path = resources.find("checkpoints", NETWORKS[face_model])
    except InputError as error:
        if face_model == "open":
            raise
        raise InputError(f"{error}; it is the pretrained network of Deep3DFaceRecon_pytorch, see its README") from None
    return NetworkReconstructor(load_small(path) if face_model == "open" else load_deep3d(path), device)


class NetworkReconstructor:
    """Frames to coefficients.

    Args:
        network: trained.
        device: "cpu" or "cuda".
    """

    def __init__(self, network: ReconstructionNetwork, device: str = "cpu") -> None:
        self._network = network.to(device).eval()
        self._device = device

    def __call__(self, frame: np.ndarray, landmarks: np.ndarray) -> Coefficients:
        """Coefficients of one frame; landmarks only place the crop.

        Args:
            frame: (H, W, 3) uint8 RGB.
            landmarks: (478, 3) tracked landmarks, pixels.

        Raises:
            InputError: see :func:`talkedit.facemodel.camera.align_crop`.
        """
        crop = align_crop(five_points(landmarks[IBUG68]), frame.shape[:2])
        size = self._network.size
        picture = to_tensor(crop_image(frame, crop_at(crop, size), size)[None])
        with torch.inference_mode():
            row = self._network(picture.to(self._device))[0].cpu().numpy()
        return Coefficients(**{name: row[part] for name, part in LAYOUT.items()}, crop=crop)


def to_tensor(images: np.ndarray) -> Tensor:
    """(B, S, S, 3) uint8 pictures as (B, 3, S, S) float32 in 0..1, channels last in memory (faster on a CPU)."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().div_(255)
