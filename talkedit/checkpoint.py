"""Shipped weights as safetensors files: the linear editors with their person classifier, and the geometry GAN."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import save_file

from talkedit.errors import InputError
from talkedit.geometry.editor import LinearGeometryEditor
from talkedit.geometry.gan import GanGeometryEditor, Generator
from talkedit.tensor_file import read_tensors
from talkedit.texture.editor import LinearTextureEditor, PersonClassifier


@dataclass(frozen=True)
class LinearEditors:
    """Geometry and texture editors, the classifier that weighs their people, and the people's names."""

    geometry: LinearGeometryEditor
    texture: LinearTextureEditor
    classifier: PersonClassifier
    people: tuple[str, ...]


def save_linear(path: Path, editors: LinearEditors) -> None:
    """Writes the file (texture maps as float16)."""
    tensors = {
        "geometry.directions": editors.geometry.directions.astype(np.float32),
        "geometry.openings": editors.geometry.openings.astype(np.float32),
        "geometry.speech": editors.geometry.speech.astype(np.float32),
        "texture.directions": editors.texture.directions.astype(np.float16),
        "classifier.weight": editors.classifier.weight.astype(np.float32),
        "classifier.bias": editors.classifier.bias.astype(np.float32),
    }
    save_file(tensors, str(path), metadata={"people": json.dumps(editors.people)})


def load_linear(path: Path) -> LinearEditors:
    """Reads the file.

    Raises:
        InputError: it is damaged or something else.
    """
    try:
        t, metadata = read_tensors(path)
        people = tuple(json.loads(metadata.get("people", "[]")))
        size = round(t["classifier.weight"].shape[1] ** 0.5)
        return LinearEditors(
            LinearGeometryEditor(t["geometry.directions"], t["geometry.openings"], t["geometry.speech"]),
            LinearTextureEditor(t["texture.directions"].astype(np.float32)),
            PersonClassifier(t["classifier.weight"], t["classifier.bias"], size),
            people,
        )
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a linear editor file ({error})") from error


def save_gan(path: Path, editor: GanGeometryEditor, metadata: dict[str, str]) -> None:
    """Writes the generator and what it needs beside it; the speaker's neutral code is not part of it."""
    tensors = {f"generator.{name}": value.numpy() for name, value in editor.generator.state_dict().items()}
    tensors |= {"reach": editor.reach, "openings": editor.openings, "speech": editor.speech}
    save_file({name: np.ascontiguousarray(t, np.float32) for name, t in tensors.items()}, str(path), metadata=metadata)


def load_gan(path: Path) -> GanGeometryEditor:
    """Reads the file.

    Raises:
        InputError: it is damaged or something else.
    """
    try:
        t, _ = read_tensors(path)
        state = {k.partition(".")[2]: torch.from_numpy(v) for k, v in t.items() if k.startswith("generator.")}
        width = len(state["residual.0.bias"])
        inputs = (state["inputs.projection"], state["inputs.scale"])
        generator = Generator(state["directions"], *inputs, width).eval()
        generator.load_state_dict(state)
        neutral = np.zeros(len(inputs[1]), np.float32)
        return GanGeometryEditor(generator, t["reach"], t["openings"], t["speech"], neutral)
    except (SafetensorError, KeyError, ValueError, RuntimeError, OSError) as error:
        raise InputError(f"{path} is not a geometry GAN file ({error})") from error
