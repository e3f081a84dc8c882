"""The manifest of prepared data: a CSV file with one row an item, and a reader for the arrays behind a row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from talkedit.data.people import read_table
from talkedit.errors import InputError

NAME = "manifest.csv"


@dataclass(frozen=True)
class Row:
    """One prepared item.

    Attributes:
        key: path of the source below the data set's folder.
        split: "train", "test_views" or "test_people".
        person, emotion, level, view: as in `talkedit.data.item.Item`.
        file: safetensors file below the prepared folder.
        first, frames: which of the file's frames are this item's.
        first_texture, textures: which of its textures are.
        face_width: median width of the face in pixels.
        yaw: median head turn in degrees, positive towards the viewer's right.
        sha256: of the source.
    """

    key: str
    split: str
    person: str
    emotion: str
    level: int
    view: str
    file: str
    first: int
    frames: int
    first_texture: int
    textures: int
    face_width: float
    yaw: float
    sha256: str


COLUMNS = tuple(f.name for f in fields(Row))
_NUMBERS = {"level": int, "first": int, "frames": int, "first_texture": int, "textures": int,
            "face_width": float, "yaw": float}  # fmt: skip


def as_csv(columns: Iterable[str], rows: Iterable[tuple]) -> str:
    """CSV text: the same rows always give the same characters."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()


def manifest_text(rows: Iterable[Row]) -> str:
    """The manifest's text, sorted by key."""
    return as_csv(COLUMNS, (astuple(row) for row in sorted(rows, key=lambda r: r.key)))


def read_manifest(
    prepared: Path,
    *,
    split: str | None = None,
    people: Iterable[str] | None = None,
    emotions: Iterable[str] | None = None,
) -> list[Row]:
    """Rows of a prepared folder, in the order of their keys.

    Args:
        prepared: what ``talkedit prepare`` wrote.
        split, people, emotions: take only these; None takes all.

    Raises:
        InputError: the manifest is missing or damaged.
    """
    path = prepared / NAME
    people, emotions = (None if wanted is None else set(wanted) for wanted in (people, emotions))
    try:
        rows = [
            Row(**{name: _NUMBERS.get(name, str)(values[name]) for name in COLUMNS})
            for values in read_table(path, COLUMNS)
        ]
    except ValueError as error:
        raise InputError(f"'{path}' is damaged: {error}") from error
    return [
        row
        for row in rows
        if (split is None or row.split == split)
        and (people is None or row.person in people)
        and (emotions is None or row.emotion in emotions)
    ]


@dataclass(frozen=True)
class Frames:
    """The arrays of one item, N kept frames and M textures of T texels a side; docs/data.md has the units.

    Attributes:
        frame: (N,) int32. time: (N,) float64. shot: (N,) int32.
        coefficients: (N, 257) float32. crop: (N, 3) float32. landmarks: (N, 478, 3) float32.
        mouth: (N, S, S, 3) uint8. mouth_transform: (N, 2, 3) float32.
        texture: (M, T, T, 3) uint8. visible: (M, T, T) bool. texture_row: (M,) int32, which of the N frames.
    """

    frame: np.ndarray
    time: np.ndarray
    shot: np.ndarray
    coefficients: np.ndarray
    crop: np.ndarray
    landmarks: np.ndarray
    mouth: np.ndarray
    mouth_transform: np.ndarray
    texture: np.ndarray
    visible: np.ndarray
    texture_row: np.ndarray


TEXTURE_ARRAYS = ("texture", "visible", "texture_row")


def read_arrays(prepared: Path, row: Row) -> Frames:
    """Arrays of one row; only that row's part of the file is read.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = prepared / row.file
    whole = slice(row.first, row.first + row.frames)
    textured = slice(row.first_texture, row.first_texture + row.textures)
    try:
        with safe_open(str(path), framework="numpy") as stored:
            arrays = {
                f.name: stored.get_slice(f.name)[textured if f.name in TEXTURE_ARRAYS else whole]
                for f in fields(Frames)
            }
    except (SafetensorError, OSError) as error:
        raise InputError(f"'{path}' is missing or damaged ({error})") from error
    visible = np.unpackbits(arrays["visible"], axis=2, count=arrays["texture"].shape[2]).astype(bool)
    return Frames(**{**arrays, "visible": visible, "texture_row": arrays["texture_row"] - row.first})
