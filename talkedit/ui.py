"""`talkedit ui`: a page in the browser, served to this machine only.

Everything that does not need gradio is a plain function; gradio is imported when the page is opened.
"""

from __future__ import annotations

import html
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from talkedit.emotions import EMOTIONS, MAX_INTENSITY
from talkedit.errors import InputError, TalkeditError
from talkedit.extras import GRADIO
from talkedit.report import EditReport

Progress = Callable[[str, int, "int | None"], None]
HOST = "127.0.0.1"
# Read by gradio when it is imported: no telemetry, and no list of past runs in the browser.
PRIVATE = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_RUN_HISTORY": "False"}


def edit_upload(
    source: str | None,
    emotion: str,
    intensity: float,
    timeline: str,
    folder: Path,
    progress: Progress | None = None,
) -> tuple[Path, EditReport]:
    """Edits an uploaded file into ``folder``.

    Args:
        source: path of a video or picture, None if nothing was uploaded.
        emotion: a name; not used where there is a timeline.
        intensity: 0..1.5, for the emotion and for the points of the timeline that name none.
        timeline: such as ``"0:neutral, 1.5:happy@0.8"``, or empty.
        folder: an existing folder that holds no file of the result's name.
        progress: see `talkedit.edit_video`.

    Returns:
        Path of the result (a .png for a picture, the source's container or .mp4 for a video), and the report.

    Raises:
        TalkeditError: as `talkedit.edit_video`.
    """
    from talkedit.pipeline import edit_video
    from talkedit.video.output import CONTAINERS
    from talkedit.video.probe import probe

    if not source:
        raise InputError("choose a video or a picture first")
    # On the command line a timeline may be the name of a file; here it is text only, whatever it looks like.
    if timeline.strip() and ":" not in timeline:
        raise InputError(f"'{timeline.strip()}' is not a timeline; write for example '0:neutral, 1.5:happy@0.8'")
    path = Path(source)
    suffix = path.suffix.lower() if path.suffix.lower() in CONTAINERS else ".mp4"
    result = folder / f"{path.stem}-edited{'.png' if probe(path).is_picture else suffix}"
    what: dict[str, Any] = {"timeline": timeline} if timeline.strip() else {"emotion": emotion}
    return result, edit_video(path, result, intensity=intensity, progress=progress, **what)


def key_lines(report: EditReport) -> Iterator[str]:
    """The lines of a report that the page shows."""
    yield f"{report.emotion}: {report.frames} frames, {report.edited_frames} edited, {report.ms_per_frame:.0f} ms each"
    for part in report.skipped:
        yield f"frames {part['first']} to {part['last']} were left as they are: {part['reason']}"
    yield from report.notes


def serve(port: int | None = None) -> int:
    """Serves the page until Ctrl-C; uploads and results are removed then.

    Args:
        port: of 127.0.0.1; None takes the first free one from 7860 up.

    Returns:
        The exit code, 0.

    Raises:
        InputError: gradio is missing, or the port is taken or no port.
    """
    if port is not None and not 1 <= port <= 65535:
        raise InputError(f"--port must be from 1 to 65535, not {port}")
    with tempfile.TemporaryDirectory(prefix="talkedit-ui-") as folder:
        os.environ.update(PRIVATE, GRADIO_TEMP_DIR=folder)
        try:
            import gradio
        except ImportError as error:
            raise GRADIO.missing() from error
        page = build_page(gradio, Path(folder))
        try:
            _, url, _ = page.launch(
                server_name=HOST, server_port=port, share=False, quiet=True, prevent_thread_lock=True, footer_links=[]
            )
        except OSError as error:
            raise InputError(f"no page can be served at port {port or 'from 7860 up'} of {HOST} ({error})") from error
        print(f"talkedit ui: open {url} (Ctrl-C ends it and removes its files)", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0
        finally:
            page.close(verbose=False)


def build_page(gradio: ModuleType, folder: Path) -> Any:
    """The page, a ``gradio.Blocks``.

    Args:
        gradio: the imported package.
        folder: where results go, each in a folder of its own.
    """
    waiting = gradio.Progress()

    def edit(source, emotion, intensity, timeline, progress=waiting):
        def shown(stage: str, done: int, total: int | None) -> None:
            progress((done, total), desc=stage, unit="frames")

        try:
            result, report = edit_upload(
                source, emotion, intensity, timeline or "", Path(tempfile.mkdtemp(dir=folder)), shown
            )
        except TalkeditError as error:
            # The message may hold the name of the upload, and gradio shows it as HTML.
            message = html.escape(str(error), quote=False)
            raise gradio.Error(message, title="Not edited", print_exception=False) from error
        picture = result.suffix == ".png"
        video = gradio.Video(value=None if picture else str(result), visible=not picture)
        image = gradio.Image(value=str(result) if picture else None, visible=picture)
        return video, image, str(result), "\n".join(key_lines(report))

    with gradio.Blocks(title="talkedit", analytics_enabled=False) as page:
        gradio.Markdown("# talkedit\nThe same person, the same words, another emotion.")
        with gradio.Row():
            with gradio.Column():
                source = gradio.File(label="Video or picture", file_types=["video", "image"], type="filepath")
                emotion = gradio.Dropdown(list(EMOTIONS), value=EMOTIONS[0], label="Emotion")
                intensity = gradio.Slider(0, MAX_INTENSITY, value=1.0, step=0.05, label="Intensity")
                timeline = gradio.Textbox(label="Timeline instead (optional)", placeholder="0:neutral, 1.5:happy@0.8")
                button = gradio.Button("Edit", variant="primary")
            with gradio.Column():
                video = gradio.Video(label="Result")
                image = gradio.Image(label="Result", visible=False)
                download = gradio.File(label="Download")
                report = gradio.Textbox(label="Report", lines=4)
        inputs, outputs = [source, emotion, intensity, timeline], [video, image, download, report]
        # One edit at a time: two would only take turns on the same cores.
        button.click(edit, inputs, outputs, api_name="edit", concurrency_limit=1)
    return page
