"""Write edited frames: H.264 (VP9 for .webm) beside the source's untouched sound, or one picture."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from talkedit.errors import InputError
from talkedit.types import Frame
from talkedit.video.audio import AudioCopier
from talkedit.video.colour import FULL, LIMITED, RGB_MATRIX, ColourTags, FromRgb, is_rgb, yuv_range
from talkedit.video.output import CONTAINERS, check_extension, finished_or_nothing, writing
from talkedit.video.picture import WRITABLE, encode_picture
from talkedit.video.probe import MediaInfo, open_video

# x264's output depends on the number of threads, so it is fixed rather than taken from the machine.
ENCODER_THREADS = 4
_AVX2 = 11  # OpenCV's number of it
_MAX_TIMESCALE = 2**31 - 1
_STALE_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder", "comment", "duration")

# x264's quality at which an unedited talking head keeps its sharpness within a few per cent.
DEFAULT_CRF = 16


class VideoWriter:
    """Writes a video with the timing, colour tags, pixel shape and sound of a source; use as a context manager.

    The file appears under its name only when the block ends without an error; otherwise nothing is left. The same
    frames give the same bytes on every machine. Sizes that H.264 cannot store as 4:2:0 (odd width or height) are
    written as 4:4:4, so that the resolution stays. Pixels are written upright, without a rotation tag.

    Timestamps are exact where the container keeps the source's clock (mp4, mov); Matroska and WebM round to
    milliseconds.
    """

    def __init__(
        self,
        dst: str | os.PathLike,
        like: MediaInfo,
        *,
        width: int | None = None,
        height: int | None = None,
        crf: int = DEFAULT_CRF,
        preset: str = "veryfast",
        provenance: str = "",
    ) -> None:
        """Prepare; the file is opened on entering the context.

        Args:
            dst: output, .mp4, .m4v, .mov, .mkv or .webm.
            like: the source.
            width, height: size of the frames if it is not the source's.
            crf: x264's quality, 0 (lossless) to 51; for VP9 the nearest equivalent is used.
            preset: x264's speed.
            provenance: text for the container's comment.

        Raises:
            InputError: unknown extension, or ``crf`` out of range.
        """
        self.dst = Path(dst)
        check_extension(self.dst, is_picture=False)
        check_crf(crf)
        self._like = like
        self._width, self._height = width or like.width, height or like.height
        self._crf, self._preset, self._provenance = crf, preset, provenance
        self._last_pts: int | None = None
        self._stack = ExitStack()
        self.frames = 0

    def __enter__(self) -> VideoWriter:
        with ExitStack() as stack:
            path = stack.enter_context(finished_or_nothing(self.dst))
            stack.enter_context(self._encoding(path))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)

    def write(self, frame: Frame, rgb: np.ndarray | None = None) -> None:
        """Append a frame at the time of ``frame``; ``rgb`` (H, W, 3) uint8 replaces its pixels.

        Raises:
            TalkeditError: the file cannot be written, for example because the disk is full.
        """
        picture = self._convert(frame.rgb if rgb is None else rgb)
        picture.pts, picture.time_base = frame.pts, frame.time_base
        if self._last_pts is not None:
            # Only the last frame's duration reaches the file; the gap before it is the best guess.
            picture.duration = frame.pts - self._last_pts
        self._last_pts = frame.pts
        with writing(self.dst):
            self._mux(self._stream.encode(picture))
        self.frames += 1

    @contextmanager
    def _encoding(self, path: Path) -> Iterator[None]:
        """Open the container, and after the block flush the encoder, the sound and the container."""
        with open_video(Path(self._like.path)) as (source, video), writing(self.dst):
            self._container = open_output(path, self.dst.suffix.lower(), source, video)
            self._container.metadata.update(source_metadata(source, self._provenance))
        try:
            self._add_video()
            with AudioCopier(self._like.path, self._container) as self._audio:
                yield
                with writing(self.dst):
                    self._mux(self._stream.encode(None))
                    self._audio.finish()
                    self._container.close()
        except BaseException:
            with suppress(OSError, ValueError, av.error.FFmpegError):  # the error that led here is the one to report
                self._container.close()
            raise

    def _add_video(self) -> None:
        like, tags = self._like, _output_tags(self._like)
        even = self._width % 2 == 0 and self._height % 2 == 0
        webm = self.dst.suffix.lower() == ".webm"
        pixel_format = "yuv420p" if even or webm else "yuv444p"
        self._convert = FromRgb(pixel_format, tags, self._height)
        codec = "libvpx-vp9" if webm else "libx264"
        self._stream = stream = self._container.add_stream(codec, rate=_sane_rate(like.average_rate))
        context = stream.codec_context
        stream.width, stream.height, stream.pix_fmt = self._width, self._height, pixel_format
        stream.time_base = context.time_base = like.time_base
        context.thread_count = ENCODER_THREADS
        context.sample_aspect_ratio = like.sample_aspect_ratio
        context.color_range, context.colorspace = tags.range, tags.matrix
        context.color_primaries, context.color_trc = tags.primaries, tags.transfer
        stream.options = _vp9_options(self._crf) if webm else _x264_options(self._crf, self._preset)

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            self._audio.advance(float(packet.dts * packet.time_base))
            self._container.mux_one(packet)


class PictureWriter:
    """Writes one picture, .png or .jpg; same use as `VideoWriter`."""

    def __init__(self, dst: str | os.PathLike, like: MediaInfo, *, provenance: str = "") -> None:
        """Raises InputError if the extension is not .png, .jpg or .jpeg."""
        self.dst = Path(dst)
        check_extension(self.dst, is_picture=True)
        self._like, self._provenance = like, provenance
        self.frames = 0

    def __enter__(self) -> PictureWriter:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def write(self, frame: Frame, rgb: np.ndarray | None = None) -> None:
        """Write the picture: ``rgb`` (H, W, 3) uint8, or the frame's own pixels."""
        kind = WRITABLE[self.dst.suffix.lower()]
        pixels = frame.rgb if rgb is None else rgb
        data = encode_picture(pixels, kind, self._provenance, like=Path(self._like.path).read_bytes())
        with finished_or_nothing(self.dst) as path, writing(self.dst):
            path.write_bytes(data)
        self.frames += 1


def open_writer(
    dst: str | os.PathLike,
    like: MediaInfo,
    *,
    width: int | None = None,
    height: int | None = None,
    crf: int = DEFAULT_CRF,
    provenance: str = "",
) -> VideoWriter | PictureWriter:
    """The writer for the kind of source: a picture for a picture, a video for a video."""
    if like.is_picture:
        return PictureWriter(dst, like, provenance=provenance)
    return VideoWriter(dst, like, width=width, height=height, crf=crf, provenance=provenance)


def check_crf(crf: int) -> int:
    """Return ``crf``; raise InputError unless it is 0..51."""
    if not 0 <= crf <= 51:
        raise InputError(f"the quality (crf) must lie between 0 and 51, but is {crf}")
    return crf


def open_output(
    path: Path, suffix: str, source: av.container.InputContainer, video: av.VideoStream | None
) -> av.container.OutputContainer:
    """Open a container for writing; mp4 and mov keep the clocks of the ``source`` and its ``video`` exactly."""
    # Without bitexact, Matroska draws random ids and every run gives another file.
    options = {"fflags": "+bitexact"}
    if CONTAINERS[suffix] in ("mp4", "mov"):
        options["movflags"] = "+faststart"
        if video is not None and video.time_base.numerator == 1:
            options["video_track_timescale"] = str(video.time_base.denominator)
        # Tracks that start late are placed in units of the movie's clock; the default, 1 ms, would shift them.
        clocks = {s.time_base.denominator for s in source.streams if s.time_base and s.type in ("video", "audio")}
        common = math.lcm(*clocks)
        if common <= _MAX_TIMESCALE:
            options["movie_timescale"] = str(common)
    return av.open(str(path), "w", format=CONTAINERS[suffix], container_options=options)


def source_metadata(source: av.container.InputContainer, provenance: str) -> dict[str, str]:
    """The source's own tags, with the provenance in front of its comment."""
    tags = {key.lower(): value for key, value in source.metadata.items()}
    kept = {key: value for key, value in tags.items() if key not in _STALE_TAGS}
    comment = "; ".join(text for text in (provenance, tags.get("comment", "")) if text)
    return {**kept, "comment": comment} if comment else kept


def _output_tags(like: MediaInfo) -> ColourTags:
    """The source's tags; an RGB source gets those of the YUV it is written as."""
    tags = like.colour
    if is_rgb(like.pixel_format) or tags.matrix == RGB_MATRIX:
        return ColourTags(LIMITED, 1, 1 if tags.primaries == 2 else tags.primaries, tags.transfer)
    stored_range = FULL if yuv_range(tags.range, like.pixel_format) == FULL else tags.range
    return replace(tags, range=stored_range)


def _sane_rate(rate: Fraction) -> Fraction:
    """x264 uses the rate for its budget only; absurd values of broken files would be refused."""
    return rate.limit_denominator(100000) if 1 <= rate <= 1000 else Fraction(25)


def _x264_options(crf: int, preset: str) -> dict[str, str]:
    options = {"preset": preset, "crf": str(crf)}
    # With AVX-512, the same frames gave other bytes in one run out of five on a virtual machine under load.
    if cv2.checkHardwareSupport(_AVX2):
        options["x264-params"] = "asm=AVX2"
    return options


def _vp9_options(crf: int) -> dict[str, str]:
    # VP9's scale runs to 63 and is finer at the top; row-mt with fixed threads is deterministic.
    speed = {"deadline": "realtime", "cpu-used": "6", "row-mt": "1"}
    return {"crf": str(min(63, round(crf * 63 / 51))), "b:v": "0", **speed}
