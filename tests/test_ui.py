"""The page: what it does with an upload, what it says without gradio, and that it stays on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from talkedit import ui
from talkedit.cli import main
from talkedit.errors import InputError
from talkedit.extras import EXTRAS, Extra
from talkedit.report import EditReport


def test_without_gradio(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    for name in (*ui.PRIVATE, "GRADIO_TEMP_DIR"):
        monkeypatch.setenv(name, "")
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["ui"]) == 2
    assert capsys.readouterr().err == (
        "talkedit: talkedit ui needs the package gradio, which is not installed; run: pip install 'gradio>=6'\n"
    )


@pytest.mark.parametrize(
    ("name", "ending"), [("in.mp4", ".mp4"), ("in.mkv", ".mkv"), ("in.png", ".png"), ("in.jpg", ".png")]
)
def test_upload_is_edited(clip, fake_editor, tmp_path: Path, name: str, ending: str) -> None:
    (tmp_path / "results").mkdir()
    seen = []
    path, report = ui.edit_upload(
        str(clip(name)), "happy", 0.5, "  ", tmp_path / "results", lambda *step: seen.append(step)
    )
    assert path == tmp_path / "results" / f"in-edited{ending}" and path.stat().st_size > 0
    assert report.emotion == "happy@0.50" and report.edited_frames == report.frames > 0
    assert {stage for stage, _, _ in seen} == {"analyse", "edit"}


def test_timeline_takes_the_place_of_the_emotion(clip, fake_editor, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    _, report = ui.edit_upload(str(clip()), "happy", 0.7, "0:sad, 0.5:angry@0.2", tmp_path / "results")
    assert report.emotion.startswith("0:sad@0.70") and "angry@0.20" in report.emotion


def test_uploads_that_cannot_be_edited(clip, tmp_path: Path) -> None:
    secret = tmp_path / "line.txt"
    secret.write_text("0:happy")
    for source, timeline, words in (
        (None, "", "choose a video"),
        (str(clip()), str(secret), "is not a timeline"),  # a path is not read on the page
        (str(clip()), "0:glad", "glad"),
        (str(secret), "", "not a video or picture"),
    ):
        with pytest.raises(InputError, match=words):
            ui.edit_upload(source, "happy", 1.0, timeline, tmp_path)
    assert not list(tmp_path.glob("*edited*"))


def test_key_lines() -> None:
    skipped = [{"first": 3, "last": 9, "reason": "no face"}]
    report = EditReport("a", "b", "sad@1.00", "0", 24, 17, skipped, ms_per_frame=41.6, notes=["a note"])
    assert list(ui.key_lines(report)) == [
        "sad@1.00: 24 frames, 17 edited, 42 ms each",
        "frames 3 to 9 were left as they are: no face",
        "a note",
    ]


class _Page:
    """Stands in for gradio.Blocks."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.launched, self.closed = folder, {}, False
        (folder / "upload.mp4").write_bytes(b"private")

    def launch(self, **arguments) -> tuple[None, str, None]:
        self.launched = arguments
        return None, "http://127.0.0.1:7860/", None

    def close(self, verbose: bool) -> None:
        self.closed = True


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[_Page]:
    """The pages that are built, with a stand-in for gradio and a user who presses Ctrl-C at once."""
    made: list[_Page] = []
    for name in (*ui.PRIVATE, "GRADIO_TEMP_DIR"):
        monkeypatch.setenv(name, "")
    monkeypatch.setitem(sys.modules, "gradio", ModuleType("gradio"))
    monkeypatch.setattr(ui, "build_page", lambda gradio, folder: made.append(_Page(folder)) or made[-1])

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ui, "threading", SimpleNamespace(Event=lambda: SimpleNamespace(wait=interrupt)))
    return made


def test_page_stays_on_this_machine_and_leaves_nothing(pages: list[_Page], capsys) -> None:
    assert main(["ui", "--port", "7999"]) == 0
    launched = pages[0].launched
    assert launched["server_name"] == "127.0.0.1" and launched["server_port"] == 7999 and launched["share"] is False
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == os.environ["GRADIO_RUN_HISTORY"] == "False"
    assert os.environ["GRADIO_TEMP_DIR"] == str(pages[0].folder)
    assert pages[0].closed and not pages[0].folder.exists()
    assert "http://127.0.0.1:7860/" in capsys.readouterr().out


def test_port_that_is_taken(pages: list[_Page], monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def taken(self, **_):
        raise OSError("address in use")

    monkeypatch.setattr(_Page, "launch", taken)
    assert main(["ui", "--port", "80"]) == 2
    assert "no page can be served at port 80 of 127.0.0.1 (address in use)" in capsys.readouterr().err
    assert not pages[0].folder.exists()


@pytest.mark.parametrize("port", ["0", "-5", "65536"])
def test_numbers_that_are_no_port(pages: list[_Page], port: str, capsys) -> None:
    assert main(["ui", "--port", port]) == 2
    assert "--port must be from 1 to 65535" in capsys.readouterr().err and not pages


def test_the_real_page(clip, fake_editor, tmp_path: Path) -> None:
    gradio = pytest.importorskip("gradio")
    page = ui.build_page(gradio, tmp_path)
    edit = next(function for function in page.fns.values() if function.api_name == "edit")
    assert not page.analytics_enabled and edit.concurrency_limit == 1 and len(edit.inputs) == len(edit.outputs) == 4
    _, _, result, text = edit.fn(str(clip()), "happy", 1.0, None, lambda *_, **__: None)
    assert Path(result).is_file() and text.startswith("happy@1.00: 24 frames, 24 edited")
    with pytest.raises(gradio.Error, match="choose a video"):
        edit.fn(None, "happy", 1.0, "", lambda *_, **__: None)


def test_optional_packages_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Extra("pytest", "pytest", "tests", "pip install pytest")
    gone = Extra("no-such-package", "no_such_package", "nothing", "pip install no-such-package")
    assert there.version() == pytest.__version__ and gone.version() is None
    assert [extra.package for extra in EXTRAS] == ["face-alignment", "gradio", "pytorch3d", "tensorboard"]
