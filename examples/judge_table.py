#!/usr/bin/env python3
"""Edits clips to every emotion and measures the results with an outside judge; prints a Markdown table.

    python examples/judge_table.py --judge ../shared/judge/judge.py --out build/judged CLIP [CLIP ...]

The judge is a Python file with a function ``measure(edited, source, emotion, every) -> dict``; it knows nothing of
talkedit. Results land in OUT as one JSON per edit, so that an interrupted run continues.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from talkedit import EMOTIONS, edit_video
from talkedit.video.probe import probe
from talkedit.video.reader import read_frames
from talkedit.video.writer import open_writer

COLUMNS = ("acc", "gain", "p", "identity", "lips", "jitter", "sharpness")


def load_judge(path: Path):
    """The judge's module."""
    spec = importlib.util.spec_from_file_location("judge", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def one(job: tuple) -> dict:
    """Edits and judges one clip in one emotion."""
    clip, emotion, intensity, out, judge, only, geometry, texture, classifier, furrows, calm, refine = job
    name = f"{clip.stem}_{emotion}_{intensity:g}{'_' + only if only else ''}{'_' + geometry if geometry else ''}"
    name += f"{'_maps' if texture == 'linear' else ''}{'' if classifier else '_pooled'}{'' if furrows else '_smooth'}"
    name += f"{'' if calm else '_own'}{f'_refine{refine}' if refine else ''}"
    result = out / f"{name}.json"
    if result.exists():
        return json.loads(result.read_text())
    import torch

    torch.set_num_threads(1)
    video = out / f"{name}.mp4"
    report = edit_video(
        clip, video, emotion=emotion, intensity=intensity, only=only, geometry=geometry, texture=texture,
        classifier=classifier, furrows=furrows, calm=calm, refine=refine, threads=1, overwrite=True,
    )  # fmt: skip
    figures = load_judge(judge).measure(str(video), str(clip), emotion, every=3)
    figures |= {"clip": clip.stem, "emotion": emotion, "intensity": intensity, "ms": report.ms_per_frame}
    result.write_text(json.dumps(figures))
    return figures


def first_frames(clip: Path, count: int, folder: Path) -> Path:
    """A copy of the clip's first frames, at high quality, for a quicker look."""
    cut = folder / f"{clip.stem}_first{count}.mp4"
    if not cut.exists():
        with open_writer(cut, probe(clip), crf=8) as writer:
            for frame in islice(read_frames(clip), count):
                writer.write(frame, frame.rgb)
    return cut


def growth(rows: list[dict]) -> str:
    """Markdown: mean probability of the target for each emotion (rows) at each intensity (columns)."""
    steps = sorted({r["intensity"] for r in rows})
    lines = ["| emotion | " + " | ".join(f"{s:g}" for s in steps) + " |", "|" + " --- |" * (len(steps) + 1)]
    for emotion in dict.fromkeys(r["emotion"] for r in rows if "p" in r):
        means = [np.mean([r["p"] for r in rows if (r["emotion"], r["intensity"]) == (emotion, s)]) for s in steps]
        lines.append(f"| {emotion} | " + " | ".join(f"{m:.3f}" for m in means) + " |")
    return "\n".join(lines)


def table(rows: list[dict], key: str) -> str:
    """Markdown means of the columns for each value of ``key``."""
    lines = [f"| {key} | " + " | ".join(COLUMNS) + " | ms a frame |", "|" + " --- |" * (len(COLUMNS) + 2)]
    groups = dict.fromkeys(r[key] for r in rows)
    for value in [*groups, "all"]:
        chosen = [r for r in rows if value in ("all", r[key])]
        cells = []
        for c in (*COLUMNS, "ms"):
            values = [r[c] for r in chosen if c in r]
            cells.append(f"{np.mean(values):.3f}" if values else "")
        lines.append(f"| {value} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Runs the command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("clips", nargs="+", type=Path)
    p.add_argument("--judge", type=Path, required=True)
    p.add_argument("--out", type=Path, default=Path("build/judged"))
    p.add_argument("--emotions", default=",".join(EMOTIONS))
    p.add_argument("--intensities", default="1")
    p.add_argument("--only", choices=("geometry", "texture"))
    p.add_argument("--geometry", choices=("linear", "gan"))
    p.add_argument("--texture", choices=("linear", "tgan"), default="tgan")
    p.add_argument("--no-classifier", action="store_true")
    p.add_argument("--no-furrows", action="store_true")
    p.add_argument("--no-calm", action="store_true")
    p.add_argument("--refine", type=int, default=0, help="steps of the texture GAN's refinement")
    p.add_argument("--processes", type=int, default=2)
    p.add_argument("--frames", type=int, help="judge only so many frames from the start of each clip")
    args = p.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    clips = [first_frames(c, args.frames, args.out) for c in args.clips] if args.frames else args.clips
    jobs = [
        (clip, emotion, float(i), args.out, args.judge, args.only, args.geometry, args.texture,
         not args.no_classifier, not args.no_furrows, not args.no_calm, args.refine)
        for clip in clips
        for emotion in args.emotions.split(",")
        for i in args.intensities.split(",")
    ]
    with ProcessPoolExecutor(args.processes) as pool:
        rows = list(pool.map(one, jobs))
    for key in ("emotion", "clip", "intensity"):
        print(table(rows, key), end="\n\n")
    if "," in args.intensities:
        print(growth(rows), end="\n\n")
    judged = [r for r in rows if r["emotion"] in ("happy", "sad", "surprised", "angry", "fear")]
    if judged:
        acc, gain = (np.mean([r[k] for r in judged]) for k in ("acc", "gain"))
        print(f"the five: acc {acc:.3f}, gain {gain:.3f}")
    lowest = {k: min(r.get(k, 1.0) for r in rows) for k in ("identity", "lips")}
    print(f"lowest identity {lowest['identity']:.3f}, lowest lips {lowest['lips']:.3f}")


if __name__ == "__main__":
    main()
