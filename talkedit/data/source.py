"""The bytes behind an item: a file of its own, or a member of a zip file."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from talkedit.data.item import Item
from talkedit.errors import InputError
from talkedit.video.picture import read_picture

_BLOCK = 1 << 20


def read_member(archive: Path, name: str) -> bytes:
    """Bytes of the file called ``name``, in whatever folder, of a zip file.

    Raises:
        InputError: the archive or the member is missing or damaged.
    """
    try:
        opened, members = _open(archive)
        return opened.read(members[name])
    except KeyError:
        raise InputError(f"'{archive}' holds no '{name}'") from None
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"'{name}' in '{archive}' cannot be read: {error}") from error


@lru_cache(maxsize=2)
def _open(archive: Path) -> tuple[zipfile.ZipFile, dict[str, str]]:
    opened = zipfile.ZipFile(archive)
    return opened, {PurePosixPath(n).name: n for n in opened.namelist()}


def read_item_picture(root: Path, item: Item) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a picture, upright.

    Raises:
        InputError: it is missing or damaged.
    """
    if not item.archive:
        try:
            return read_picture(root / item.key)[0]
        except OSError as error:
            raise InputError(f"'{root / item.key}' cannot be read: {error.strerror}") from error
    data = np.frombuffer(_archived(root, item), np.uint8)
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if bgr is None:
        raise InputError(f"'{item.key}' is damaged: the picture cannot be decoded")
    return np.ascontiguousarray(bgr[:, :, ::-1])


def source_hash(root: Path, item: Item) -> str:
    """SHA-256 of the item's own bytes, hexadecimal.

    Raises:
        InputError: they cannot be read.
    """
    if item.archive:
        return hashlib.sha256(_archived(root, item)).hexdigest()
    digest = hashlib.sha256()
    try:
        with (root / item.key).open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise InputError(f"'{root / item.key}' cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _archived(root: Path, item: Item) -> bytes:
    return read_member(root / item.archive, PurePosixPath(item.key).name)
