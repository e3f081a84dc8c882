"""Folders of labelled videos and pictures, and FFHQ."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from talkedit.data.item import PICTURES, SPLITS, VIDEOS, Found, Item, LeftOut
from talkedit.data.people import read_table
from talkedit.emotions import EMOTIONS, NEUTRAL, check_emotion
from talkedit.errors import InputError

# What other data sets call the emotions.
SPELLINGS = {
    "anger": "angry", "contemptuous": "contempt", "disgust": "disgusted", "afraid": "fear", "fearful": "fear",
    "happiness": "happy", "joy": "happy", "sadness": "sad", "surprise": "surprised", "calm": NEUTRAL,
}  # fmt: skip


def media_files(root: Path) -> Iterator[str]:
    """Keys of all videos and pictures below ``root``, links followed, hidden files left out.

    Raises:
        InputError: ``root`` is no folder.
    """
    if not root.is_dir():
        raise InputError(f"'{root}' is not a folder")
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in VIDEOS + PICTURES:
                yield Path(folder, name).relative_to(root).as_posix()


def is_clip(key: str) -> bool:
    """Whether a file's name is a video's."""
    return os.path.splitext(key)[1].lower() in VIDEOS


def emotion_named(name: str) -> str | None:
    """The canonical emotion of a folder or label, None if it is none."""
    clean = name.strip().lower()
    clean = SPELLINGS.get(clean, clean)
    return clean if clean in (*EMOTIONS, NEUTRAL) else None


def find_ffhq(root: Path) -> Found:
    """The pictures of FFHQ, NNNNN.png below ``root`` in any folders. Each shows another person; none has a label.

    Raises:
        InputError: there is none.
    """
    items = []
    for key in media_files(root):
        path = PurePosixPath(key)
        if re.fullmatch(r"\d{5}", path.stem) and not is_clip(key):
            items.append(Item(key, False, f"ffhq_{path.stem}"))
    if not items:
        raise InputError(f"no picture below '{root}' has a name as in FFHQ: 00000/00000.png")
    return Found.sorted(items, [])


def find_folder(root: Path, labels: Path | None = None, people: Mapping[str, str] | None = None) -> Found:
    """Videos and pictures labelled by their folders, EMOTION/FILE or PERSON/EMOTION/FILE, or by a table.

    Where the folders do not tell the person, every file counts as a person of its own.

    Args:
        root: the folder.
        labels: CSV with the columns path (below ``root``), person, emotion and optionally level and split; then only
            the files in it are taken.
        people: person → "seen" (train) or "unseen" (test_people); anyone else is left out. None: all train.

    Raises:
        InputError: no file has a label, or the table is wrong.
    """
    found = _by_table(root, labels) if labels is not None else _by_folder(root)
    if people is None:
        return found
    items, left_out = [], list(found.left_out)
    for item in found.items:
        part = people.get(item.person)
        if part is None:
            left_out.append(LeftOut(item.key, "filtered", "person not in the list", item.person))
        else:
            split = item.split if part == "seen" else "test_people"
            items.append(Item(item.key, item.clip, item.person, item.emotion, item.level, item.view, split))
    return Found.sorted(items, left_out)


def _by_folder(root: Path) -> Found:
    items, left_out = [], []
    for key in media_files(root):
        above = key.split("/")[:-1]
        at = next((i for i in reversed(range(len(above))) if emotion_named(above[i])), None)
        if at is None:
            left_out.append(LeftOut(key, "filtered", "no label"))
            continue
        person = above[at - 1] if at > 0 else key
        items.append(Item(key, is_clip(key), person, emotion_named(above[at]) or ""))
    if not items:
        names = ", ".join((*EMOTIONS, NEUTRAL))
        raise InputError(
            f"no video or picture below '{root}' lies in a folder named for an emotion ({names}); "
            "rename the folders or give --labels"
        )
    return Found.sorted(items, left_out)


def _by_table(root: Path, labels: Path) -> Found:
    items, left_out = [], []
    for number, row in enumerate(read_table(labels, ("path", "person", "emotion")), start=2):
        where = f"line {number} of '{labels}'"
        path = PurePosixPath(row["path"].replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise InputError(f"{where} must give a path below '{root}', not '{row['path']}'")
        key, level, split = path.as_posix(), row.get("level") or "0", row.get("split") or "train"
        if level not in ("0", "1", "2", "3"):
            raise InputError(f"{where} gives the level '{level}'; it must be 1, 2 or 3, or nothing")
        if split not in SPLITS:
            raise InputError(f"{where} gives the split '{split}'; there are: {', '.join(SPLITS)}")
        emotion = emotion_named(row["emotion"]) or (check_emotion(row["emotion"]) if row["emotion"] else "")
        if path.suffix.lower() not in VIDEOS + PICTURES:
            left_out.append(LeftOut(key, "filtered", "neither a video nor a picture"))
            continue
        items.append(Item(key, is_clip(key), row["person"] or key, emotion, int(level), split=split))
    keys = [x.key for x in (*items, *left_out)]
    if len(set(keys)) < len(keys):
        twice = next(k for k in keys if keys.count(k) > 1)
        raise InputError(f"'{twice}' stands twice in '{labels}'")
    if not items:
        raise InputError(f"'{labels}' lists no video or picture")
    return Found.sorted(items, left_out)
