"""YUV and RGB without a shift: one choice of matrix and range, used by the reader and the writer alike."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

UNSPECIFIED = 2  # of AVColorSpace, AVColorPrimaries and AVColorTransferCharacteristic
LIMITED, FULL = 1, 2  # AVColorRange
RGB_MATRIX = 0

# AVColorSpace -> swscale's matrix. YCgCo and the like are rare and fall back to the guess.
_MATRIX = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
# Without these flags swscale drops chroma samples and rounds carelessly: a round trip then costs 9 dB
# (45 instead of 54 dB RGB), and bit-exact keeps the result the same on every processor.
_QUALITY = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.BITEXACT
)


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


def yuv_matrix(tag: int, height: int) -> Colorspace:
    """The matrix a tag names; where there is none, BT.709 from 720 lines up and BT.601 below, as players guess."""
    return _MATRIX.get(tag, Colorspace.ITU709 if height >= 720 else Colorspace.ITU601)


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
        matrix, source_range = None, None
        if not is_rgb(frame.format.name):
            matrix = yuv_matrix(frame.colorspace, self._size[1])
            source_range = yuv_range(frame.color_range, frame.format.name)
        converted = self._reformatter.reformat(
            frame,
            width=self._size[0],
            height=self._size[1],
            format="rgb24",
            src_colorspace=matrix,
            dst_colorspace=matrix,
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
        source_range = FULL
        for name, reformatter in self._steps:
            frame = reformatter.reformat(
                frame,
                format=name,
                src_colorspace=self._matrix,
                dst_colorspace=self._matrix,
                src_color_range=source_range,
                dst_color_range=self._range,
                interpolation=_QUALITY,
                threads=1,
            )
            source_range = self._range
        return frame
