"""The GAN texture editor at run time: Eqs. 3 and 4 in W+, applied to the speaker as a change of luminance.

The speaker's code w is the mean over the frames that were looked at. Per emotion the change is
log R = G(w + e Σ_v p_v d_v) − G(w), inside the regions that emotion moves. It depends on the clip and the intensity
only, so it is made at a few intensities and interpolated between them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import save_file

from talkedit.emotions import EMOTIONS
from talkedit.errors import InputError
from talkedit.tensor_file import read_tensors
from talkedit.texture.editor import LIMIT, PersonClassifier, detail_of
from talkedit.texture.encoder import Encoder, face_channels
from talkedit.texture.gan_file import build_encoder, build_synthesis, network_tensors, shape_of
from talkedit.texture.stylegan import Synthesis
from talkedit.texture.uv_map import LUMINANCE

# Intensities that the generator is run at; between them its change is interpolated.
INTENSITY_STEP = 0.25
# Standard deviations, in texels of 256: finer than the first, faces of the training do not register; coarser than the
# second is light rather than folds, where too few people taught an emotion to average their light out of it.
FINE, LIGHT = 1.0, 16.0


@dataclass(frozen=True)
class Look:
    """What one frame tells of the speaker: (L, 512) W+ code and the classifier's features."""

    code: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class Directions:
    """Eq. 5 in W+, shrunk: what each person does, and what all do together.

    Attributes:
        values: (K, L, 512) float32, directions of single people and, in the last seven rows, the pooled ones.
        row: (N, 7) int, the row of each person's direction for each emotion; a pooled one where there is no own.
    """

    values: np.ndarray
    row: np.ndarray

    def mixed(self, emotion: int, people: np.ndarray) -> np.ndarray:
        """(L, 512) Eq. 4: Σ_v p_v d_v of an emotion's index for (N,) person weights."""
        return np.tensordot(np.asarray(people, np.float32), self.values[self.row[:, emotion]], axes=1)


@dataclass(frozen=True)
class TextureGan:
    """Everything that ships of the texture GAN.

    Attributes:
        encoder, synthesis: E and G.
        directions: of the people.
        classifier: f of Eq. 4.
        people: names.
        mask: (T, T), where a texture may change.
        flat: (7,) bool, emotions taught by too few people to trust their coarse shading.
        remainder: (7, T, T) float32, what people show at full intensity beyond what G shows on average: folds that
            are finer than G can make.
    """

    encoder: Encoder
    synthesis: Synthesis
    directions: Directions
    classifier: PersonClassifier
    people: tuple[str, ...]
    mask: np.ndarray
    flat: np.ndarray
    remainder: np.ndarray

    def look(self, texture: np.ndarray, seen: np.ndarray) -> Look:
        """Reads one unwrapped frame, (T, T, 3) in 0..255, and its (T, T) visibility."""
        detail = detail_of(texture @ LUMINANCE, seen)
        channels = torch.from_numpy(face_channels(texture, seen, detail))[None]
        mask = torch.from_numpy(seen.astype(np.float32))[None, None]
        with torch.inference_mode():
            code = self.encoder(channels, mask, torch.ones(1))[0].numpy()
        return Look(code, self.classifier.features(detail))

    def of(self, looks: Sequence[Look], classify: bool = True) -> SpeakerTexture:
        """The editor of the speaker that the looks show; without ``classify`` all people weigh alike."""
        if classify:
            people = np.mean([self.classifier(look.features) for look in looks], axis=0)
        else:
            people = np.full(len(self.people), 1 / len(self.people), np.float32)
        return SpeakerTexture(self, np.mean([look.code for look in looks], axis=0), people)

    def detail(self, codes: np.ndarray) -> np.ndarray:
        """(B, T, T) log luminance of (B, L, 512) codes."""
        with torch.inference_mode():
            return self.synthesis(torch.from_numpy(np.ascontiguousarray(codes, np.float32)))[:, 0].numpy()

    def shaped(self, change: np.ndarray, emotion: int) -> np.ndarray:
        """(T, T) a difference of two details, at the scale and in the regions that can be trusted."""
        scale = change.shape[0] / 256
        if self.flat[emotion]:
            change = change - cv2.GaussianBlur(change, (0, 0), LIGHT * scale)
        return cv2.GaussianBlur(change, (0, 0), FINE * scale) * self.mask


@dataclass
class SpeakerTexture:
    """One speaker's texture editor.

    Attributes:
        gan: what ships.
        code: (L, 512), the speaker's w.
        people: (N,) weights.
    """

    gan: TextureGan
    code: np.ndarray
    people: np.ndarray
    _made: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    _own: np.ndarray | None = None

    def log_ratio(self, code: np.ndarray) -> np.ndarray:
        """(T, T) float32 change of log luminance on the UV template for a (7,) emotion code, softly limited."""
        raw = np.zeros(self.gan.mask.shape, np.float32)
        for j in np.flatnonzero(code):
            place = float(code[j]) / INTENSITY_STEP
            low = int(np.floor(place))
            share = np.float32(place - low)
            raw += (1 - share) * self._change(j, low) + np.float32(code[j]) * self.gan.remainder[j]
            if share:
                raw += share * self._change(j, low + 1)
        return (LIMIT * np.tanh(raw / LIMIT)).astype(np.float32)

    def _change(self, emotion: int, step: int) -> np.ndarray:
        """(T, T) G's change at ``step`` times INTENSITY_STEP; made once."""
        if step == 0:
            return np.zeros(self.gan.mask.shape, np.float32)
        if (emotion, step) not in self._made:
            if self._own is None:
                self._own = self.gan.detail(self.code[None])[0]
            moved = self.code + step * INTENSITY_STEP * self.gan.directions.mixed(emotion, self.people)
            self._made[emotion, step] = self.gan.shaped(self.gan.detail(moved[None])[0] - self._own, emotion)
        return self._made[emotion, step]


def save_texture_gan(path: Path, gan: TextureGan, metadata: dict[str, str]) -> None:
    """Writes the file, half precision but for the smallest parts."""
    tensors = {f"encoder.{k}": v for k, v in network_tensors(gan.encoder).items()}
    tensors |= {f"synthesis.{k}": v for k, v in network_tensors(gan.synthesis).items()}
    half = {"directions": gan.directions.values, "mask": gan.mask, "remainder": gan.remainder}
    tensors |= {k: np.ascontiguousarray(v, np.float16) for k, v in half.items()}
    tensors |= {
        "row": gan.directions.row.astype(np.int32),
        "flat": gan.flat.astype(np.uint8),
        "classifier.weight": gan.classifier.weight.astype(np.float16),
        "classifier.bias": gan.classifier.bias.astype(np.float32),
    }
    header = shape_of(gan.encoder) | shape_of(gan.synthesis) | {"people": json.dumps(gan.people)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(path), metadata=header | metadata)


def load_texture_gan(path: Path) -> TextureGan:
    """Reads the file.

    Raises:
        InputError: it is damaged or something else.
    """
    try:
        t, metadata = read_tensors(path)

        def part(name: str) -> dict[str, np.ndarray]:
            return {k.removeprefix(name): v for k, v in t.items() if k.startswith(name)}

        people = tuple(json.loads(metadata["people"]))
        values, row = t["directions"].astype(np.float32), t["row"].astype(int)
        if row.shape != (len(people), len(EMOTIONS)) or row.max() >= len(values) or row.min() < 0:
            raise ValueError("its directions do not fit its people")
        side = round(t["classifier.weight"].shape[1] ** 0.5)
        return TextureGan(
            build_encoder(part("encoder."), metadata),
            build_synthesis(part("synthesis."), metadata),
            Directions(values, row),
            PersonClassifier(t["classifier.weight"].astype(np.float32), t["classifier.bias"], side),
            people,
            t["mask"].astype(np.float32),
            t["flat"].astype(bool),
            t["remainder"].astype(np.float32),
        )
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, OSError) as error:
        raise InputError(f"{path} is not a texture GAN file ({error})") from error
