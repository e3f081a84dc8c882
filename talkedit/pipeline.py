"""The whole line of the program: read, observe, solve, read again, edit, write.

Two passes over the file, so that memory never depends on its length.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Protocol

import numpy as np

import talkedit
from talkedit.device import cores
from talkedit.emotions import NEUTRAL, Timeline, check_intensity, describe_code, parse_units
from talkedit.errors import InputError
from talkedit.grid import Grid
from talkedit.options import EditOptions
from talkedit.report import EditReport, StageClock, collapse_skipped
from talkedit.types import Frame
from talkedit.video.mark import draw_mark
from talkedit.video.output import check_container, check_output
from talkedit.video.overlap import Behind, ahead, side_by_side
from talkedit.video.passthrough import can_copy, remux
from talkedit.video.probe import MediaInfo, probe
from talkedit.video.reader import read_frames
from talkedit.video.writer import DEFAULT_CRF, check_crf, open_writer

Progress = Callable[[str, int, "int | None"], None]


class Analyst(Protocol):
    """What the pipeline needs of `talkedit.editor.ClipEditor`."""

    edited_frames: int
    skipped: list[tuple[int, str]]
    notes: list[str]

    def track(self, frame: Frame) -> Any: ...
    def take(self, frame: Frame, track: Any) -> None: ...
    def solve(self) -> None: ...
    def plan(self, frame: Frame, timeline: Timeline) -> Any: ...
    def paint(self, frame: Frame, plan: Any) -> np.ndarray: ...
    def metrics(self) -> dict: ...


# Planning takes a third of the time of painting, so that more painters would wait.
PAINTERS = 3

MakeEditor = Callable[[EditOptions, StageClock], Analyst]


def edit_video(
    src: str | os.PathLike,
    dst: str | os.PathLike,
    *,
    emotion: str | None = None,
    intensity: float = 1.0,
    timeline: str | os.PathLike | Timeline | None = None,
    au: str = "",
    start: float | None = None,
    end: float | None = None,
    face: str | int = "largest",
    only: str | None = None,
    geometry: str | None = None,
    texture: str = "tgan",
    refine: int = 0,
    smooth: bool = True,
    classifier: bool = True,
    furrows: bool = True,
    teeth: bool = True,
    calm: bool = True,
    face_model: str = "open",
    tracker: str = "mediapipe",
    reconstruction: str = "fit",
    device: str = "auto",
    threads: int | None = None,
    seed: int = 0,
    crf: int = DEFAULT_CRF,
    mark: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    make_editor: MakeEditor | None = None,
) -> EditReport:
    """Edit the emotion of a video or picture.

    Args:
        src, dst: input, and output of the same kind (.mp4 .mov .mkv .webm, or .png .jpg).
        emotion: a name, or a mix such as ``"happy@0.5+surprised@0.3"``; ``"neutral"`` takes the speaker's own out.
        intensity: 0..1.5; 0 copies the source's video stream untouched.
        timeline: instead of ``emotion``: a Timeline, its text, or a file (see `Timeline.parse`).
        au: action units on top, or alone, such as ``"AU12=0.8,AU4=0.5"``.
        start, end: seconds between which the clip is edited.
        face ... seed: see `EditOptions`.
        crf: quality of the video, 0..51, lower is better.
        mark: draw "edited: ..." into the picture.
        overwrite: replace an existing output.
        progress: called with (stage, frames done, frames in all or None).
        make_editor: builds the editor; by default `talkedit.editor.ClipEditor`.

    Raises:
        InputError: an argument or a path is wrong. NoFaceError: nobody to edit. TalkeditError: anything else that
            has a plain explanation. In every case no output is left.
    """
    wanted = _timeline(emotion, intensity, timeline, au).window(start, end)
    options = EditOptions(
        face=face,
        only=only,
        geometry=geometry,
        texture=texture,
        refine=refine,
        smooth=smooth,
        classifier=classifier,
        furrows=furrows,
        teeth=teeth,
        calm=calm,
        face_model=face_model,
        tracker=tracker,
        reconstruction=reconstruction,
        device=device,
        threads=threads,
        seed=seed,
        start=start,
        end=end,
    )
    info = _check(src, dst, crf, overwrite, start)
    report = EditReport(os.fspath(src), os.fspath(dst), wanted.describe(), talkedit.__version__)
    report.notes += _intensity_notes(wanted)
    clock, provenance = StageClock(), _provenance(f"emotion={wanted.describe()}")
    if wanted.is_zero and can_copy(dst, info):
        with clock.stage("copy"):
            remux(src, dst, provenance)
        report.frames = info.frames or 0
        report.notes.append("nothing to edit: the source's stream was copied")
        report.close(clock)
        return report
    report.notes += info.notes

    # A zero timeline that cannot be copied is encoded anew, without looking for faces.
    editor = None if wanted.is_zero else _analyse(src, info, options, clock, progress, make_editor)
    with open_writer(dst, info, crf=crf, provenance=provenance) as writer, Behind(writer.write) as write:
        frames = _frames(src, info, "edit", clock, progress)
        for frame, (rgb,) in _edited(frames, editor, [wanted], options.threads, clock):
            if mark and rgb is not frame.rgb:
                rgb = draw_mark(rgb, f"edited: {_dominant(wanted, frame.time)}")
            with clock.stage("encode"):
                write(frame, rgb)
    report.frames = writer.frames
    _finish(report, editor, clock)
    return report


def compare_video(
    src: str | os.PathLike,
    dst: str | os.PathLike,
    *,
    emotions: Sequence[str],
    intensities: Sequence[float] = (1.0,),
    au: str = "",
    crf: int = DEFAULT_CRF,
    overwrite: bool = False,
    progress: Progress | None = None,
    make_editor: MakeEditor | None = None,
    **options: Any,
) -> EditReport:
    """Write a labelled grid: the source, then each emotion at each intensity, all from one analysis.

    ``options`` are the fields of `EditOptions`; the other arguments, errors and guarantees are those of
    `edit_video`. ``edited_frames`` of the report counts what the editor counts over all cells.
    """
    chosen = EditOptions(**options)
    cells = _cells(emotions, intensities, parse_units(au), chosen.start, chosen.end)
    info = _check(src, dst, crf, overwrite, chosen.start)
    what = ", ".join(label for label, _ in cells)
    report = EditReport(os.fspath(src), os.fspath(dst), what, talkedit.__version__, notes=list(info.notes))
    for _, timeline in cells:
        report.notes += [note for note in _intensity_notes(timeline) if note not in report.notes]
    clock = StageClock()
    editor = _analyse(src, info, chosen, clock, progress, make_editor)
    grid = Grid(info.width, info.height, ["source", *(label for label, _ in cells)], len(intensities))
    provenance = _provenance(f"comparison of {what}")
    writing = open_writer(dst, info, width=grid.width, height=grid.height, crf=crf, provenance=provenance)
    with writing as writer, Behind(writer.write) as write:
        frames, timelines = _frames(src, info, "edit", clock, progress), [timeline for _, timeline in cells]
        for frame, pictures in _edited(frames, editor, timelines, chosen.threads, clock):
            with clock.stage("encode"):
                write(frame, grid.draw([frame.rgb, *pictures]))
    report.frames = writer.frames
    _finish(report, editor, clock)
    return report


def _analyse(
    src: str | os.PathLike,
    info: MediaInfo,
    options: EditOptions,
    clock: StageClock,
    progress: Progress | None,
    make_editor: MakeEditor | None,
) -> Analyst:
    """The first pass: show every frame to a new editor and let it solve the clip."""
    if make_editor is None:
        from talkedit.editor import ClipEditor as make_editor
    with clock.stage("load"):
        editor = make_editor(options, clock)
    with Behind(editor.take) as take:  # the tracker is ahead of what is learned from what it finds
        for frame in _frames(src, info, "analyse", clock, progress):
            with clock.stage("observe"):
                take(frame, editor.track(frame))
    with clock.stage("solve"):
        editor.solve()
    return editor


def _edited(
    frames: Iterator[Frame],
    editor: Analyst | None,
    timelines: Sequence[Timeline],
    threads: int | None,
    clock: StageClock,
) -> Iterator[tuple[Frame, list[np.ndarray]]]:
    """Each frame with its picture for every timeline; planned in order, painted by several threads."""

    def plans() -> Iterator[tuple[Frame, list]]:
        for frame in frames:
            with clock.stage("edit"):
                planned = [editor.plan(frame, timeline) if editor else None for timeline in timelines]
            yield frame, planned

    def paint(planned: tuple[Frame, list]) -> tuple[Frame, list[np.ndarray]]:
        frame, wanted = planned
        return frame, [editor.paint(frame, plan) if editor else frame.rgb for plan in wanted]

    workers = 1 if editor is None else min(threads or cores(), PAINTERS)
    with closing(side_by_side(paint, plans(), workers)) as painted:
        yield from painted


def _frames(
    src: str | os.PathLike, info: MediaInfo, stage: str, clock: StageClock, progress: Progress | None
) -> Iterator[Frame]:
    done = 0
    for done, frame in enumerate(clock.iterate("decode", ahead(read_frames(src))), start=1):
        yield frame
        if progress is not None:
            progress(stage, done, max(done, info.frames) if info.frames else None)
    if progress is not None:
        progress(stage, done, done)


def _timeline(
    emotion: str | None, intensity: float, timeline: str | os.PathLike | Timeline | None, au: str
) -> Timeline:
    intensity, units = check_intensity(intensity), parse_units(au)
    if (emotion is None) == (timeline is None) and not (emotion is None and units.any()):
        raise InputError("give either an emotion or a timeline")
    if timeline is None:
        target = Timeline.constant(NEUTRAL) if emotion is None else _target(emotion, intensity)
        return target.with_units(units)
    parsed = timeline if isinstance(timeline, Timeline) else Timeline.parse(timeline, intensity)
    return parsed.with_units(units)


def _target(name: str, intensity: float) -> Timeline:
    """One emotion or mix for the whole clip; neutral, asked for by itself, is a target like any other."""
    if name.strip().lower() == NEUTRAL:
        name = f"{NEUTRAL}@{intensity:g}"
    return Timeline.constant(name, intensity)


def _cells(
    emotions: Sequence[str],
    intensities: Sequence[float],
    units: np.ndarray,
    start: float | None,
    end: float | None,
) -> list[tuple[str, Timeline]]:
    if isinstance(emotions, str) or not emotions or not intensities:
        raise InputError("give at least one emotion and one intensity to compare")
    timelines = [
        _target(name, check_intensity(value)).with_units(units).window(start, end)
        for name in emotions
        for value in intensities
    ]
    names = [name.strip() for name in emotions for _ in intensities]
    values = [float(value) for _ in emotions for value in intensities]
    labels = [f"{n} {v:g}" if "@" not in n else n for n, v in zip(names, values, strict=True)]
    return list(zip(labels, timelines, strict=True))


def _check(src: str | os.PathLike, dst: str | os.PathLike, crf: int, overwrite: bool, start: float | None) -> MediaInfo:
    """Everything about the paths that can go wrong, before any work is done."""
    check_crf(crf)
    info = probe(src)
    check_output(src, dst, overwrite, info.is_picture)
    check_container(dst, info)
    if start is not None and info.duration is not None and start >= info.duration:
        raise InputError(f"the start ({start:g} s) lies after the end of the clip ({info.duration:.2f} s)")
    return info


def _intensity_notes(timeline: Timeline) -> list[str]:
    strongest = timeline.strongest
    if strongest <= 1:
        return []
    return [f"intensity {strongest:g} is above 1, the strongest that was acted; expect exaggeration"]


def _provenance(what: str) -> str:
    return f"edited by talkedit {talkedit.__version__}; {what}"


def _dominant(timeline: Timeline, seconds: float) -> str:
    """The strongest control at a time, for the mark."""
    values = timeline.controls(seconds)
    return describe_code(np.where(np.arange(len(values)) == values.argmax(), values, 0)).partition("@")[0]


def _finish(report: EditReport, editor: Analyst | None, clock: StageClock) -> None:
    if editor is not None:
        report.edited_frames = editor.edited_frames
        report.skipped = collapse_skipped(editor.skipped)
        report.notes += [note for note in editor.notes if note not in report.notes]
        report.metrics = editor.metrics()
    report.close(clock)
