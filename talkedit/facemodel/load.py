"""Face models by name."""

from __future__ import annotations

from pathlib import Path

from talkedit import resources
from talkedit.errors import InputError
from talkedit.facemodel.model import FaceModel, load_model, load_open_model
from talkedit.facemodel.template import fingerprint

OPEN_MODEL = "open_face.safetensors"
CONVERTED = {"bfm": "bfm_face.safetensors", "ict": "ict_face.safetensors"}


def load_face_model(name: str) -> FaceModel:
    """The face model called ``name`` (``open``, ``bfm``, ``ict``), or read from the path of a .safetensors file.

    Raises:
        InputError: unknown name, the file is missing or damaged, or was converted for another open model.
    """
    if name == "open":
        return load_template()
    if name in CONVERTED:
        try:
            path = resources.find("bfm", CONVERTED[name])
        except InputError:
            raise InputError(f"the face model '{name}' is not here yet; make it with: "
                             f"talkedit models convert {name} DIR") from None  # fmt: skip
    elif name.endswith(".safetensors"):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"the face model '{name}' does not exist")
    else:
        names = ", ".join(["open", *CONVERTED])
        raise InputError(f"unknown face model '{name}'; there is: {names} (or the path of a .safetensors file)")
    model = load_model(path)
    if "template" in model.meta and model.meta["template"] != fingerprint(load_template()):
        raise InputError(f"{path} was made for another version of the open face model; convert it again")
    return model


def load_template() -> FaceModel:
    """The open face model, whose UV layout and landmarks all trained weights refer to."""
    return load_open_model(resources.find("bfm", OPEN_MODEL))
