"""The output path: refused early and clearly, or written completely, or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import av

from talkedit.errors import InputError, TalkeditError
from talkedit.video.picture import WRITABLE
from talkedit.video.probe import MediaInfo

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


def check_output(src: str | os.PathLike, dst: str | os.PathLike, overwrite: bool, is_picture: bool) -> Path:
    """Return the output path if it can be written.

    Raises:
        InputError: it is the input (also through links), a folder, in a missing or read-only folder, exists and
            ``overwrite`` is False, or its extension is unknown or of the wrong kind (picture or video).
    """
    path = Path(dst)
    if path.is_dir():
        raise InputError(f"the output '{path}' is a folder; give a file name")
    if path.exists() and os.path.samefile(src, path):
        raise InputError("the output is the same file as the input; choose another name")
    if not path.parent.is_dir():
        raise InputError(f"the folder '{path.parent}' of the output does not exist")
    check_extension(path, is_picture)
    if path.exists() and not overwrite:
        raise InputError(f"the output '{path}' exists already; allow replacing it with --overwrite")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"the folder '{path.parent}' of the output cannot be written to")
    return path


def check_extension(path: Path, is_picture: bool) -> None:
    """Raise InputError unless the extension names a format that can be written for this kind of input."""
    suffix = path.suffix.lower()
    pictures, videos = ", ".join(WRITABLE), ", ".join(CONTAINERS)
    if is_picture and suffix not in WRITABLE:
        raise InputError(f"the input is a picture, so the output must be one of {pictures}, not '{path.name}'")
    if not is_picture and suffix not in CONTAINERS:
        raise InputError(f"the input is a video, so the output must be one of {videos}, not '{path.name}'")


@contextmanager
def finished_or_nothing(dst: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside ``dst``, renamed to ``dst`` when the block ends well, deleted when it does not.

    A link at ``dst`` is followed.
    """
    target = Path(os.path.realpath(dst))
    temporary = target.with_name(f".{target.stem[:80]}.{secrets.token_hex(4)}.part{target.suffix}")
    try:
        yield temporary
        with writing(dst):
            os.replace(temporary, target)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def writing(dst: str | os.PathLike) -> Iterator[None]:
    """Turn an error of the file system in the block into a TalkeditError of one sentence about ``dst``."""
    try:
        yield
    except (OSError, av.error.FFmpegError) as error:
        raise write_error(dst, error) from error


def write_error(dst: str | os.PathLike, error: Exception) -> TalkeditError:
    """One sentence for an error that came up while writing ``dst``."""
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT):
        return TalkeditError(f"the disk is full; '{dst}' was not written")
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return TalkeditError(f"'{dst}' could not be written: {reason}")


def check_container(dst: str | os.PathLike, info: MediaInfo) -> None:
    """Raise InputError if the container of ``dst`` cannot hold the source's audio tracks."""
    suffix = Path(dst).suffix.lower()
    if info.is_picture or suffix not in CONTAINERS:
        return
    with av.open(os.devnull, "w", format=CONTAINERS[suffix]) as container:
        supported = container.supported_codecs
    for name in info.audio_codecs:
        if not _holds(supported, name):
            raise InputError(f"a {suffix} file cannot hold the source's {name} sound; write .mkv or .mov instead")


def _holds(supported: set[str], codec: str) -> bool:
    """Whether a codec is among the codecs FFmpeg lists for a container (by decoder name, which may differ)."""
    try:
        canonical = av.Codec(codec, "r").canonical_name
    except (av.error.FFmpegError, ValueError):
        return True  # unknown here: let the container decide when the track is added
    return codec in supported or canonical in supported
