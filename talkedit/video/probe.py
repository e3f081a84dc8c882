"""What a file is, told in one value or refused in one sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import av

from talkedit.errors import InputError
from talkedit.video.colour import UNSPECIFIED, ColourTags
from talkedit.video.picture import picture_kind, read_picture
from talkedit.video.rotation import clockwise_degrees, display_matrix, swaps_sides

DEFAULT_RATE = Fraction(25)
UNTAGGED = ColourTags()
_NOT_VIDEO = ("tty", "srt", "ass", "webvtt", "lrc", "ffmetadata", "image2", "image2pipe")
_RATE_SAMPLE = 2000  # packets looked at to tell constant from variable frame rate


@dataclass(frozen=True)
class MediaInfo:
    """Facts about a video or a picture.

    Attributes:
        path: as given.
        is_picture: True for one still picture.
        width, height: pixels, after display rotation.
        average_rate: frames a second; for variable rates a rough mean.
        time_base: seconds per timestamp unit of the video stream.
        duration: seconds, None if the file does not say.
        frames: number of frames as the file states or implies it, an estimate; None if unknown.
        rotation: clockwise degrees a player turns the stored pixels by (0, 90, 180, 270).
        bit_depth: bits per channel as stored.
        pixel_format: FFmpeg's name, ``"png"`` and the like for pictures.
        video_codec: FFmpeg's name of the codec.
        audio_codecs: one name per audio track.
        colour: colour tags of the stream.
        sample_aspect_ratio: width of a pixel over its height, after rotation.
        variable_rate: True if the gaps between frames differ.
        interlaced: True if the first frame is.
        format: container name.
    """

    path: str
    is_picture: bool
    width: int
    height: int
    average_rate: Fraction = DEFAULT_RATE
    time_base: Fraction = 1 / DEFAULT_RATE
    duration: float | None = None
    frames: int | None = None
    rotation: int = 0
    bit_depth: int = 8
    pixel_format: str = "rgb24"
    video_codec: str = ""
    audio_codecs: tuple[str, ...] = ()
    colour: ColourTags = UNTAGGED
    sample_aspect_ratio: Fraction = Fraction(1)
    variable_rate: bool = False
    interlaced: bool = False
    format: str = ""

    @property
    def audio_streams(self) -> int:
        """Number of audio tracks."""
        return len(self.audio_codecs)

    @property
    def notes(self) -> list[str]:
        """What an edit of this file cannot keep, one sentence each."""
        notes = []
        if self.bit_depth > 8:
            notes.append(f"the source has {self.bit_depth} bits per channel; it is edited and written with 8")
        if self.colour.is_hdr:
            notes.append("the source is HDR; its curve is kept, but 8 bits may show banding")
        if self.interlaced:
            notes.append("the source is interlaced; it is edited as it is and written as progressive")
        if self.rotation:
            notes.append(f"the source is stored turned by {self.rotation} degrees; the output is stored upright")
        if any(sub in self.pixel_format for sub in ("422", "444", "gbr", "rgb")) and not self.is_picture:
            notes.append("the source has finer colour than 4:2:0; the output is 4:2:0 so that players can show it")
        return notes


def probe(path: str | os.PathLike) -> MediaInfo:
    """Look at a file and decode its first frame.

    Raises:
        InputError: missing, a folder, empty, not a video or picture, truncated, without a video stream, or without
            a single frame that decodes.
    """
    path = check_readable(path)
    with path.open("rb") as stream:
        kind = picture_kind(stream.read(16))
    if kind:
        pixels, bits = read_picture(path)
        height, width = pixels.shape[:2]
        return MediaInfo(str(path), True, width, height, frames=1, bit_depth=bits, pixel_format=kind, format=kind)
    with open_video(path) as (container, stream):
        return _describe(path, container, stream)


def check_readable(path: str | os.PathLike) -> Path:
    """The path as a Path; raises InputError if no file can be read there."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"'{path}' does not exist")
    if path.is_dir():
        raise InputError(f"'{path}' is a folder, not a video or picture")
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}") from None
    if size == 0:
        raise InputError(f"'{path}' is empty")
    return path


@contextmanager
def open_video(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Open a video and pick its main stream (the largest that is not a cover picture).

    Raises:
        InputError: not a video, truncated, or without a video stream.
    """
    try:
        # The absolute path keeps FFmpeg from reading a name such as "concat:..." as a protocol.
        container = av.open(os.path.abspath(path), metadata_errors="replace")
    except (av.error.FFmpegError, ValueError, OSError):
        raise InputError(_why_unreadable(path)) from None
    with container:
        if container.format.name in _NOT_VIDEO:
            raise InputError(f"'{path}' is not a video or picture")
        streams = [s for s in container.streams.video if s.codec_context is not None and not is_cover(s)]
        if not streams:
            raise InputError(f"'{path}' has no video stream")
        yield container, max(streams, key=lambda s: s.codec_context.width * s.codec_context.height)


def decoded_frames(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Every frame that decodes, in display order; damaged packets are left out."""
    stream.thread_type = "AUTO"
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:  # the file breaks off in the middle of a packet
            packet = None
        try:
            yield from stream.decode(packet)
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            if packet is None:
                return
            continue
        if packet is None:
            return


def _describe(path: Path, container: av.container.InputContainer, stream: av.VideoStream) -> MediaInfo:
    context = stream.codec_context
    duration = _duration(container, stream)
    rate = stream.average_rate or stream.guessed_rate or DEFAULT_RATE
    variable = _is_variable(stream)
    audio = tuple(s.codec_context.name if s.codec_context else "unknown" for s in container.streams.audio)
    codec, container_format, time_base = context.name, container.format.name, stream.time_base
    stated = stream.frames
    first = next(decoded_frames(container, stream), None)
    if first is None:
        raise InputError(f"'{path}' holds no picture that can be decoded")
    matrix = display_matrix(first)
    width, height = first.width, first.height
    aspect = stream.sample_aspect_ratio or context.sample_aspect_ratio or Fraction(1)
    if swaps_sides(matrix):
        width, height, aspect = height, width, 1 / aspect
    return MediaInfo(
        path=str(path),
        is_picture=False,
        width=width,
        height=height,
        average_rate=rate,
        time_base=time_base,
        duration=duration,
        frames=stated or (round(duration * rate) if duration else None),
        rotation=clockwise_degrees(matrix),
        bit_depth=max(c.bits for c in first.format.components),
        pixel_format=first.format.name,
        video_codec=codec,
        audio_codecs=audio,
        colour=_tags(first, context),
        sample_aspect_ratio=aspect,
        variable_rate=variable,
        interlaced=first.interlaced_frame,
        format=container_format,
    )


def _tags(frame: av.VideoFrame, context: av.VideoCodecContext) -> ColourTags:
    """The frame's tags, and the stream's where the frame says nothing."""
    matrix = frame.colorspace if frame.colorspace != UNSPECIFIED else context.colorspace
    primaries = int(frame.color_primaries) if frame.color_primaries != UNSPECIFIED else context.color_primaries
    transfer = int(frame.color_trc) if frame.color_trc != UNSPECIFIED else context.color_trc
    return ColourTags(int(frame.color_range or context.color_range), int(matrix), int(primaries), int(transfer))


def _duration(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _is_variable(stream: av.VideoStream) -> bool:
    """True if the index of the file shows gaps that differ by more than rounding."""
    times = sorted(entry.timestamp for entry in islice(getattr(stream, "index_entries", ()), _RATE_SAMPLE))
    gaps = [b - a for a, b in pairwise(times)]
    return bool(gaps) and max(gaps) - min(gaps) > 1


def is_cover(stream: av.VideoStream) -> bool:
    """True for a still picture stored as a video stream, as music files have."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _why_unreadable(path: Path) -> str:
    with path.open("rb") as stream:
        head = stream.read(16)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free") or head[:4] in (b"\x1aE\xdf\xa3", b"RIFF"):
        return f"'{path}' is truncated or damaged and cannot be read as a video"
    return f"'{path}' is not a video or picture"
