"""Writing the speaker's clip: H.264 pictures and AAC sound."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from talkedit.demo.speech import SAMPLE_RATE
from talkedit.video.output import finished_or_nothing


def write_film(
    path: Path, pictures: Iterable[np.ndarray], fps: int, sound: np.ndarray, shown: Callable[[int], None] | None = None
) -> None:
    """Writes an mp4; the same pictures and sound give the same bytes.

    Args:
        path: the file, which appears only when it is complete.
        pictures: (H, W, 3) uint8, all of one even size.
        fps: pictures a second.
        sound: (N,) float32 in -1..1 at SAMPLE_RATE.
        shown: called with the number of pictures written so far.
    """
    with finished_or_nothing(path) as draft, av.open(str(draft), "w", format="mp4") as container:
        container.metadata["comment"] = "a virtual speaker: this person does not exist"
        video = container.add_stream("libx264", rate=fps)
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 2
        video.codec_context.color_range, video.codec_context.colorspace = 1, 1
        video.codec_context.color_primaries, video.codec_context.color_trc = 1, 1
        video.options = {"preset": "veryfast", "crf": "15"}
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.codec_context.bit_rate = 96_000
        for index, picture in enumerate(pictures):
            if index == 0:
                video.height, video.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(video.encode(frame))
            if shown is not None:
                shown(index + 1)
        block = audio.codec_context.frame_size or 1024
        for start in range(0, len(sound), block):
            chunk = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None, start : start + block]), "fltp", "mono")
            chunk.sample_rate, chunk.pts, chunk.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
            container.mux(audio.encode(chunk))
        container.mux(audio.encode(None))
        container.mux(video.encode(None))
