"""Frames of a video or picture, one at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator

from talkedit.types import Frame
from talkedit.video.colour import ToRgb
from talkedit.video.picture import picture_kind, read_picture
from talkedit.video.probe import DEFAULT_RATE, check_readable, decoded_frames, open_video
from talkedit.video.rotation import display_matrix, turn_upright


def read_frames(path: str | os.PathLike, start: float | None = None, end: float | None = None) -> Iterator[Frame]:
    """Decode a file frame by frame, upright, as 8-bit RGB, with the timestamps of the file.

    A picture gives one frame. Nothing is kept between frames, so memory does not grow with length. Frames without
    a timestamp, or with one that does not increase, take the previous one plus one frame. Damaged packets are left
    out.

    Args:
        path: a video or picture.
        start, end: seconds; frames outside are decoded but not given out. ``Frame.index`` always counts from the
            first frame of the file.

    Raises:
        InputError: see `talkedit.video.probe.probe`; raised when the first frame is asked for.
    """
    path = check_readable(path)
    with path.open("rb") as stream:
        kind = picture_kind(stream.read(16))
    frames = _picture_frames(path) if kind else _video_frames(path, start, end)
    yield from frames


def _picture_frames(path: os.PathLike) -> Iterator[Frame]:
    yield Frame(0, read_picture(path)[0])


def _video_frames(path: os.PathLike, start: float | None, end: float | None) -> Iterator[Frame]:
    with open_video(path) as (container, stream):
        to_rgb = ToRgb()
        time_base = stream.time_base
        step = max(1, round(1 / ((stream.average_rate or DEFAULT_RATE) * time_base)))
        last, matrix = None, None
        for index, decoded in enumerate(decoded_frames(container, stream)):
            pts = decoded.pts
            if pts is None or (last is not None and pts <= last):
                pts = 0 if last is None else last + step
            last = pts
            time = float(pts * time_base)
            if start is not None and time < start:
                continue
            if end is not None and time > end:
                return
            # Asked of one frame only: a frame whose side data was looked at is part of a reference cycle, and then
            # decoded frames pile up until the garbage collector comes by.
            matrix = matrix or display_matrix(decoded)
            yield Frame(index, turn_upright(to_rgb(decoded), matrix), pts, time_base)
