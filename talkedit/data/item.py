"""What is to be prepared: items found in a data set's folder, and the settings they are prepared with."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

VIDEOS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
SPLITS = ("train", "test_views", "test_people")


@dataclass(frozen=True)
class Item:
    """One clip or picture.

    Attributes:
        key: unique name, the path below the data set's folder with forward slashes.
        clip: True for videos.
        person: name; unique over the data set.
        emotion: canonical name (`talkedit.emotions`), or "" where there is no label.
        level: 1 weak, 2 medium, 3 strong; 0 where it is not known.
        view: camera, "front" where there is only one.
        split: one of ``SPLITS``.
        archive: name of the zip file that holds the picture, below the data set's folder; "" for a file of its own.
    """

    key: str
    clip: bool
    person: str
    emotion: str = ""
    level: int = 0
    view: str = "front"
    split: str = "train"
    archive: str = ""


@dataclass(frozen=True)
class LeftOut:
    """An item that does not reach the manifest.

    Attributes:
        key: as in ``Item``.
        state: "broken" (cannot be read) or "filtered" (read, and not wanted).
        reason: short and the same for all of a kind, such as "no face".
        detail: what was measured or what the reader said.
    """

    key: str
    state: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Found:
    """What a data set's folder holds, in the order of the keys."""

    items: list[Item]
    left_out: list[LeftOut]

    @classmethod
    def sorted(cls, items: list[Item], left_out: list[LeftOut]) -> Found:
        """Both lists in the order of their keys; files whose names are no text are left out."""
        named = [i for i in items if _is_text(i.key)]
        nameless = [LeftOut(_text(i.key), "filtered", "name is not UTF-8") for i in items if not _is_text(i.key)]
        rest = [LeftOut(_text(x.key), x.state, x.reason, x.detail) for x in left_out] + nameless
        return cls(sorted(named, key=lambda i: i.key), sorted(rest, key=lambda x: x.key))


@dataclass(frozen=True)
class Settings:
    """How items are prepared. Everything that changes the output is in here, and nothing else.

    Attributes:
        recipe: "mead", "ffhq", "folder" or "open".
        every: of a clip, each so many frames one is kept (all are tracked).
        texture_every: of the kept frames, each so many one is unwrapped.
        texture_size, mouth_size: pixels a side.
        face_model, tracker: as in `talkedit.options.EditOptions`.
        min_frames, min_face_share, min_face_width: see `talkedit.data.quality.take_fault`.
    """

    recipe: str
    every: int = 3
    texture_every: int = 4
    texture_size: int = 256
    mouth_size: int = 96
    face_model: str = "open"
    tracker: str = "mediapipe"
    min_frames: int = 25
    min_face_share: float = 0.8
    min_face_width: int = 64

    def as_dict(self) -> dict:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Unit:
    """What one process prepares at a time and writes as one file: a clip, or a batch of pictures.

    Attributes:
        name: of the file, without its suffix.
        items: one clip, or pictures.
        sizes: bytes of each item's file, to see whether it changed between two runs.
        crashed: keys that brought a process down.
    """

    name: str
    items: tuple[Item, ...]
    sizes: tuple[int, ...]
    crashed: frozenset[str] = frozenset()

    def without(self, key: str) -> Unit:
        """The same unit, told that ``key`` must not be touched again."""
        return replace(self, crashed=self.crashed | {key})


PICTURES_A_UNIT = 32


def make_units(items: list[Item], root: Path) -> list[Unit]:
    """Splits sorted items into units: the same items always give the same units."""
    pictures = [i for i in items if not i.clip]
    units = [Unit(i.key, (i,), (_size(root, i),)) for i in items if i.clip]
    for start in range(0, len(pictures), PICTURES_A_UNIT):
        batch = tuple(pictures[start : start + PICTURES_A_UNIT])
        sizes = tuple(_size(root, i) for i in batch)
        units.append(Unit(f"pictures-{start // PICTURES_A_UNIT:05d}", batch, sizes))
    return units


def _text(key: str) -> str:
    return key.encode("utf-8", "backslashreplace").decode()


def _is_text(key: str) -> bool:
    return _text(key) == key


def _size(root: Path, item: Item) -> int:
    try:
        return (root / (item.archive or item.key)).stat().st_size
    except OSError:
        return 0  # whoever reads the file will say what is wrong with it
