"""Intensity 0: the source's own packets and pixels, with nothing but the provenance added."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import av

from talkedit.errors import InputError
from talkedit.video.audio import copy_stream, timed_packets
from talkedit.video.output import CONTAINERS, check_extension, finished_or_nothing, writing
from talkedit.video.picture import WRITABLE, encode_picture, picture_kind, read_picture, with_comment
from talkedit.video.probe import MediaInfo, is_cover, open_video
from talkedit.video.writer import open_output, source_metadata

_COPIED = ("video", "audio", "subtitle")


def can_copy(dst: str | os.PathLike, info: MediaInfo) -> bool:
    """Whether the source's video stream fits the output's container; if not it has to be encoded anew."""
    suffix = Path(dst).suffix.lower()
    if info.is_picture:
        return True
    if info.format == "gif" or suffix not in CONTAINERS:
        return False
    with av.open(os.devnull, "w", format=CONTAINERS[suffix]) as container:
        return info.video_codec in container.supported_codecs


def remux(src: str | os.PathLike, dst: str | os.PathLike, provenance: str = "") -> None:
    """Copy a video packet by packet (rotation and colour tags included), or a picture pixel by pixel.

    Subtitle tracks that the container cannot hold are left out, as are data tracks, cover pictures and attachments.

    Raises:
        InputError: the container cannot hold the video or a sound track.
        TalkeditError: the output cannot be written.
    """
    dst = Path(dst)
    with open(src, "rb") as stream:
        kind = picture_kind(stream.read(16))
    if kind:
        _copy_picture(Path(src), dst, kind, provenance)
    else:
        _copy_video(src, dst, provenance)


def _copy_picture(src: Path, dst: Path, kind: str, provenance: str) -> None:
    check_extension(dst, is_picture=True)
    data, wanted = src.read_bytes(), WRITABLE[dst.suffix.lower()]
    if kind == wanted:
        data = with_comment(data, provenance)
    else:
        data = encode_picture(read_picture(src)[0], wanted, provenance, like=data)
    with finished_or_nothing(dst) as path, writing(dst):
        path.write_bytes(data)


def _copy_video(src: str | os.PathLike, dst: Path, provenance: str) -> None:
    check_extension(dst, is_picture=False)
    suffix = dst.suffix.lower()
    with finished_or_nothing(dst) as path, open_video(Path(src)) as (source, video):
        with writing(dst):
            output = open_output(path, suffix, source, video)
        try:
            output.metadata.update(source_metadata(source, provenance))
            streams = _add_streams(output, source, suffix)
            with writing(dst):
                for packet in timed_packets(source, [s for s in source.streams if s.index in streams]):
                    packet.stream = streams[packet.stream_index]
                    output.mux_one(packet)
                output.close()
        except BaseException:
            with suppress(OSError, ValueError, av.error.FFmpegError):
                output.close()
            raise


def _add_streams(output: av.container.OutputContainer, source: av.container.InputContainer, suffix: str) -> dict:
    """Streams of the output by index of the source."""
    streams = {}
    for stream in source.streams:
        if stream.type not in _COPIED or stream.codec_context is None or (stream.type == "video" and is_cover(stream)):
            continue
        try:
            streams[stream.index] = copied = copy_stream(output, stream)
        except InputError:
            if stream.type == "subtitle":
                continue
            raise
        if CONTAINERS[suffix] in source.format.name:
            # hvc1 and hev1 are both HEVC, but players are particular about which.
            copied.codec_context.codec_tag = stream.codec_context.codec_tag
    return streams
