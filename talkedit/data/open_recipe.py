"""The data that the shipped weights are trained on, as items (see `talkedit.data.collection`)."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from talkedit.data.collection import ARCHIVE, Sample, list_samples
from talkedit.data.item import Found, Item
from talkedit.emotions import EMOTIONS, NEUTRAL

# Who is kept for tests: one of MEAD's three full actors, 15 of the 70 people of london, a tenth of the open faces.
_HELD_OUT_MEAD = "W011"
_HELD_OUT_LONDON = 15


def find_open(root: Path) -> Found:
    """Everything below ``root`` that the open recipe learns from; people held out for tests are in "test_people".

    Raises:
        InputError: see `talkedit.data.collection.list_samples`.
    """
    samples = list_samples(root)
    held_out = held_out_people(samples)
    return Found.sorted([_item(s, s.person in held_out) for s in samples], [])


def held_out_people(samples: list[Sample]) -> set[str]:
    """People that no figure may be trained on: always the same, whatever else the collection holds."""
    of = {source: sorted({s.person for s in samples if s.source == source}, key=_rank) for source in
          ("london", "faces_open")}  # fmt: skip
    tenth = [p for p in of["faces_open"] if int(_rank(p)[:8], 16) % 10 == 0]
    return {_HELD_OUT_MEAD, *of["london"][:_HELD_OUT_LONDON], *tenth}


def _rank(person: str) -> str:
    """A number that has nothing to do with who the person is, the same on every machine."""
    return hashlib.sha256(person.encode()).hexdigest()


def _item(sample: Sample, held_out: bool) -> Item:
    emotion = sample.emotion if sample.emotion in (*EMOTIONS, NEUTRAL) else ""
    level = re.search(r"level_?([123])", sample.key)
    archive = ARCHIVE if sample.source == "faces_open" else ""
    return Item(
        sample.key,
        sample.clip,
        sample.person,
        emotion or "",
        int(level[1]) if level else 0,
        split="test_people" if held_out else "train",
        archive=archive,
    )
