"""Face models by name."""

from __future__ import annotations

from pathlib import Path

from talkedit import resources
from talkedit.errors import InputError
from talkedit.facemodel.model import FaceModel, load_open_model


def load_face_model(name: str) -> FaceModel:
    """The face model called ``name`` (``open``), or read from the path of a .safetensors file.

    Raises:
        InputError: unknown name, or the file is missing or damaged.
    """
    if name == "open":
        return load_open_model(resources.find("bfm", "open_face.safetensors"))
    if name.endswith(".safetensors"):
        if not Path(name).is_file():
            raise InputError(f"the face model '{name}' does not exist")
        return load_open_model(Path(name))
    raise InputError(f"unknown face model '{name}'; there is: open (or the path of a .safetensors file)")
