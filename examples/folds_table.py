"""Counts the triangles that edits turn over, as the table in docs/results.md.

    python examples/folds_table.py --intensities 1,1.5 CLIPS

A row is a clip, a column an emotion: the most triangles of any frame that face the viewer in the source and not in the
edited mesh.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

from talkedit.editor import ClipEditor
from talkedit.emotions import EMOTIONS, Timeline
from talkedit.geometry.folds import turned_over
from talkedit.options import EditOptions
from talkedit.report import StageClock
from talkedit.video.reader import read_frames


def most_folds(clip: Path, intensity: float, limit: int) -> list[int]:
    """The most triangles turned over in any of the first ``limit`` frames, for each emotion."""
    editor, frames = ClipEditor(EditOptions(), StageClock()), list(islice(read_frames(clip), limit))
    editor.learn(frames)
    most = [0] * len(EMOTIONS)
    for frame in frames:
        for i, emotion in enumerate(EMOTIONS):
            meshes = editor.meshes(frame, Timeline.constant(emotion, intensity))
            if meshes is not None:
                most[i] = max(most[i], int(turned_over(*meshes, editor.model.triangles).sum()))
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--intensities", default="1,1.5")
    parser.add_argument("--frames", type=int, default=1_000_000, help="only the first N frames")
    arguments = parser.parse_args()
    print(f"| clip | intensity | {' | '.join(EMOTIONS)} |\n|{' --- |' * (len(EMOTIONS) + 2)}")
    for clip in arguments.clips:
        for intensity in map(float, arguments.intensities.split(",")):
            counts = " | ".join(map(str, most_folds(clip, intensity, arguments.frames)))
            print(f"| {clip.stem} | {intensity:g} | {counts} |", flush=True)


if __name__ == "__main__":
    main()
