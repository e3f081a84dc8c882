#!/usr/bin/env python3
"""Measures the geometry editors on talking clips, without rendering; prints Markdown tables.

    python examples/geometry_table.py --data ../shared/data --cache build/cache \
        --gan full=checkpoints/geometry_gan.safetensors --gan "no lip loss"=build/no_lip.safetensors CLIP [CLIP ...]

Two classifiers read the target on edited expressions. ``strangers`` learned from people whom no GAN trained with
``leave_out`` has seen (MEAD W011 among them), ``everybody`` from all real faces of the collection; the speakers of the
clips are in neither. ``linear`` is the linear editor learned from the same people as these GANs, ``shipped`` the one in
checkpoints, which has seen everybody.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from talkedit import resources
from talkedit.checkpoint import load_gan, load_linear
from talkedit.data.collection import Collection
from talkedit.editor import PARTS_LIPS
from talkedit.emotions import ACTION_UNITS, EMOTIONS
from talkedit.facemodel.load import load_face_model
from talkedit.facemodel.model import FaceModel
from talkedit.geometry.au import ActionUnits
from talkedit.geometry.editor import GeometryEditor, LinearGeometryEditor
from talkedit.geometry.gan import TARGETS, GanGeometryEditor, neutral_code
from talkedit.geometry.holds import Holds
from talkedit.geometry.measures import UNIT_MEASURES
from talkedit.geometry.openings import Openings
from talkedit.geometry.skull import RIGID
from talkedit.reconstruct.fit import Fitter
from talkedit.reconstruct.pose import find_pose
from talkedit.track import make_tracker
from talkedit.train.codes import Codes, collect, judge_people
from talkedit.train.expression_reader import ExpressionReader, held_expressions, neutral_of, train_reader
from talkedit.train.linear import lip_gap
from talkedit.types import Frame
from talkedit.video.reader import read_frames

CLOSED, KEPT = 0.01, 0.02
STRENGTHS = np.linspace(0, 1, 21)


@dataclass
class Talk:
    """A tracked clip: landmarks in the model's frame (T, 468, 3), expressions (T, 64), neutral code (144,), lids."""

    points: np.ndarray
    expressions: np.ndarray
    neutral: np.ndarray
    lids: tuple[float, float]


class Constraints:
    """What every edit is held to; see `talkedit.editor`."""

    def __init__(self, mean: np.ndarray) -> None:
        self.openings = Openings(mean)
        self.holds = Holds(mean, self.openings.distances)


def read_talk(path: Path, model: FaceModel, openings: Openings, count: int) -> Talk:
    """Tracks the first frames of a clip and fits the model, as the first pass of an edit does."""
    tracker, mean, fitter = make_tracker("mediapipe"), model.at_landmarks(model.mean), Fitter(model)
    points = []
    for frame in islice(read_frames(path), count):
        track = tracker(Frame(frame.index, frame.rgb, frame.time))
        if track is not None:
            points.append(find_pose(track.landmarks, mean).to_model(track.landmarks[:468]))
            fitter.observe(points[-1], 1 / (1 + 8 * track.mouth_open))
    identity = fitter.solve()
    expressions = np.stack([fitter.expression(p) for p in points])
    right, left = np.percentile([openings.lid_reference(p) for p in points], 70, axis=0)
    return Talk(np.stack(points), expressions, neutral_code(identity, expressions), (right, left))


def displace(editor: GeometryEditor, talk: Talk, i: int, code: np.ndarray, model: FaceModel, limits: Constraints):
    """(468, 3) what the editor and the constraints on lips and lids do to frame ``i`` while words are spoken."""
    people = np.full(len(getattr(editor, "directions", [0])), 1.0) / len(getattr(editor, "directions", [0]))
    beta = talk.expressions[i]
    edited = editor.edit(talk.neutral[:80], beta, code, people)
    delta = (model.at_landmarks(model.exp_basis) @ (edited - beta)).astype(np.float32)
    delta = limits.holds.limited(delta, talk.points[i], talk.lids)
    delta = limits.openings.lips(talk.points[i], delta, editor.speech, editor.opening(code, people), 0.0)
    return limits.openings.lids(talk.points[i], delta, talk.lids)


def measure(
    editor: GeometryEditor, talks: list[Talk], readers: dict[str, ExpressionReader], model: FaceModel
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """One editor over all clips: share of frames read as each target by each reader; the worst of what must hold."""
    mean = model.at_landmarks(model.mean)
    limits = Constraints(mean)
    eye = float(np.linalg.norm(mean[33] - mean[263]))
    fitter = Fitter(model)
    zero = fitter.expression(mean)
    hits: dict[str, dict[str, float]] = {reader: {} for reader in readers}
    lips, closed, rigid, order, jumps = [], [], [], [], []
    for k, emotion in enumerate(EMOTIONS):
        code = np.eye(len(EMOTIONS))[k]
        found: dict[str, list[float]] = {reader: [] for reader in readers}
        for talk in talks:
            bound = editor.of(talk.neutral) if isinstance(editor, GanGeometryEditor) else editor
            deltas = np.stack([displace(bound, talk, i, code, model, limits) for i in range(0, len(talk.points), 3)])
            before = talk.points[::3]
            moved = np.stack([fitter.expression(mean + d) - zero for d in deltas])
            for reader, read in readers.items():
                found[reader].append((read(talk.expressions[::3] + moved, talk.neutral[80:]).argmax(1) == k).mean())
            gaps = [np.maximum(lip_gap(p), 0) / eye for p in (before, before + deltas)]
            if gaps[0].std() > 0.01:
                lips.append(np.corrcoef(*gaps)[0, 1])
            shut = gaps[0] < CLOSED
            if shut.any() and emotion not in PARTS_LIPS:
                closed.append((gaps[1][shut] <= KEPT).mean())
            rigid.append(np.linalg.norm(deltas[:, RIGID], axis=2).mean() / eye)
            middle = len(talk.points) // 2
            size = [np.linalg.norm(displace(bound, talk, middle, s * code, model, limits), axis=1).mean()
                    for s in STRENGTHS]  # fmt: skip
            order.append(spearmanr(STRENGTHS, size)[0])
            jumps.append(np.abs(np.diff(size)).max() / np.abs(np.diff(size)).mean())
        for reader, shares in found.items():
            hits[reader][emotion] = float(np.mean(shares))
    talk = talks[0]
    bound = editor.of(talk.neutral) if isinstance(editor, GanGeometryEditor) else editor
    people = np.full(len(getattr(editor, "directions", [0])), 1.0)
    start = time.perf_counter()
    for beta in talk.expressions:
        bound.edit(talk.neutral[:80], beta, np.eye(len(EMOTIONS))[0], people)
    spent = (time.perf_counter() - start) / len(talk.expressions)
    held = {"lips, lowest": min(lips), "closures kept": float(np.mean(closed)), "skull %": 100 * max(rigid),
            "Spearman": min(order), "largest step": max(jumps), "ms": 1000 * spent}  # fmt: skip
    return hits, held


def linear_of(codes: Codes) -> LinearGeometryEditor:
    """The linear editor of the people in ``codes``, all of them weighing alike."""
    directions = (codes.directions * codes.reach[:, None])[None, : len(EMOTIONS)].astype(np.float32)
    return LinearGeometryEditor(directions, codes.openings[None], codes.speech)


def real_faces(read: ExpressionReader, codes: Codes) -> list[str]:
    """How the classifier reads real faces of people it has not seen, those that show at least half of their label."""
    rest = neutral_of(codes)
    cells = []
    for k in range(len(TARGETS)):
        rows = (codes.label == k) & ((codes.amount > 0.5) | (k == len(EMOTIONS)))
        odds = read(codes.code[rows][:, 80:], rest[rows])
        cells.append(f"{(odds.argmax(1) == k).mean():.2f}" if rows.any() else "–")
    return cells


def unit_matrix(model: FaceModel, speech: np.ndarray) -> np.ndarray:
    """(17, 17) each unit's measure (rows) under each unit at strength 1 (columns), over its own effect."""
    mean = model.at_landmarks(model.mean)
    openings = Openings(mean)
    units = ActionUnits(mean, openings, speech)
    out = np.zeros((len(ACTION_UNITS), len(ACTION_UNITS)))
    start = mean + 0.04 * speech  # lips a little open, so that all gaps can move both ways
    for j, unit in enumerate(np.eye(len(ACTION_UNITS))):
        delta = openings.lips(start, units.held(unit), speech, 0.0, 0.0)
        after = start + delta + units.gaps(start + delta, unit)
        out[:, j] = [m(after) - m(start) for m in UNIT_MEASURES.values()]
    return out / np.diag(out)[:, None]


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def main() -> None:
    """Runs the command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("clips", nargs="*", type=Path)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--cache", type=Path, default=Path("build/cache"))
    p.add_argument("--gan", action="append", default=[], metavar="NAME=FILE")
    p.add_argument("--frames", type=int, default=90, help="of each clip")
    args = p.parse_args()
    model = load_face_model("open")
    collection = Collection(args.data, args.cache)
    judges = judge_people(collection.samples)
    taught = collect(collection, model, {s.person for s in collection.samples} - judges, mirror=False)
    people = {"strangers": judges, "everybody": None}
    held = held_expressions(model)
    readers = {name: train_reader(collect(collection, model, who, mirror=False), held) for name, who in people.items()}
    shipped = load_linear(resources.find("checkpoints", "linear_editor.safetensors")).geometry
    editors: dict[str, GeometryEditor] = {"linear, same people": linear_of(taught), "linear, shipped": shipped}
    for pair in args.gan:
        name, _, file = pair.partition("=")
        editors[name] = load_gan(Path(file))
    openings = Openings(model.at_landmarks(model.mean))
    talks = [read_talk(clip, model, openings, args.frames) for clip in args.clips]
    if talks:
        found = {name: measure(editor, talks, readers, model) for name, editor in editors.items()}
        for reader in readers:
            rows = [[name, *(f"{v:.2f}" for v in hits[reader].values()), f"{np.mean([*hits[reader].values()]):.2f}"]
                    for name, (hits, _) in found.items()]  # fmt: skip
            print(markdown([f"read by {reader}", *EMOTIONS, "mean"], rows), end="\n\n")
        columns = list(next(iter(found.values()))[1])
        rows = [[name, *(f"{held[c]:.3f}" if c in ("lips, lowest", "Spearman") else f"{held[c]:.2f}" for c in columns)]
                for name, (_, held) in found.items()]  # fmt: skip
        print(markdown(["editor", *columns], rows), end="\n\n")
    print(markdown(list(TARGETS), [real_faces(readers["strangers"], taught)]), end="\n\n")
    matrix = unit_matrix(model, shipped.speech)
    rows = [[name, *(f"{v:.2f}" if abs(v) >= 0.005 else "0" for v in row)] for name, row in zip(
        ACTION_UNITS, matrix, strict=True)]  # fmt: skip
    print(markdown(["measure", *ACTION_UNITS], rows))


if __name__ == "__main__":
    main()
