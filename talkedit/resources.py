"""Where the files that are not code lie: face models (``bfm``) and trained networks (``checkpoints``).

Looked for in this order: ``$TALKEDIT_HOME/<kind>``, the installed package's ``talkedit/assets/<kind>``, and
``<kind>`` beside the package in a checkout of the repository.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from talkedit.errors import InputError

KINDS = ("bfm", "checkpoints")
MANIFEST = "manifest.json"
_BASEL = "ask for it at https://faces.dmi.unibas.ch/bfm/"
_COARSE = "follow the CoarseData link (Guo et al.) in the README of Deep3DFaceRecon"
_DEEP3D = "part of the Deep3DFaceRecon_pytorch repository, folder BFM"

# Licensed, never shipped, always optional: file -> where a user gets it.
LICENSED_BFM = {
    "01_MorphableModel.mat": _BASEL,
    "Exp_Pca.bin": _COARSE,
    "BFM_model_front.mat": "made by 'talkedit models convert bfm' from the files above, or by Deep3DFaceRecon",
    "BFM_exp_idx.mat": _DEEP3D,
    "BFM_front_idx.mat": _DEEP3D,
    "facemodel_info.mat": _DEEP3D,
    "select_vertex_id.mat": _DEEP3D,
    "similarity_Lm3D_all.mat": _DEEP3D,
    "std_exp.txt": _DEEP3D,
}


@dataclass(frozen=True)
class FileState:
    """One file of the manifest or of the licensed set: ``state`` is present, missing or wrong."""

    kind: str
    name: str
    state: str
    detail: str = ""
    optional: bool = False


def folders(kind: str) -> list[Path]:
    """The folders searched for files of a kind (``"bfm"`` or ``"checkpoints"``), first match wins."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, not {kind!r}")
    package = Path(__file__).resolve().parent
    home = os.environ.get("TALKEDIT_HOME")
    return [*([Path(home).expanduser() / kind] if home else []), package / "assets" / kind, package.parent / kind]


def find(kind: str, name: str) -> Path:
    """Path of a file; raises InputError that says where it was looked for."""
    places = folders(kind)
    for folder in places:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"the file '{name}' is missing; looked in {', '.join(str(p) for p in places)}")


def manifest() -> dict[str, dict]:
    """The files that ship, by name, each with sha256, bytes, licence, trained_on, what, and optionally kind.

    Empty where no manifest is found. Raises InputError if it is not valid JSON.
    """
    try:
        path = find("checkpoints", MANIFEST)
    except InputError:
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"the manifest '{path}' is damaged") from None


def check_files() -> list[FileState]:
    """State of every file in the manifest, hashed, and of the licensed Basel files, by their keys and shapes."""
    states = [_check_shipped(name, entry) for name, entry in manifest().items()]
    for name, where in LICENSED_BFM.items():
        states.append(_check_licensed(name, where))
    return states


def _check_licensed(name: str, where: str) -> FileState:
    from talkedit.facemodel.bfm import check_file  # here, because SciPy takes a while to import

    try:
        path = find("bfm", name)
    except InputError:
        return FileState("bfm", name, "missing", f"optional, licensed: {where}", optional=True)
    wrong = check_file(path)
    if wrong:
        return FileState("bfm", name, "wrong", f"{wrong}; {where}", optional=True)
    return FileState("bfm", name, "present", str(path), optional=True)


def _check_shipped(name: str, entry: dict) -> FileState:
    kinds = [entry["kind"]] if entry.get("kind") in KINDS else ["checkpoints", "bfm"]
    for kind in kinds:
        try:
            path = find(kind, name)
        except InputError:
            continue
        expected = entry.get("bytes")
        if expected is not None and path.stat().st_size != expected:
            return FileState(kind, name, "wrong", f"{path.stat().st_size} bytes instead of {expected}")
        if "sha256" in entry and _sha256(path) != entry["sha256"]:
            return FileState(kind, name, "wrong", "its SHA-256 differs from the manifest")
        return FileState(kind, name, "present", str(path))
    return FileState(kinds[0], name, "missing", f"looked in {', '.join(str(p) for p in folders(kinds[0]))}")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
