"""The command line: help, reports, models, exit codes."""

import hashlib
import json
import subprocess
import sys
import threading

import pytest

from talkedit import resources
from talkedit.cli import main
from talkedit.report import EditReport, StageClock, collapse_skipped

OPTIONS = """emotion intensity timeline start end face only no-smooth no-classifier no-furrows no-teeth no-calm
face-model tracker device threads seed report overwrite quiet crf mark"""


def run(environment, *arguments, **options):
    command = [sys.executable, "-m", "talkedit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, **options)


def test_help_and_version(environment):
    shown = run(environment, "--help")
    assert shown.returncode == 0
    for command in ("edit", "compare", "inspect", "demo", "ui", "models"):
        assert command in shown.stdout
    assert run(environment, "--version").stdout.startswith("talkedit 0.")


def test_edit_help_names_every_option(environment):
    text = run(environment, "edit", "--help").stdout
    for option in OPTIONS.split():
        assert f"--{option}" in text


def test_importing_is_cheap(environment):
    code = "import sys, talkedit.cli; print([m for m in ('torch', 'mediapipe', 'cv2', 'av') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "[]"


def test_edit_and_report(clip, tmp_path, fake_editor, capsys):
    report = tmp_path / "report.json"
    output = tmp_path / "out.mp4"
    assert main(["edit", str(clip()), "-o", str(output), "--emotion", "happy", "--report", str(report)]) == 0
    data = json.loads(report.read_text())
    assert data["frames"] == data["edited_frames"] == 24 and data["emotion"] == "happy@1.00"
    assert data["ms_per_frame"] > 0 and data["seconds"]["encode"] > 0
    shown = capsys.readouterr()
    assert "24 frames, 24 edited" in shown.out and "note: fake" in shown.err


def test_quiet_says_nothing(clip, tmp_path, fake_editor, capsys):
    assert main(["edit", str(clip()), "-o", str(tmp_path / "o.mp4"), "--emotion", "sad", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_timeline_file_and_options_reach_the_editor(clip, tmp_path, fake_editor, monkeypatch):
    seen = []
    before = fake_editor.__init__
    monkeypatch.setattr(fake_editor, "__init__", lambda self, o, c: (seen.append(o), before(self, o, c))[1])
    line = tmp_path / "line.txt"
    line.write_text("0: neutral\n0.5: happy@0.8\n")
    switches = ["--no-smooth", "--no-teeth", "--only=texture", "--face=1", "--seed=7", "--threads=1", "--start=0.1"]
    files = [str(clip()), "-o", str(tmp_path / "o.mp4"), "--timeline", str(line)]
    assert main(["edit", *files, *switches, "--device", "cpu", "--texture", "tgan", "--refine"]) == 0
    options = seen[0]
    assert (options.texture, options.refine) == ("tgan", 40)
    assert (options.face, options.only, options.smooth, options.teeth, options.classifier) == (1, "texture", 0, 0, 1)
    assert (options.seed, options.threads, options.start, options.device) == (7, 1, 0.1, "cpu")


def test_refinement_without_the_texture_gan_is_refused(clip, tmp_path, fake_editor, capsys):
    arguments = ["edit", str(clip()), "-o", str(tmp_path / "o.mp4"), "--emotion", "sad", "--refine", "20", "--texture",
                 "linear"]  # fmt: skip
    assert main(arguments) == 2
    assert "tgan" in capsys.readouterr().err and not (tmp_path / "o.mp4").exists()


def test_compare(clip, tmp_path, fake_editor):
    arguments = ["-o", str(tmp_path / "grid.mp4"), "--emotions", "happy, sad", "--intensities", "0.5,1"]
    assert main(["compare", str(clip()), *arguments]) == 0
    assert (tmp_path / "grid.mp4").stat().st_size > 0


def test_progress_is_drawn_on_a_terminal_only(clip, tmp_path, environment):
    """Without a terminal nothing but the notes and the result is printed."""
    source = clip()
    done = run(environment, "edit", source, "-o", tmp_path / "o.mp4", "--emotion", "happy", "--intensity", "0")
    assert done.returncode == 0
    assert done.stderr == "note: nothing to edit: the source's stream was copied\n"
    assert done.stdout == f"{tmp_path / 'o.mp4'}: 24 frames, 0 edited, {done.stdout.split(', ')[-1]}"


def test_models_check_and_list(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    good, bad = b"good", b"bad!"
    (folder / "good.safetensors").write_bytes(good)
    (folder / "bad.safetensors").write_bytes(b"bad?")
    entries = {
        f"{name}.safetensors": {
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": 4,
            "licence": "MIT",
            "trained_on": "nothing",
            "what": "a test",
        }
        for name, data in (("good", good), ("bad", bad), ("gone", b"gone"))
    }
    (folder / "manifest.json").write_text(json.dumps({"files": entries}))
    monkeypatch.setenv("TALKEDIT_HOME", str(tmp_path))
    assert main(["models", "check"]) == 1
    shown = capsys.readouterr()
    assert "present  good.safetensors" in shown.out and "wrong    bad.safetensors" in shown.out
    assert "missing  gone.safetensors" in shown.out and "faces.dmi.unibas.ch" in shown.out
    assert shown.err.startswith("talkedit: missing or wrong: bad.safetensors, gone.safetensors")
    for package in ("face-alignment", "gradio", "pytorch3d"):  # missing ones are told and are no failure
        assert f" {package}  (optional package for " in shown.out and package not in shown.err
    assert main(["models", "list"]) == 0
    assert "good.safetensors: a test" in capsys.readouterr().out


def test_missing_resource_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setenv("TALKEDIT_HOME", str(tmp_path))
    with pytest.raises(resources.InputError, match="looked in") as caught:
        resources.find("bfm", "nothing.bin")
    assert str(tmp_path / "bfm") in str(caught.value)


def test_inspect(shared, capsys):
    pytest.importorskip("mediapipe")
    picture = next((shared / "data/london").glob("*_neutral.jpg"))
    assert main(["inspect", str(picture), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["media"]["is_picture"] and facts["face"]["most_faces"] == 1
    assert main(["inspect", str(picture)]) == 0
    assert "frames with face" in capsys.readouterr().out


def test_media_facts_are_plain(clip):
    from talkedit.inspect import face_facts, media_facts
    from talkedit.video.probe import probe

    facts = json.loads(json.dumps(media_facts(probe(clip(audio=("tone", "tone"))))))
    assert facts["audio_streams"] == 2 and facts["average_rate"] == 25.0 and facts["width"] == 96
    assert face_facts([])["frames_with_face"] == 0


def test_skipped_frames_are_collapsed():
    ranges = collapse_skipped([(3, "a"), (1, "a"), (2, "a"), (4, "b"), (9, "b")])
    assert ranges == [
        {"first": 1, "last": 3, "reason": "a"},
        {"first": 4, "last": 4, "reason": "b"},
        {"first": 9, "last": 9, "reason": "b"},
    ]


def test_clock_counts_each_second_once():
    now = [0.0]
    clock = StageClock(lambda: now[0])
    with clock.stage("outer"):
        now[0] += 1
        with clock.stage("inner"):
            now[0] += 2
        now[0] += 4
    assert clock.seconds == {"outer": 5, "inner": 2}
    assert list(clock.iterate("read", [1, 2])) == [1, 2]


def test_clock_counts_threads_side_by_side_and_the_run_once():
    now = [10.0]
    clock = StageClock(lambda: now[0])

    def elsewhere() -> None:
        with clock.stage("paint"):
            inside.set()
            leave.wait(10)

    inside, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=elsewhere)
    with clock.stage("plan"):
        thread.start()
        inside.wait(10)
        now[0] += 3
        leave.set()
        thread.join()
        now[0] += 1
    assert clock.seconds == {"plan": 4, "paint": 3} and clock.elapsed == 4
    report = EditReport("a", "b", "happy", "1", frames=8)
    report.close(clock)
    assert report.fps == 2 and report.ms_per_frame == 500
