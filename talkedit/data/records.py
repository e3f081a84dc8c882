"""The prepared folder on disk. A unit is done when its record is there, which is written after its arrays.

Everything appears by renaming a finished file, so that a run that is killed leaves units done or not done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from talkedit.data.item import LeftOut, Settings, Unit
from talkedit.data.manifest import NAME, Row, as_csv, manifest_text
from talkedit.errors import InputError
from talkedit.facemodel.load import load_face_model
from talkedit.video.output import finished_or_nothing, writing

LEFT_OUT = "left_out.csv"
CRASH = "crash"
_SETTINGS = "settings.json"
_ARRAYS, _RECORDS = "items", "records"
_FORMAT = 1


@dataclass(frozen=True)
class Result:
    """What became of a unit: rows for the manifest, and what is left out of it."""

    rows: list[Row]
    left_out: list[LeftOut]


class PreparedFolder:
    """A folder that is being filled.

    Args:
        path: made if it does not exist.
        settings: must be the same each time the folder is filled further.

    Raises:
        InputError: the folder cannot be made, or was begun with other settings or another face model.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        begun = settings.as_dict() | {"format": _FORMAT, "face_model_version": _version(settings.face_model)}
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"the folder '{path}' cannot be made: {error.strerror}") from error
        file = path / _SETTINGS
        if not file.exists():
            if any(path.iterdir()):
                raise InputError(f"the folder '{path}' holds other files; name a new or empty folder")
            _write(file, _json(begun).encode())
            return
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise InputError(f"'{file}' is damaged; prepare into a new folder") from None
        changed = [name for name, value in begun.items() if before.get(name) != value]
        if changed:
            name = changed[0]
            raise InputError(
                f"'{path}' was begun with {name.replace('_', ' ')} {before.get(name)}, not {begun[name]}; "
                "go on with the same settings or name a new folder"
            )

    def remove_partial(self) -> None:
        """Removes files that a killed run left half written. Only while no other run fills the folder."""
        for part in self.path.rglob(".*.part*"):
            part.unlink(missing_ok=True)

    def result(self, unit: Unit, retry: bool = False) -> Result | None:
        """What was recorded of a unit, None if it is not done or its sources or labels have changed since.

        Args:
            unit: as it is now.
            retry: True answers None for units in which a process died, too.
        """
        try:
            record = json.loads(self._record(unit).read_text(encoding="utf-8"))
            if record["unit"] != _identity(unit):
                return None
            rows = [Row(**row) for row in record["rows"]]
            if rows and not (self.path / rows[0].file).is_file():
                return None
            left_out = [LeftOut(**x) for x in record["left_out"]]
            # What brought a process down (or what was there when memory ran out) gets another chance in a new run.
            return None if retry and any(x.reason == CRASH for x in left_out) else Result(rows, left_out)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def file_of(self, unit: Unit) -> str:
        """Where a unit's arrays go, below the folder."""
        return f"{_ARRAYS}/{unit.name}.safetensors"

    def save(self, unit: Unit, arrays: dict[str, np.ndarray], result: Result) -> None:
        """Writes arrays, if there are any, then the record.

        Raises:
            TalkeditError: the disk is full or cannot be written to.
        """
        if arrays:
            labels = [asdict(row) for row in result.rows]
            # One entry: the library does not keep the order of several.
            _write(self.path / self.file_of(unit), save(arrays, metadata={"rows": json.dumps(labels)}))
        record = {
            "unit": _identity(unit),
            "rows": [asdict(row) for row in result.rows],
            "left_out": [asdict(x) for x in result.left_out],
        }
        _write(self._record(unit), _json(record).encode())

    def write_manifest(self, results: Iterable[Result], left_out: Iterable[LeftOut]) -> None:
        """Writes manifest.csv and left_out.csv, both sorted by key."""
        rows, rest = [], list(left_out)
        for result in results:
            rows += result.rows
            rest += result.left_out
        rest.sort(key=lambda x: x.key)
        columns = [f.name for f in fields(LeftOut)]
        _write(self.path / LEFT_OUT, as_csv(columns, map(astuple, rest)).encode())
        _write(self.path / NAME, manifest_text(rows).encode())

    def _record(self, unit: Unit) -> Path:
        return self.path / _RECORDS / f"{unit.name}.json"


def _version(face_model: str) -> str:
    """Names the numbers of a face model: coefficients of two versions must not be mixed."""
    model = load_face_model(face_model)
    digest = hashlib.sha256()
    for array in (model.mean, model.id_basis, model.exp_basis, model.tex_mean, model.tex_basis, model.uv):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _identity(unit: Unit) -> list:
    """What a record must agree with to count: the items with their labels and the sizes of their files."""
    return [[*astuple(item), size] for item, size in zip(unit.items, unit.sizes, strict=True)]


def _json(content: dict) -> str:
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _write(path: Path, data: bytes) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with finished_or_nothing(path) as partial, writing(path):
        partial.write_bytes(data)
