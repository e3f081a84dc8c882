"""`talkedit demo`: a virtual speaker talks, and is edited to several emotions.

Nobody was filmed: the person is drawn from the statistics of the project's own face model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from talkedit.errors import InputError
from talkedit.grid import Grid

Progress = Callable[[str, int, "int | None"], None]
EMOTIONS = ("happy", "sad", "angry", "surprised")


def make_clip(
    path: Path, seed: int = 0, seconds: float = 4.0, size: int = 512, progress: Progress | None = None
) -> None:
    """Draws the neutral clip of a virtual speaker.

    Args:
        path: an .mp4, replaced if it exists.
        seed: another number, another person, another babble.
        seconds: length.
        size: side of the square picture in pixels, even.
        progress: called with ("draw", pictures done, pictures in all).
    """
    from talkedit.demo.film import write_film
    from talkedit.demo.speaker import FPS, Speaker, make_script, pictures
    from talkedit.demo.speech import voice

    speaker, script = Speaker(seed, size), make_script(seed, seconds)
    rng = np.random.default_rng([seed, 3])
    sound = voice(script.syllables, script.frames / FPS, rng, pitch=float(rng.uniform(150, 215)))

    def shown(done: int) -> None:
        if progress is not None:
            progress("draw", done, script.frames)

    write_film(path, pictures(speaker, script), FPS, sound, shown)


def run(
    directory: Path, seed: int = 0, progress: Progress | None = None, emotions: Sequence[str] = EMOTIONS
) -> list[Path]:
    """Draws a virtual speaker, edits the clip to each emotion and lays all of it side by side.

    Args:
        directory: made if it does not exist; files of an earlier demo in it are replaced.
        seed: which person.
        progress: called with (stage, frames done, frames in all or None).
        emotions: what to edit the clip to.

    Returns:
        The files written: ``speaker.mp4``, ``speaker_<emotion>.mp4`` each, ``demo.mp4`` and ``demo.png``.

    Raises:
        InputError: the directory cannot be made, the seed is negative, or an emotion has no name here.
    """
    from talkedit.pipeline import compare_video, edit_video

    if seed < 0:
        raise InputError(f"the seed must not be negative, but is {seed}")
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder '{directory}' cannot be made ({error.strerror})") from error
    source = directory / "speaker.mp4"
    make_clip(source, seed, progress=progress)
    written = [source]
    for emotion in emotions:
        written.append(directory / f"speaker_{emotion}.mp4")
        edit_video(source, written[-1], emotion=emotion, overwrite=True, progress=progress)
    written.append(directory / "demo.mp4")
    compare_video(source, written[-1], emotions=list(emotions), overwrite=True, progress=progress)
    written.append(directory / "demo.png")
    contact_sheet(written[: 1 + len(emotions)], ["source", *emotions], written[-1])
    return written


def contact_sheet(clips: Sequence[Path], labels: Sequence[str], path: Path) -> None:
    """Writes the middle picture of each clip, side by side with its label, as a .png."""
    from talkedit.video.probe import probe
    from talkedit.video.reader import read_frames

    middle = []
    for clip in clips:
        info = probe(clip)
        wanted = (info.frames or 1) // 2
        middle.append(next(f.rgb for f in read_frames(clip) if f.index >= wanted))
    height, width = middle[0].shape[:2]
    sheet = Grid(width, height, list(labels), per_row=len(labels) - 1).draw(middle)
    if not cv2.imwrite(str(path), sheet[..., ::-1]):
        raise InputError(f"the picture '{path}' cannot be written")


__all__ = ["EMOTIONS", "contact_sheet", "make_clip", "run"]
