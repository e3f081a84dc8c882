"""YUV and RGB without a shift: one choice of matrix and range, used by the reader and the writer alike."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import VideoReformatter

UNSPECIFIED = 2  # of AVColorSpace, AVColorPrimaries and AVColorTransferCharacteristic
LIMITED, FULL = 1, 2  # AVColorRange
RGB_MATRIX = 0

# Values of AVColorSpace. Others (YCgCo and the like) are rare and treated as untagged.
BT709, BT601 = 1, 6
_KNOWN_MATRICES = (BT709, 4, 5, BT601, 7, 9, 10)  # also FCC, BT.470, SMPTE 240M, BT.2020
# Without these flags swscale drops chroma samples and rounds carelessly: a round trip then costs 9 dB
# (45 instead of 54 dB RGB), and bit-exact keeps the result the same on every processor.
# Numbers, because older PyAV has no names for them.
_BICUBIC, _FULL_CHROMA_OUT, _FULL_CHROMA_IN, _ACCURATE, _BITEXACT = 0x4, 0x2000, 0x4000, 0x40000, 0x80000
_QUALITY = _BICUBIC | _FULL_CHROMA_OUT | _FULL_CHROMA_IN | _ACCURATE | _BITEXACT


@dataclass(frozen=True)
class ColourTags:
    """Colour tags as FFmpeg numbers (AVColorRange, AVColorSpace, AVColorPrimaries, AVColorTransferCharacteristic)."""

    range: int = 0
    matrix: int = UNSPECIFIED
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED

    @property
    def is_hdr(self) -> bool:
        """True for the PQ and HLG transfer curves."""
        return self.transfer in (16, 18)


def yuv_matrix(tag: int, height: int) -> int:
    """The tag itself; where it says nothing, BT.709 from 720 lines up and BT.601 below, as players guess."""
    if tag in _KNOWN_MATRICES:
        return tag
    return BT709 if height >= 720 else BT601


def yuv_range(tag: int, pixel_format: str) -> int:
    """LIMITED or FULL; untagged YUV is limited, except the old ``yuvj`` formats."""
    return FULL if tag == FULL or pixel_format.startswith("yuvj") else LIMITED


def is_rgb(pixel_format: str) -> bool:
    """True for formats that hold RGB (or a palette of it) rather than YUV or grey."""
    return any(part in pixel_format for part in ("rgb", "bgr", "gbr", "pal8", "0rgb"))


class ToRgb:
    """Decoded frames to RGB arrays, all of the first frame's size (a stream may change size midway)."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """(H, W, 3) uint8 in the stored orientation; alpha is dropped."""
        self._size = self._size or (frame.width, frame.height)
        source_range = None
        if not is_rgb(frame.format.name):
            # Set on the frame rather than passed: older PyAV knows fewer matrices by name.
            frame.colorspace = yuv_matrix(frame.colorspace, self._size[1])
            source_range = yuv_range(frame.color_range, frame.format.name)
        converted = self._reformatter.reformat(
            frame,
            width=self._size[0],
            height=self._size[1],
            format="rgb24",
            src_color_range=source_range,
            dst_color_range=FULL,
            interpolation=_QUALITY,
            threads=1,
        )
        return converted.to_ndarray()


class FromRgb:
    """RGB arrays to YUV frames for the encoder."""

    def __init__(self, pixel_format: str, tags: ColourTags, height: int) -> None:
        self._matrix = yuv_matrix(tags.matrix, height)
        self._range = yuv_range(tags.range, pixel_format)
        # swscale truncates full-range chroma, a shift of half a level; by way of 12 bits it is a thirtieth of one.
        formats = [f"{pixel_format}12le", pixel_format] if self._range == FULL else [pixel_format]
        self._steps = [(name, VideoReformatter()) for name in formats]

    def __call__(self, rgb: np.ndarray) -> av.VideoFrame:
        """A new frame without timestamps; ``rgb`` is (H, W, 3) uint8."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame.colorspace = self._matrix  # inherited by what it is converted to
        source_range = FULL
        for name, reformatter in self._steps:
            frame = reformatter.reformat(
                frame,
                format=name,
                src_color_range=source_range,
                dst_color_range=self._range,
                interpolation=_QUALITY,
                threads=1,
            )
            source_range = self._range
        return frame
