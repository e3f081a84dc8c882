#!/usr/bin/env python3
"""Where edited clips pop: frames that differ most from what their neighbours let expect, more than the source does.

    python examples/pops_table.py SOURCE EDITED [EDITED ...]

Mouth, eyes and brows are cut out of every frame, upright and to one scale, by the source's eyes and mouth. Their second
difference over time, |2 I(t) - I(t-1) - I(t+1)| / 2, is averaged over a tenth of the eye distance; the table gives by
how many grey levels the edit's exceeds the source's at the worst place, in the mean over frames, and the worst frames.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from talkedit.track import make_tracker
from talkedit.track.measures import eye_distance
from talkedit.video.reader import read_frames

# Left, top, right, bottom about the middle of the eyes, down towards the mouth, in eye distances.
REGIONS = {"mouth": (-0.5, 0.28, 0.5, 1.0), "eyes": (-0.62, -0.22, 0.62, 0.22), "brows": (-0.6, -0.62, 0.6, -0.15)}
PIXELS, OVER, WORST = 96, 9, 6  # per eye distance; averaged over; frames named


def places(clip: Path) -> dict[int, np.ndarray]:
    """(2, 3) maps from upright pictures, in eye distances about the eyes' middle, to the frames that show a face."""
    tracker, found = make_tracker(), {}
    for frame in read_frames(clip):
        track = tracker(frame)
        if track is None:
            continue
        points = track.landmarks[:, :2]
        eyes, mouth = points[[33, 263]].mean(0), points[[13, 14]].mean(0)
        down = (mouth - eyes) / np.linalg.norm(mouth - eyes)
        axes = np.stack([[down[1], -down[0]], down], 1) * eye_distance(track.landmarks)
        found[frame.index] = np.c_[axes, eyes]
    return found


def pops(clip: Path, place: dict[int, np.ndarray]) -> dict[str, dict[int, np.ndarray]]:
    """For each region (h, w) second difference over time, for every frame whose neighbours are known."""
    shown = {name: {} for name in REGIONS}
    for frame in read_frames(clip):
        if frame.index not in place:
            continue
        there = place[frame.index]
        for name, (x0, y0, x1, y1) in REGIONS.items():
            size = round((x1 - x0) * PIXELS), round((y1 - y0) * PIXELS)
            cut = np.c_[there[:, :2] / PIXELS, there[:, :2] @ [x0, y0] + there[:, 2]]
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            shown[name][frame.index] = cv2.warpAffine(frame.rgb, cut, size, flags=flags).astype(np.float32)
    return {name: {i: _second(cuts, i) for i in cuts if {i - 1, i + 1} <= cuts.keys()} for name, cuts in shown.items()}


def _second(cuts: dict[int, np.ndarray], i: int) -> np.ndarray:
    """(h, w) second difference over time at a frame, locally averaged."""
    return cv2.blur(np.abs(2 * cuts[i] - cuts[i - 1] - cuts[i + 1]).mean(2) / 2, (OVER, OVER))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("edited", type=Path, nargs="+")
    args = parser.parse_args()
    place = places(args.source)
    source = pops(args.source, place)
    print("| edit | region | mean | worst frames |\n| --- | --- | --- | --- |")
    for clip in args.edited:
        for name, edited in pops(clip, place).items():
            more = {i: float((edited[i] - source[name][i]).max()) for i in edited.keys() & source[name].keys()}
            worst = sorted(more, key=lambda i: -more[i])[:WORST]
            frames = ", ".join(f"{i} ({more[i]:.0f})" for i in worst)
            print(f"| {clip.stem} | {name} | {np.mean(list(more.values())):.1f} | {frames} |", flush=True)


if __name__ == "__main__":
    main()
