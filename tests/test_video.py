"""Reading, writing and copying: exact timing, untouched sound, right colours, nothing left behind."""

import gc
import itertools
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from conftest import FacelessEditor, FakeEditor, IdleEditor, frame_times, packets, psnr, test_picture

from talkedit import compare_video, edit_video
from talkedit.errors import InputError, NoFaceError
from talkedit.types import Frame
from talkedit.video.colour import ColourTags, FromRgb, ToRgb
from talkedit.video.passthrough import remux
from talkedit.video.picture import colour_profile, encode_picture, picture_kind, read_comment, read_picture
from talkedit.video.probe import probe
from talkedit.video.reader import read_frames
from talkedit.video.rotation import turn_upright
from talkedit.video.writer import VideoWriter

VARIABLE = [0, 40, 80, 113, 146, 180, 260, 300, 333, 500, 540, 581]  # milliseconds


def copy_through(source: Path, output: Path, **options) -> Path:
    """Decode and encode without an edit."""
    with VideoWriter(output, probe(source), **options) as writer:
        for frame in read_frames(source):
            writer.write(frame)
    return output


CLIPS = {
    "constant": {},
    "ntsc": {"rate": Fraction(30000, 1001), "time_base": Fraction(1, 30000), "pts": [1001 * i for i in range(20)]},
    "variable": {"pts": VARIABLE, "time_base": Fraction(1, 1000)},
    "late": {"pts": [50 + 4 * i for i in range(20)], "time_base": Fraction(1, 100)},
    "ten_bit": {"pixel_format": "yuv420p10le"},
    "odd": {"size": (95, 63), "pixel_format": "yuv444p"},
    "two_tracks": {"audio": ("tone", "silence")},
    "no_sound": {"audio": ()},
    "silent": {"audio": ("silence",)},
    "one_frame": {"frames": 1},
    "wide_pixels": {"aspect": Fraction(4, 3)},
}


@pytest.mark.parametrize("extension", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("kind", CLIPS)
def test_timing_sound_and_size_survive(clip, tmp_path, kind, extension):
    source = clip(f"source{extension}", **CLIPS[kind])
    output = copy_through(source, tmp_path / f"out{extension}")
    before, after = probe(source), probe(output)
    assert frame_times(output) == frame_times(source)
    assert packets(output) == packets(source)
    assert (after.width, after.height) == (before.width, before.height)
    assert after.sample_aspect_ratio == before.sample_aspect_ratio
    assert after.colour == before.colour
    assert after.bit_depth == 8


@pytest.mark.parametrize("kind", ["constant", "variable", "two_tracks", "ten_bit", "late"])
def test_remux_is_exact(clip, tmp_path, kind):
    source, output = clip("source.mp4", **CLIPS[kind]), tmp_path / "out.mp4"
    remux(source, output, "note")
    assert packets(output, "video") == packets(source, "video")
    assert packets(output) == packets(source)
    assert frame_times(output) == frame_times(source)
    with av.open(str(output)) as container:
        assert container.metadata["comment"] == "note"


def test_variable_rate_is_noticed(clip):
    assert probe(clip("v.mp4", **CLIPS["variable"])).variable_rate
    assert not probe(clip("c.mp4")).variable_rate


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotation_is_applied_once(clip, tmp_path, degrees):
    source = clip("turned.mp4", rotation=degrees, frames=3)
    info = probe(source)
    assert info.rotation == -degrees % 360  # FFmpeg counts counter-clockwise
    assert (info.width, info.height) == ((96, 64) if degrees == 180 else (64, 96))
    stored = test_picture(0, 96, 64)
    first = next(iter(read_frames(source)))
    assert psnr(first.rgb, np.rot90(stored, degrees // 90)) > 25
    output = copy_through(source, tmp_path / "out.mp4")
    after = probe(output)
    assert after.rotation == 0 and (after.width, after.height) == (info.width, info.height)
    assert psnr(next(iter(read_frames(output))).rgb, first.rgb) > 35
    remux(source, tmp_path / "copy.mp4")
    assert probe(tmp_path / "copy.mp4").rotation == info.rotation


def test_all_eight_orientations():
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    for matrix in [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)] + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]:
        a, b, c, d = matrix
        turned = turn_upright(picture, matrix)
        for y in range(2):
            for x in range(3):
                shown = (a * x + c * y) % turned.shape[1], (b * x + d * y) % turned.shape[0]
                # Negative coordinates wrap to the far side: -1 is the last but the origin belongs there too.
                column = shown[0] if (a or c) > 0 else turned.shape[1] - 1 + (a * x + c * y)
                row = shown[1] if (b or d) > 0 else turned.shape[0] - 1 + (b * x + d * y)
                assert np.array_equal(turned[row, column], picture[y, x])


def test_frames_outside_the_bounds_are_not_given(clip):
    frames = list(read_frames(clip(), start=0.2, end=0.4))
    assert [f.index for f in frames] == [5, 6, 7, 8, 9, 10]
    assert frames[0].time == pytest.approx(0.2)


@pytest.mark.parametrize(
    "tags", [(1, 1, 1, 1), (1, 6, 6, 6), (2, 1, 1, 1), (2, 5, 5, 6), (1, 9, 9, 14), (0, 2, 2, 2)], ids=str
)
def test_colours_survive_every_matrix_and_range(clip, tmp_path, tags):
    matrix, full = ColourTags(*tags), tags[0] == 2
    source = clip("tagged.mp4", tags=tags, size=(128, 96), frames=4)
    # The clip's maker converts with FFmpeg's default matrix, so compare decoded source with decoded output.
    output = copy_through(source, tmp_path / "out.mp4", crf=4)
    assert probe(output).colour == probe(source).colour == matrix
    for a, b in zip(read_frames(source), read_frames(output), strict=True):
        assert psnr(a.rgb, b.rgb) > 42
        assert np.abs(a.rgb.mean((0, 1)) - b.rgb.mean((0, 1))).max() < 0.6
    assert full == (probe(output).colour.range == 2)


@pytest.mark.parametrize("height", [480, 720])
@pytest.mark.parametrize("tags", [ColourTags(), ColourTags(1, 1), ColourTags(2, 6)], ids=str)
def test_colour_conversion_inverts(height, tags):
    ramp = np.linspace(16, 235, 256).astype(np.uint8)
    rgb = np.broadcast_to(np.stack([ramp, ramp[::-1], np.roll(ramp, 64)], -1), (height, 256, 3))
    frame = FromRgb("yuv444p", tags, height)(rgb)
    frame.colorspace, frame.color_range = tags.matrix, tags.range
    assert np.abs(ToRgb()(frame).astype(int) - rgb).max() <= 3


def test_untagged_matrix_follows_the_height():
    red = np.full((720, 64, 3), (255, 0, 0), np.uint8)
    luma = [int(FromRgb("yuv444p", ColourTags(), h)(red[:h]).to_ndarray()[0].mean()) for h in (480, 720)]
    assert luma == [81, 63]  # BT.601 and BT.709 luma of pure red in limited range


def test_quality_and_determinism(shared, tmp_path):
    source = shared / "data/talking/lp_d20_man_480.mp4"
    info, frames = probe(source), []
    for name in ("a.mp4", "b.mp4"):
        with VideoWriter(tmp_path / name, info) as writer:
            for frame in read_frames(source, end=1.0):
                writer.write(frame)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    frames = zip(read_frames(source, end=1.0), read_frames(tmp_path / "a.mp4"), strict=True)
    assert np.mean([psnr(a.rgb, b.rgb) for a, b in frames]) > 42


@pytest.mark.parametrize("extension", [".mkv", ".webm"])
def test_other_containers_are_deterministic(clip, tmp_path, extension):
    source = clip("s.mkv", audio=("tone",), audio_codec="libopus" if extension == ".webm" else "aac", frames=8)
    outputs = [copy_through(source, tmp_path / f"{n}{extension}") for n in "ab"]
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert packets(outputs[0]) == packets(source)


def test_container_that_cannot_hold_the_sound(clip, tmp_path):
    with pytest.raises(InputError, match=r"\.webm file cannot hold the source's aac"):
        edit_video(clip(), tmp_path / "out.webm", emotion="happy", make_editor=FakeEditor)
    assert not (tmp_path / "out.webm").exists()


def test_damaged_packets_are_skipped(clip):
    path = clip("damaged.mp4", frames=60, size=(160, 128))
    with av.open(str(path)) as container:
        spans = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    at, size = spans[30]
    data[at + 4 : at + size] = b"\xff" * (size - 4)
    path.write_bytes(data)
    frames = list(read_frames(path))
    assert 40 <= len(frames) <= 60
    assert all(b.pts > a.pts for a, b in itertools.pairwise(frames))


def test_every_shared_clip_keeps_sound_times_and_count(shared, tmp_path):
    for folder in ("talking", "robustness"):
        for source in sorted((shared / "data" / folder).glob("*.m*")):
            output = tmp_path / f"{source.stem}.mp4"
            short = probe(source)
            with VideoWriter(output, short, preset="ultrafast") as writer:
                frames = read_frames(source, end=1.0 if short.height > 600 else 3.0)
                count = sum(writer.write(frame) is None for frame in frames)
            assert frame_times(output) == frame_times(source)[:count], source.name
            assert packets(output) == packets(source), source.name


# ---- pictures


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp", ".bmp", ".tiff"])
def test_pictures_give_one_frame(clip, extension):
    path = clip(f"picture{extension}")
    info = probe(path)
    assert info.is_picture and (info.width, info.height, info.frames) == (96, 64, 1)
    (frame,) = read_frames(path)
    assert psnr(frame.rgb, test_picture(0, 96, 64)) > 25


def test_sixteen_bit_and_alpha_pictures(tmp_path):
    deep = test_picture(0, 96, 64).astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "deep.png"), deep[..., ::-1])
    assert probe(tmp_path / "deep.png").bit_depth == 16
    assert np.array_equal(read_picture(tmp_path / "deep.png")[0], test_picture(0, 96, 64))
    alpha = np.dstack([test_picture(0, 96, 64)[..., ::-1], np.full((64, 96), 128, np.uint8)])
    cv2.imwrite(str(tmp_path / "alpha.png"), alpha)
    assert np.array_equal(read_picture(tmp_path / "alpha.png")[0], test_picture(0, 96, 64))


def test_exif_orientation_is_applied(clip, tmp_path):
    path = clip("plain.jpg")
    data = path.read_bytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
    assert (probe(path).width, probe(path).height) == (64, 96)
    edit_video(path, tmp_path / "out.jpg", emotion="happy", make_editor=FakeEditor)
    assert (probe(tmp_path / "out.jpg").width, probe(tmp_path / "out.jpg").height) == (64, 96)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_comment_and_profile_travel(kind):
    profile = bytes(range(256)) * 600  # larger than one JPEG segment
    from talkedit.video.picture import with_profile

    base = with_profile(encode_picture(test_picture(0, 40, 30), "png"), profile)
    data = encode_picture(test_picture(0, 40, 30), kind, "edited by a test", like=base)
    assert picture_kind(data) == kind
    assert read_comment(data) == "edited by a test"
    assert colour_profile(data) == profile
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert psnr(decoded[..., ::-1], test_picture(0, 40, 30)) > 35


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_picture_at_zero_keeps_its_pixels(clip, tmp_path, extension):
    source, output = clip(f"in{extension}"), tmp_path / f"out{extension}"
    edit_video(source, output, emotion="happy", intensity=0, make_editor=FakeEditor)
    assert np.array_equal(read_picture(source)[0], read_picture(output)[0])
    assert "talkedit" in read_comment(output.read_bytes())


# ---- the pipeline


def test_edit_reports_and_marks_provenance(clip, tmp_path):
    source, output = clip(), tmp_path / "out.mp4"
    calls = []
    report = edit_video(
        source,
        output,
        emotion="happy",
        intensity=0.8,
        make_editor=FakeEditor,
        progress=lambda *call: calls.append(call),
    )
    assert report.frames == report.edited_frames == 24
    assert {"decode", "observe", "solve", "edit", "encode"} <= set(report.seconds)
    assert report.metrics == {"score": np.float32(0.5)} and '"score": 0.5' in report.to_json()
    assert calls[-1] == ("edit", 24, 24) and ("analyse", 1, 24) in calls
    with av.open(str(output)) as container:
        assert container.metadata["comment"] == f"edited by talkedit {report.version}; emotion=happy@0.80"
    a, b = (next(iter(read_frames(path))).rgb.astype(int) for path in (source, output))
    assert (b - a)[12:20, 12:20].mean() > 30 and abs((b - a)[40:].mean()) < 2


def test_only_the_window_is_edited(clip, tmp_path):
    report = edit_video(clip(), tmp_path / "o.mp4", emotion="sad", start=0.4, end=0.8, make_editor=FakeEditor)
    assert report.frames == 24 and 8 <= report.edited_frames <= 10


def test_intensity_zero_copies_the_stream(clip, tmp_path):
    source, output = clip(rotation=90), tmp_path / "out.mp4"
    report = edit_video(source, output, emotion="angry", intensity=0, make_editor=FacelessEditor)
    assert packets(output, "video") == packets(source, "video") and report.frames == 24
    assert any("copied" in note for note in report.notes)


def test_intensity_zero_into_a_container_that_cannot_copy(clip, tmp_path):
    source = clip("a.mp4", audio=())
    edit_video(source, tmp_path / "out.webm", emotion="angry", intensity=0, make_editor=FacelessEditor)
    assert len(frame_times(tmp_path / "out.webm")) == 24


def test_nothing_is_left_when_no_face_is_seen(clip, tmp_path):
    source = clip()
    with pytest.raises(NoFaceError):
        edit_video(source, tmp_path / "out.mp4", emotion="happy", make_editor=FacelessEditor)
    assert sorted(p.name for p in tmp_path.iterdir()) == [source.name]


def test_notes_for_what_cannot_be_kept(clip, tmp_path):
    source = clip("deep.mp4", pixel_format="yuv420p10le", rotation=90)
    notes = edit_video(source, tmp_path / "o.mp4", emotion="happy", intensity=1.3, make_editor=IdleEditor).notes
    assert any("above 1" in note for note in notes)
    assert any("10 bits" in note for note in notes) and any("upright" in note for note in notes)


def test_mark_is_drawn_only_on_edited_frames(clip, tmp_path):
    source = clip(size=(320, 240))
    options = {"emotion": "happy", "start": 0.5, "mark": True, "make_editor": FakeEditor}
    edit_video(source, tmp_path / "o.mp4", **options)
    corner = [frame.rgb[215:, 5:120].mean() for frame in read_frames(tmp_path / "o.mp4")]
    assert abs(corner[0] - corner[5]) < 2 and corner[0] - corner[-1] > 10


@pytest.mark.parametrize(("emotions", "intensities"), [(["happy", "sad", "fear"], (1.0,)), (["happy"], (0.5, 1.0))])
def test_compare_writes_a_grid_with_sound(clip, tmp_path, emotions, intensities):
    source, output = clip(size=(200, 160)), tmp_path / "grid.mp4"
    report = compare_video(source, output, emotions=emotions, intensities=intensities, make_editor=FakeEditor)
    info = probe(output)
    assert report.frames == 24 and packets(output) == packets(source)
    assert frame_times(output) == frame_times(source)
    cells = 1 + len(emotions) * len(intensities)
    assert info.width * info.height >= cells * 200 * 160
    assert info.width % 2 == 0 and info.height % 2 == 0


def test_compare_picture(clip, tmp_path):
    compare_video(clip("a.png"), tmp_path / "grid.png", emotions=["happy", "sad"], make_editor=FakeEditor)
    assert probe(tmp_path / "grid.png").is_picture


def test_picture_edit(clip, tmp_path):
    report = edit_video(clip("a.png"), tmp_path / "b.png", emotion="happy", make_editor=FakeEditor)
    assert report.frames == report.edited_frames == 1
    difference = read_picture(tmp_path / "b.png")[0].astype(int) - test_picture(0, 96, 64)
    assert difference[10:20, 10:20].min() > 0 and not difference[30:].any()


def test_frames_do_not_pile_up(clip, tmp_path):
    """Memory does not depend on the length: frames go at once, without the help of the garbage collector."""

    def alive() -> int:
        return sum(isinstance(thing, (Frame, av.VideoFrame)) for thing in gc.get_objects())

    source = clip(frames=100)
    info, most = probe(source), 0
    gc.collect()
    before = alive()
    gc.disable()
    try:
        with VideoWriter(tmp_path / "o.mp4", info) as writer:
            for frame in read_frames(source):
                writer.write(frame)
                most = max(most, alive())
    finally:
        gc.enable()
    assert most - before < 10


def test_memory_of_a_long_clip(clip, tmp_path, environment):
    """Ten times the frames may not cost more memory; stored, they would add 150 MB."""
    program = """
import resource, sys
from conftest import IdleEditor
from talkedit import edit_video
edit_video(sys.argv[1], sys.argv[2], emotion="happy", make_editor=IdleEditor)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
    environment["PYTHONPATH"] += os.pathsep + os.path.dirname(__file__)
    peak = []
    for frames in (80, 800):
        source = clip(f"{frames}.mp4", frames=frames, size=(320, 240))
        command = [sys.executable, "-c", program, str(source), str(tmp_path / f"out{frames}.mp4")]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        peak.append(int(done.stdout))
    assert peak[1] - peak[0] < 40
