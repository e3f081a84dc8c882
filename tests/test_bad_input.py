"""Whatever is wrong with the input: one clear sentence, the right exit code, and no file left behind."""

import errno
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time

import av
import pytest
from conftest import FakeEditor, packets

from talkedit.cli import main
from talkedit.editor import ClipEditor
from talkedit.pipeline import Analyst

needs_editor = pytest.mark.skipif(
    importlib.util.find_spec("talkedit.editor") is None, reason="talkedit.editor is not there yet"
)
FAKE_PROGRAM = """
import sys, types
sys.path.insert(0, {tests!r})
from conftest import FakeEditor
module = types.ModuleType("talkedit.editor")
module.ClipEditor = FakeEditor
sys.modules["talkedit.editor"] = module
from talkedit.cli import main
from talkedit.editor import ClipEditor
from talkedit.pipeline import Analyst
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs ``talkedit edit``; checks the exit code and the one sentence, and that no file appeared."""

    def run(source, sentence, code=2, output="result.mp4", emotion="happy", extra=()):
        folder = tmp_path / "output"
        folder.mkdir(exist_ok=True)
        before = sorted(folder.iterdir())
        target = folder / output
        arguments = ["edit", str(source), "-o", str(target), "--emotion", emotion, *extra]
        try:
            result = main(arguments)
        except SystemExit as stop:  # argparse
            result = stop.code
        message = capsys.readouterr().err
        assert result == code, message
        assert message.startswith("talkedit: ") and message.count("\n") == 1 and "Traceback" not in message
        assert sentence in message
        assert sorted(folder.iterdir()) == before
        return message

    return run


# ---- the file itself


def test_missing(refused, tmp_path):
    refused(tmp_path / "nothing.mp4", "does not exist")


def test_folder(refused, tmp_path):
    refused(tmp_path, "is a folder, not a video")


def test_empty(refused, tmp_path):
    path = tmp_path / "empty.mp4"
    path.touch()
    refused(path, "is empty")


@pytest.mark.parametrize("name", ["notes.txt", "notes.mp4", "notes.srt"])
def test_not_a_video(refused, tmp_path, name):
    path = tmp_path / name
    path.write_text("1\n00:00:01,000 --> 00:00:02,000\nThis is not a video at all.\n" * 40)
    refused(path, "is not a video or picture" if not name.endswith(".srt") else "'")


def test_truncated_video(refused, clip):
    path = clip()
    path.write_bytes(path.read_bytes()[:2000])
    refused(path, "is truncated or damaged")


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg"])
def test_truncated_picture(refused, clip, name):
    path = clip(name)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(path, "is truncated", output="result.png")


def test_picture_of_nonsense(refused, tmp_path):
    path = tmp_path / "bad.bmp"
    path.write_bytes(b"BM" + b"\0" * 40)
    refused(path, "cannot be decoded", output="result.png")


def test_zero_frames(refused, clip):
    path = clip(frames=5)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        spans = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for at, size in spans:
        data[at : at + size] = b"\0" * size
    path.write_bytes(data)
    refused(path, "holds no picture that can be decoded")


def test_no_video_stream(refused, clip):
    refused(clip("sound.mp4", with_video=False), "has no video stream")


def test_truncated_in_the_middle_is_edited_as_far_as_it_goes(clip, tmp_path, fake_editor):
    path = clip("cut.mkv", frames=60, size=(160, 128))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert main(["edit", str(path), "-o", str(tmp_path / "o.mkv"), "--emotion", "happy", "--quiet"]) == 0


# ---- unusual but fine


@pytest.mark.parametrize(
    "arguments",
    [
        {"pixel_format": "yuv420p10le"},
        {"rotation": 90},
        {"pts": [0, 1, 2, 5, 6, 9, 12], "time_base": "1/30"},
        {"audio": ()},
        {"audio": ("silence",)},
        {"audio": ("tone", "silence", "tone")},
        {"size": (95, 63), "pixel_format": "yuv444p"},
    ],
    ids=["10-bit", "rotated", "variable", "no-sound", "silent", "three-tracks", "odd"],
)
def test_unusual_clips_are_edited(clip, tmp_path, fake_editor, arguments):
    from fractions import Fraction

    if "time_base" in arguments:
        arguments = arguments | {"time_base": Fraction(arguments["time_base"])}
    source, output = clip(**arguments), tmp_path / "out.mp4"
    assert main(["edit", str(source), "-o", str(output), "--emotion", "happy", "--quiet"]) == 0
    assert packets(output) == packets(source)


# ---- options


def test_unknown_emotion(refused, clip):
    message = refused(clip(), "unknown emotion 'hapy' (did you mean happy?)", emotion="hapy")
    assert "contempt" in message


@pytest.mark.parametrize(
    ("value", "sentence"),
    [("nan", "finite"), ("inf", "finite"), ("-0.5", "must not be negative"), ("1.6", "at most 1.5"), ("x", "number")],
)
def test_bad_intensity(refused, clip, value, sentence):
    refused(clip(), sentence, extra=(f"--intensity={value}",))


def test_intensity_above_one_is_allowed_with_a_note(clip, tmp_path, fake_editor, capsys):
    output = tmp_path / "o.mp4"
    assert main(["edit", str(clip()), "-o", str(output), "--emotion", "happy", "--intensity", "1.4"]) == 0
    assert "note: intensity 1.4 is above 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        (("--start", "5"), "after the end of the clip"),
        (("--start", "0.5", "--end", "0.2"), "must come after"),
        (("--start", "x"), "invalid float value"),
        (("--crf", "99"), "between 0 and 51"),
        (("--only", "hair"), "invalid choice"),
        (("--face", "left"), "neither 'largest' nor a number"),
        (("--face", "-2"), "face must be"),
        (("--threads", "0"), "threads must be"),
        (("--timeline", "0:happy"), "either --emotion or --timeline"),
        (("--report", "/nowhere/r.json"), "report"),
        (("--wings",), "unrecognized"),
    ],
)
def test_bad_options(refused, clip, extra, sentence):
    refused(clip(), sentence, extra=extra)


# ---- the output


def test_output_equal_to_input(refused, clip, tmp_path):
    source = clip()
    data = source.read_bytes()
    (tmp_path / "output").mkdir()
    link = tmp_path / "output" / "link.mp4"
    link.symlink_to(source)
    for extra in ((), ("--overwrite",)):
        refused(source, "same file as the input", output=str(source), extra=extra)
        refused(source, "same file as the input", output="link.mp4", extra=extra)
    assert source.read_bytes() == data


def test_output_folder_missing(refused, clip):
    refused(clip(), "of the output does not exist", output="no/such/folder/out.mp4")


def test_output_is_a_folder(refused, clip, tmp_path):
    refused(clip(), "is a folder", output=str(tmp_path))


@pytest.mark.parametrize(("name", "sentence"), [("o.avi", "must be one of"), ("o.png", "is a video"), ("o", "must be")])
def test_output_of_the_wrong_kind(refused, clip, name, sentence):
    refused(clip(), sentence, output=name)


def test_video_output_for_a_picture(refused, clip):
    refused(clip("a.png"), "the input is a picture", output="o.mp4")


def test_existing_output_needs_overwrite(refused, clip, tmp_path, fake_editor):
    (tmp_path / "output").mkdir()
    target = tmp_path / "output" / "result.mp4"
    target.write_bytes(b"precious")
    source = clip()
    refused(source, "exists already")
    assert target.read_bytes() == b"precious"
    assert main(["edit", str(source), "-o", str(target), "--emotion", "sad", "--overwrite", "--quiet"]) == 0
    assert target.stat().st_size > 1000


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_write_permission(refused, clip, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    refused(clip(), "cannot be written to", output=str(locked / "o.mp4"))


# ---- faces


def test_no_face_with_fake(refused, clip, fake_editor, monkeypatch):
    monkeypatch.setattr(fake_editor, "has_face", False)
    refused(clip(), "no face", code=3)


@needs_editor
@pytest.mark.parametrize("name", ["no_face.mp4"])
def test_no_face(refused, shared, name):
    refused(shared / "data/robustness" / name, "face", code=3)


@needs_editor
def test_face_too_small_is_said(shared, tmp_path, capsys):
    """A tiny face is edited or refused with exit code 3, in words either way."""
    output = tmp_path / "o.mp4"
    source = shared / "data/robustness/lp_s13_fullbody_smallface.mp4"
    result = main(["edit", str(source), "-o", str(output), "--emotion", "happy", "--end", "0.4"])
    assert result in (0, 3) and output.exists() == (result == 0)
    assert "Traceback" not in capsys.readouterr().err


@needs_editor
def test_several_faces(shared, tmp_path, capsys):
    source, output = shared / "data/robustness/multi_face.jpg", tmp_path / "o.jpg"
    assert main(["edit", str(source), "-o", str(output), "--emotion", "happy"]) == 0
    assert output.exists()


# ---- things that happen on the way


def test_disk_full_in_words(refused, clip, fake_editor, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("talkedit.video.writer.VideoWriter._mux", full)
    refused(clip(), "the disk is full", code=1)


def test_disk_full_on_replace(refused, clip, fake_editor, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("talkedit.video.output.os.replace", full)
    refused(clip(), "the disk is full", code=1)
    refused(clip("p.png"), "the disk is full", code=1, output="o.png")


def test_disk_really_full(clip, tmp_path, fake_editor, capsys):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        source = clip(frames=100, size=(320, 240))
        for intensity in ("1", "0"):  # encoding and copying
            arguments = ["edit", str(source), "-o", str(small / "o.mp4"), "--emotion", "happy", "--crf", "0"]
            assert main([*arguments, "--intensity", intensity]) == 1
            assert "the disk is full" in capsys.readouterr().err
            assert not list(small.iterdir())
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize("step", ["track", "take", "plan", "paint"])
def test_an_error_in_the_editor_leaves_nothing(refused, clip, fake_editor, monkeypatch, step):
    whole = getattr(fake_editor, step)

    def broken(self, frame, *rest):
        if frame.index == 10:
            raise RuntimeError("something odd")
        return whole(self, frame, *rest)

    monkeypatch.setattr(fake_editor, step, broken)
    refused(clip(), "unexpected error: something odd", code=1)


@pytest.mark.skipif(os.name == "nt", reason="signals work differently on Windows")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminate"])
def test_interrupted(clip, tmp_path, environment, number):
    source = clip(frames=2500, size=(160, 120), audio=())
    folder = tmp_path / "output"
    folder.mkdir()
    program = FAKE_PROGRAM.format(tests=os.path.dirname(__file__))
    arguments = ["edit", str(source), "-o", str(folder / "o.mp4"), "--emotion", "happy", "--crf", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, text=True, env=environment
    )
    deadline = time.monotonic() + 60
    while not list(folder.iterdir()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(number)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130, message
    assert message == "talkedit: interrupted; nothing was written\n"
    assert not list(folder.iterdir())


def test_the_fake_editor_is_complete():
    """The fake must offer what the pipeline asks of the real editor."""
    wanted = [name for name in vars(Analyst) if not name.startswith("_")]
    assert {"track", "take", "solve", "plan", "paint", "metrics"} <= set(wanted)
    assert all(hasattr(FakeEditor, name) and hasattr(ClipEditor, name) for name in wanted)
