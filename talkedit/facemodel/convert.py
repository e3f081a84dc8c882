"""``talkedit models convert``: licensed or public releases into face model files of our own."""

from __future__ import annotations

import json
from pathlib import Path

from talkedit import resources
from talkedit.errors import InputError
from talkedit.facemodel import bfm, ict
from talkedit.facemodel.load import CONVERTED, load_template
from talkedit.facemodel.model import FaceModel, save_model
from talkedit.facemodel.template import on_template


def convert_bfm(folder: Path, output: Path) -> tuple[FaceModel, list[Path]]:
    """Basel Face Model: from a ready ``BFM_model_front.mat``, or from the scanned model, expressions and index files.

    Args:
        folder: where the files lie; index files that are not there are looked for in the ``bfm`` folders.
        output: existing folder for ``bfm_face.safetensors`` and, if it had to be made, ``BFM_model_front.mat``.

    Returns:
        The model and the files written.

    Raises:
        InputError: a file is missing or not what it should be.
    """
    written = [output / CONVERTED["bfm"]]
    if (folder / bfm.FRONT_MODEL).is_file():
        front = bfm.read_arrays(folder / bfm.FRONT_MODEL)
    elif (folder / bfm.SCANNED_MODEL).is_file():
        front = bfm.build_front_model(folder, _index_folder(folder))
        bfm.write_front_model(output / bfm.FRONT_MODEL, front)
        written.append(output / bfm.FRONT_MODEL)
    else:
        raise InputError(f"'{folder}' holds neither {bfm.SCANNED_MODEL} nor {bfm.FRONT_MODEL}; "
                         "'talkedit models check' tells where to ask for them")  # fmt: skip
    model = on_template("bfm", bfm.mesh_of(front), load_template(), licence="Basel Face Model, non-commercial")
    save_model(written[0], model)
    return model, written


def _index_folder(folder: Path) -> Path:
    for place in (folder, *resources.folders("bfm")):
        if (place / "facemodel_info.mat").is_file():
            return place
    raise InputError(f"facemodel_info.mat is missing in '{folder}'; it is part of Deep3DFaceRecon_pytorch, folder BFM")


def convert_ict(folder: Path, output: Path) -> tuple[FaceModel, list[Path]]:
    """ICT-FaceKit: from its public release; see :func:`convert_bfm`."""
    release = ict.read_release(folder)
    arrays, parts = ict.mesh_of(release)
    names = json.dumps(release.names)
    model = on_template("ict", arrays, load_template(), parts, licence="MIT (USC-ICT)", expressions=names)
    path = output / CONVERTED["ict"]
    save_model(path, model)
    return model, [path]


CONVERTERS = {"bfm": convert_bfm, "ict": convert_ict}
