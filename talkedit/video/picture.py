"""Pictures: read upright 8-bit RGB, write PNG or JPEG, and the few bytes of metadata that must travel along.

Comments and colour profiles are inserted at the level of JPEG segments and PNG chunks, so that the pixels of a
copied picture stay what they were.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from talkedit.errors import InputError

WRITABLE = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}
_PNG = b"\x89PNG\r\n\x1a\n"
_ICC = b"ICC_PROFILE\0"
_JPEG_QUALITY = 97


def picture_kind(data: bytes) -> str | None:
    """``"png"``, ``"jpeg"``, ``"webp"``, ``"bmp"`` or ``"tiff"`` by the first bytes of a file, else None."""
    if data.startswith(_PNG):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:2] == b"BM" and data[6:10] == b"\0\0\0\0":
        return "bmp"
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "tiff"
    return None


def read_picture(path: Path) -> tuple[np.ndarray, int]:
    """Decode a picture: ((H, W, 3) uint8 RGB with EXIF orientation applied and alpha dropped, bits per channel).

    Raises:
        InputError: the file is cut short or damaged.
    """
    data = path.read_bytes()
    if not _is_whole(data):
        raise InputError(f"'{path}' is truncated: the picture ends before its last pixel")
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise InputError(f"'{path}' is damaged: the picture cannot be decoded")
    bits = 8
    if pixels.dtype != np.uint8:
        bits = 16 if pixels.dtype == np.uint16 else 32
        scale = 255.0 / 65535.0 if bits == 16 else 255.0
        pixels = np.clip(np.rint(pixels.astype(np.float32) * scale), 0, 255).astype(np.uint8)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), bits


def encode_picture(rgb: np.ndarray, kind: str, comment: str = "", like: bytes = b"") -> bytes:
    """The bytes of a PNG or JPEG with ``comment`` in it and the colour profile of the file bytes ``like``."""
    parameters = [cv2.IMWRITE_PNG_COMPRESSION, 4]
    if kind == "jpeg":
        sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
        parameters = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    extension = ".png" if kind == "png" else ".jpg"
    _, buffer = cv2.imencode(extension, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), parameters)
    data = with_profile(buffer.tobytes(), colour_profile(like))
    return with_comment(data, comment)


def with_comment(data: bytes, comment: str) -> bytes:
    """The same PNG or JPEG file with a comment added: a tEXt/iTXt chunk or a COM segment."""
    if not comment:
        return data
    if data.startswith(_PNG):
        text = comment.encode("latin-1", "replace")
        return _insert_chunk(data, b"tEXt", b"Comment\0" + text)
    return _insert_segment(data, 0xFE, comment.encode("utf-8")[:65000])


def read_comment(data: bytes) -> str:
    """The comment `with_comment` wrote, empty if there is none."""
    if data.startswith(_PNG):
        for kind, body in _chunks(data):
            if kind == b"tEXt" and body.startswith(b"Comment\0"):
                return body[8:].decode("latin-1")
    elif data.startswith(b"\xff\xd8"):
        for marker, body in _segments(data):
            if marker == 0xFE:
                return body.decode("utf-8", "replace")
    return ""


def colour_profile(data: bytes) -> bytes:
    """The ICC profile inside a PNG or JPEG file, empty if there is none."""
    try:
        if data.startswith(_PNG):
            for kind, body in _chunks(data):
                if kind == b"iCCP":
                    return zlib.decompress(body[body.index(b"\0") + 2 :])
        elif data.startswith(b"\xff\xd8"):
            parts = [body[14:] for marker, body in _segments(data) if marker == 0xE2 and body.startswith(_ICC)]
            return b"".join(parts)
    except (ValueError, zlib.error, struct.error, IndexError):
        pass  # a broken profile is as good as none
    return b""


def with_profile(data: bytes, profile: bytes) -> bytes:
    """The same PNG or JPEG file with an ICC profile added."""
    if not profile:
        return data
    if data.startswith(_PNG):
        return _insert_chunk(data, b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
    size = 65000
    parts = [profile[i : i + size] for i in range(0, len(profile), size)]
    for number in range(len(parts), 0, -1):  # each is put in front of the one before
        data = _insert_segment(data, 0xE2, _ICC + bytes([number, len(parts)]) + parts[number - 1])
    return data


def _is_whole(data: bytes) -> bool:
    """False if a PNG, JPEG or WebP file lacks its end; decoders would fill the rest with grey."""
    kind = picture_kind(data)
    try:
        if kind == "png":
            return any(name == b"IEND" for name, _ in _chunks(data))
        if kind == "jpeg":
            start = 2
            for _, body in _segments(data):
                start += len(body) + 4
            return data.find(b"\xff\xd9", start) >= 0
        if kind == "webp":
            return len(data) >= struct.unpack("<I", data[4:8])[0] + 8
    except struct.error:
        return False
    return True


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, body) of each complete PNG chunk."""
    at = len(_PNG)
    while at + 12 <= len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        if at + 12 + size > len(data):
            return
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += 12 + size


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, body) of each JPEG segment before the first scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        (size,) = struct.unpack(">H", data[at + 2 : at + 4])
        yield data[at + 1], data[at + 4 : at + 2 + size]
        at += 2 + size


def _insert_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    """Put a chunk straight behind the header chunk IHDR."""
    crc = zlib.crc32(kind + body)
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)
    end = len(_PNG) + 25
    return data[:end] + chunk + data[end:]


def _insert_segment(data: bytes, marker: int, body: bytes) -> bytes:
    """Put a segment behind JFIF and Exif, which must come first."""
    at = 2
    for found, content in _segments(data):
        if found not in (0xE0, 0xE1):
            break
        at += len(content) + 4
    return data[:at] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + data[at:]
