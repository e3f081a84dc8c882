"""MEAD's folders: PERSON/video/VIEW/EMOTION/level_N/NNN.mp4.

Some of its archives unpack with a folder more (``video_1``, ``video/2``): only the last four parts of a path and a
folder with a person's name above them count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from talkedit.data.folders import is_clip, media_files
from talkedit.data.item import Found, Item, LeftOut
from talkedit.emotions import EMOTIONS, NEUTRAL
from talkedit.errors import InputError

VIEWS = ("front", "left_30", "left_60", "right_30", "right_60", "top", "down")
_PERSON = re.compile(r"[MW]\d{3}")
_LEVEL = re.compile(r"level_([123])")


def find_mead(root: Path, people: Mapping[str, str], views: tuple[str, ...] = VIEWS) -> Found:
    """Clips below ``root``.

    The paper's split: people that are seen, from the front, are for training; their other views test poses, and
    everything of unseen people tests people.

    Args:
        root: MEAD's folder, with one folder a person.
        people: person → "seen" or "unseen"; clips of anyone else are left out.
        views: cameras that are wanted, of ``VIEWS``.

    Raises:
        InputError: a view has no such name, or no clip lies as in MEAD.
    """
    for view in views:
        if view not in VIEWS:
            raise InputError(f"MEAD has no view '{view}'; there are: {', '.join(VIEWS)}")
    items, left_out = [], []
    for key in media_files(root):
        item = _item(key, people)
        if item is None:
            left_out.append(LeftOut(key, "filtered", "not in the layout of MEAD"))
        elif item.person not in people:
            left_out.append(LeftOut(key, "filtered", "person not in the list", item.person))
        elif item.view in views:
            items.append(item)
    if not items and all(x.reason == "not in the layout of MEAD" for x in left_out):
        raise InputError(f"no clip below '{root}' lies as in MEAD: M003/video/front/happy/level_3/001.mp4")
    return Found.sorted(items, left_out)


def _item(key: str, people: Mapping[str, str]) -> Item | None:
    *above, view, emotion, level, _ = ["", "", "", *key.split("/")]
    person = next((part for part in reversed(above) if _PERSON.fullmatch(part)), None)
    strength = _LEVEL.fullmatch(level)
    fits = view in VIEWS and emotion in (*EMOTIONS, NEUTRAL) and is_clip(key)
    if person is None or strength is None or not fits:
        return None
    seen = "train" if view == "front" else "test_views"
    split = "test_people" if people.get(person) == "unseen" else seen
    return Item(key, True, person, emotion, int(strength[1]), view, split)
