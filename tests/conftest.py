"""Small synthetic clips made on the fly, a fake editor, and ways to compare media files exactly."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import cv2
import numpy as np
import pytest

from talkedit.errors import NoFaceError

# A shell that starts the tests in the background has them ignore Ctrl-C, and the programs they start inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real clips, beside the repository; tests that need it are skipped without it."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("no ../shared/data")
    return folder


def test_picture(index: int, width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8: smooth colour, a moving bright square."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 60 + 120 * x / width, 60 + 120 * y / height
    picture = np.stack([red, green, np.full_like(red, 90)], -1).astype(np.uint8)
    side = min(width, height) // 4
    left = (3 * index) % max(1, width - side)
    picture[side : 2 * side, left : left + side] = (220, 200, 60)
    return picture


test_picture.__test__ = False


def make_clip(
    path: Path,
    *,
    frames: int = 24,
    size: tuple[int, int] = (96, 64),
    rate: Fraction | int = 25,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    audio: Sequence[str] = ("tone",),
    audio_codec: str = "aac",
    rotation: int | None = None,
    tags: tuple[int, int, int, int] | None = None,
    aspect: Fraction | None = None,
    with_video: bool = True,
) -> Path:
    """Write a clip. ``audio`` holds "tone" or "silence" for each track; ``pts`` makes the rate variable."""
    container = av.open(str(path), "w")
    time_base = time_base or 1 / Fraction(rate)
    if with_video:
        options = {"preset": "ultrafast", "crf": "10"} if codec == "libx264" else {}
        video = container.add_stream(codec, rate=rate, options=options)
        video.width, video.height, video.pix_fmt = *size, pixel_format
        video.time_base = video.codec_context.time_base = time_base
        video.codec_context.thread_count = 1
        if aspect is not None:
            video.codec_context.sample_aspect_ratio = aspect
        if tags is not None:
            c = video.codec_context
            c.color_range, c.colorspace, c.color_primaries, c.color_trc = tags
        if rotation is not None:
            video.set_display_rotation(rotation)
    tracks = []
    for _ in audio:
        track = container.add_stream(audio_codec, rate=48000)
        track.layout = "mono"
        tracks.append(track)
    times = list(pts) if pts is not None else list(range(frames))
    if with_video:
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(test_picture(index, *size), format="rgb24")
            frame = frame.reformat(format=pixel_format)
            frame.pts, frame.time_base = time, time_base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    seconds = float((times[-1] + 1) * time_base)
    for number, (kind, track) in enumerate(zip(audio, tracks, strict=True)):
        for start in range(0, int(seconds * 48000), 1024):
            t = np.arange(start, start + 1024) / 48000
            loud = 0.0 if kind == "silence" else 0.3
            wave = (loud * np.sin(2 * np.pi * 220 * (number + 1) * t)).astype(np.float32)
            sound = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 48000, start, Fraction(1, 48000)
            if track.codec_context.format.name != "fltp":
                resampler = av.AudioResampler(format=track.codec_context.format.name, layout="mono", rate=48000)
                container.mux([p for f in resampler.resample(sound) for p in track.encode(f)])
            else:
                container.mux(track.encode(sound))
        container.mux(track.encode(None))
    container.close()
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Callable[..., Path]:
    """Makes a clip: ``clip("name.mp4", **arguments of make_clip)``; pictures by extension."""

    def build(name: str = "clip.mp4", **arguments) -> Path:
        path = tmp_path / name
        if path.suffix in (".png", ".jpg", ".webp", ".bmp", ".tiff"):
            width, height = arguments.get("size", (96, 64))
            cv2.imwrite(str(path), test_picture(0, width, height)[..., ::-1])
            return path
        return make_clip(path, **arguments)

    return build


def packets(path: Path, kind: str = "audio") -> list[list[tuple[Fraction, str]]]:
    """For each stream of a kind: (seconds, hash of the bytes) of every packet."""
    with av.open(str(path)) as container:
        streams = [s for s in container.streams if s.type == kind]
        found: dict[int, list] = {s.index: [] for s in streams}
        for packet in container.demux(*streams) if streams else ():
            if packet.size:
                digest = hashlib.md5(bytes(packet)).hexdigest()
                found[packet.stream_index].append((packet.pts * packet.time_base, digest))
        return list(found.values())


def frame_times(path: Path) -> list[Fraction]:
    """Exact presentation time of every decoded frame, in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.pts * stream.time_base for frame in container.decode(stream)]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR in dB of two uint8 pictures."""
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


class FakeEditor:
    """Stands in for `talkedit.editor.ClipEditor`: brightens a box by the emotion's strength."""

    has_face = True

    def __init__(self, options, clock) -> None:
        self.options, self.clock = options, clock
        self.edited_frames = 0
        self.skipped: list[tuple[int, str]] = []
        self.notes: list[str] = ["fake"]
        self.observed = 0
        self.solved = False

    def track(self, frame) -> int:
        return frame.index

    def take(self, frame, track: int) -> None:
        assert frame.index == track == self.observed
        self.observed += 1

    def solve(self) -> None:
        if not self.has_face:
            raise NoFaceError("no face was found that can be edited")
        self.solved = True

    def plan(self, frame, timeline) -> float:
        assert self.solved
        strength = float(timeline.code(frame.time).sum())
        self.edited_frames += strength != 0
        return strength

    def paint(self, frame, strength: float) -> np.ndarray:
        if strength == 0:
            return frame.rgb
        rgb = frame.rgb.copy()
        box = rgb[8:24, 8:24]
        box[:] = np.clip(box + 60 * strength, 0, 255).astype(np.uint8)
        return rgb

    def metrics(self) -> dict:
        return {"score": np.float32(0.5)}


class FacelessEditor(FakeEditor):
    """Never sees a face."""

    has_face = False


class IdleEditor(FakeEditor):
    """Sees a face and edits nothing."""

    def plan(self, frame, timeline) -> float:
        return 0.0


@pytest.fixture
def fake_editor(monkeypatch: pytest.MonkeyPatch) -> type[FakeEditor]:
    """Puts the fake editor where the program looks for the real one, for this test only."""
    module = ModuleType("talkedit.editor")
    module.ClipEditor = FakeEditor
    monkeypatch.setitem(sys.modules, "talkedit.editor", module)
    return FakeEditor


@pytest.fixture
def environment() -> dict[str, str]:
    """Environment for subprocesses: finds the package in the checkout and uses one thread."""
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
