"""What training data have in common: arrays with a row a picture, kept in a file, and split by person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

import numpy as np

from talkedit.data.collection import Collection, Sample
from talkedit.data.open_recipe import held_out_people
from talkedit.errors import InputError


class Faces:
    """Base of dataclasses whose fields are arrays with a row a picture, ``people`` (names) among them."""

    people: np.ndarray

    def __len__(self) -> int:
        return len(self.people)

    def where(self: Set, chosen: np.ndarray) -> Set:
        """The rows of an index array or mask."""
        return type(self)(*(getattr(self, f.name)[chosen] for f in fields(self)))


Set = TypeVar("Set", bound=Faces)


def joined(parts: list[Set]) -> Set:
    """One set of several."""
    kind = type(parts[0])
    return kind(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(kind)))


def kept(kind: type[Set], file: Path, make: Callable[[], Set]) -> Set:
    """A set that is made once and then read from its npz file.

    Raises:
        InputError: the file is damaged.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        made = make()
        partial = file.with_suffix(".partial.npz")
        np.savez(partial, **{f.name: getattr(made, f.name) for f in fields(kind)})
        partial.replace(file)
    try:
        with np.load(file, allow_pickle=False) as stored:
            return kind(*(stored[f.name] for f in fields(kind)))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{file} is damaged; delete it ({error})") from error


def of_sources(
    kind: type[Set], collection: Collection, sources: tuple[str, ...], cache: Path, name: str,
    make: Callable[[list[Sample]], Set],
) -> Set:  # fmt: skip
    """The pictures of the named sources of a collection, one file a source: ``cache/name_SOURCE.npz``.

    Raises:
        InputError: the collection holds none of the sources, or a cached file is damaged.
    """
    parts = []
    for source in sources:
        samples = [s for s in collection.samples if s.source == source]
        if samples:
            parts.append(kept(kind, cache / f"{name}_{source}.npz", lambda samples=samples: make(samples)))
    if not parts:
        raise InputError(f"the collection under {collection.root} has none of: {', '.join(sources)}")
    return joined(parts)


def split(faces: Set, collection: Collection) -> tuple[Set, Set]:
    """Those of people that may be trained on, and of those left out for figures."""
    out = held_out(faces, collection)
    return faces.where(~out), faces.where(out)


def held_out(faces: Faces, collection: Collection) -> np.ndarray:
    """(N,) bool, people left out for figures."""
    return np.isin(faces.people, sorted(held_out_people(collection.samples)))
