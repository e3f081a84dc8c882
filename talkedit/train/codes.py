"""Tracked faces as codes: identity and expression coefficients, person, emotion, and how strong the emotion is.

Labels are not taken at their word. A crowd's are often wrong and an actor's clip has pauses, so how much of an emotion
a face shows is measured: how far it lies along that emotion's direction from the same person's neutral.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from talkedit.data.collection import Collection, Sample
from talkedit.data.open_recipe import held_out_people
from talkedit.emotions import EMOTIONS, NEUTRAL
from talkedit.errors import InputError
from talkedit.facemodel.model import FaceModel
from talkedit.geometry.editor import LinearGeometryEditor
from talkedit.geometry.gan import EXP, ID, TARGETS, speech_projection, visible_scale
from talkedit.reconstruct.coefficients import LAYOUT
from talkedit.reconstruct.fit import Fitter
from talkedit.reconstruct.pose import find_pose
from talkedit.track.measures import yaw_degrees
from talkedit.train.linear import ONE_SIDED, STRONG, Group, geometry_editor, lip_gap, remove_pose, turn_of
from talkedit.train.reconstruction import Mirror

MAX_YAW = 18.0
# Of every so many people that a crowd shows neutral or smiling only, one is taken: there are thousands.
COMMON_EVERY = 5
# Fewer faces than this say nothing about an emotion's direction.
ENOUGH = 12
# Besides the people held out everywhere, this share of the crowd is kept for the classifier that judges the edits.
JUDGE_SHARE = 0.3
_NEUTRAL = TARGETS.index(NEUTRAL)


@dataclass(frozen=True)
class Codes:
    """Faces and what is known of them.

    Attributes:
        code: (N, 144) float32, identity and expression; each person has one identity.
        person: (N,) index into ``people``.
        label: (N,) index into ``TARGETS``.
        amount: (N,) 0..1, how much of the label's emotion shows; 0 for neutral faces.
        group: (N,) index into ``groups``: an actor, or a crowd of single pictures.
        condition: list over people of (k, 144) neutral codes.
        speech: (468, 3) landmark displacement when words open the lips by one model unit.
        projection: (64, 64) takes that out of expressions, see `talkedit.geometry.gan.speech_projection`.
        scale: (144,) how visible each coefficient is, see `talkedit.geometry.gan.visible_scale`.
        directions: (8, 64) those of the linear editor, as long as actors and crowds reach along them as tracked; the
            last row, neutral, is zero.
        reach: (8,) by how much the linear editor goes further than that (see ``REACH`` in `talkedit.train.linear`).
        openings: (7,) change of the inner-lip gap, model units.
        people, groups: names.
    """

    code: np.ndarray
    person: np.ndarray
    label: np.ndarray
    amount: np.ndarray
    group: np.ndarray
    condition: list[np.ndarray]
    speech: np.ndarray
    projection: np.ndarray
    scale: np.ndarray
    directions: np.ndarray
    reach: np.ndarray
    openings: np.ndarray
    people: list[str]
    groups: list[str]

    def emotion(self, rows: np.ndarray) -> np.ndarray:
        """(R, 7) measured emotion codes e_t of some faces."""
        return np.eye(len(TARGETS), dtype=np.float32)[self.label[rows], : len(EMOTIONS)] * self.amount[rows, None]


def judge_people(samples: list[Sample]) -> set[str]:
    """People that only the judging classifier learns from: those held out everywhere, actors of a few clips, a share
    of the crowd."""
    shown = defaultdict(set)
    for s in samples:
        if s.source == "mead":
            shown[s.person].add(s.emotion)
    few = {person for person, emotions in shown.items() if len(emotions) < len(TARGETS)}
    crowd = sorted({s.person for s in samples if s.source == "faces_open"})
    order = np.random.default_rng(0).permutation(len(crowd))[: round(JUDGE_SHARE * len(crowd))]
    return held_out_people(samples) | few | {crowd[i] for i in order}


def collect(collection: Collection, model: FaceModel, people: set[str] | None = None, mirror: bool = True) -> Codes:
    """Codes of the labelled faces of a collection.

    Args:
        collection: pictures and clips with tracked landmarks; the pictures themselves are not read.
        model: the face model.
        people: whom to take, None for everybody.
        mirror: add every face's mirror image, as another person (not for one-sided emotions).

    Raises:
        InputError: no neutral faces, or none of any emotion.
    """
    mean = model.at_landmarks(model.mean)
    faces: dict[str, list[tuple[str, int]]] = defaultdict(list)  # person → (group's key, place in the group)
    groups: dict[tuple[str, str], Group] = defaultdict(Group)
    landmarks = collection.landmarks()
    for s in _chosen(collection.samples, people):
        rows = landmarks[s.key]
        for row in rows[:: 2 if s.clip else 1]:
            if np.isfinite(row[0, 0]) and abs(yaw_degrees(row)) <= MAX_YAW:
                pose = find_pose(row, mean)
                key = (s.person if s.source == "mead" else s.source, s.emotion)
                groups[key].add(pose.to_model(row[:468]), np.zeros(0), turn_of(pose))
                faces[s.person].append((*key, groups[key].count - 1))
    shown = {emotion for _, emotion in groups}
    if NEUTRAL not in shown or len(shown) < 2:
        raise InputError("the data shows no neutral faces, or no emotional ones; both are needed")
    remove_pose(groups)
    everything = [o for o, e in groups if e == NEUTRAL and all((o, other) in groups for other in EMOTIONS)]
    actors = sorted(set(everything) - {"faces_open", "london"})
    if not actors:
        raise InputError("nobody in the data shows all seven emotions and a neutral face; at least one actor must")
    return _fit(faces, groups, geometry_editor(groups, actors, model), model, mirror)


def _chosen(samples: list[Sample], people: set[str] | None) -> Iterable[Sample]:
    """Labelled samples of the people; those of the crowd who only look neutral or happy are thinned out."""
    rare = {s.person for s in samples if s.emotion in EMOTIONS and s.emotion != "happy"}
    common = sorted({s.person for s in samples if s.source == "faces_open"} - rare)
    left_out = set(common) - set(common[::COMMON_EVERY])
    for s in samples:
        if s.emotion is not None and (people is None or s.person in people) and s.person not in left_out:
            yield s


def _fit(faces: dict, groups: dict, linear: LinearGeometryEditor, model: FaceModel, mirror: bool) -> Codes:
    fitter = Fitter(model)
    mean = model.at_landmarks(model.mean)
    zero = fitter.expression(mean)
    words = fitter.expression(mean + linear.speech) - zero
    gap = lip_gap(np.moveaxis(model.at_landmarks(model.exp_basis), 2, 0))
    projection = speech_projection(gap, words)
    codes, person, label, owner = [], [], [], []
    people, names = sorted(faces), sorted({g for g, _ in groups})
    for number, name in enumerate(people):
        own = fitter.fresh()
        shown = {emotion for _, emotion, _ in faces[name]}
        for group, emotion, place in faces[name]:
            # A person's neutral faces say who they are; others only where there is nothing better.
            if emotion == NEUTRAL or NEUTRAL not in shown:
                own.observe(groups[group, emotion].points[place])
        identity = own.solve()
        for group, emotion, place in faces[name]:
            points = groups[group, emotion].points[place]
            codes.append(np.r_[identity, own.expression(points)])
            person.append(number)
            label.append(TARGETS.index(emotion))
            owner.append(names.index(group))
    return _measure(
        np.array(codes, np.float32), np.array(person), np.array(label), np.array(owner),
        people, names, linear, projection, visible_scale(model.id_basis, model.exp_basis),
        Mirror(model) if mirror else None,
    )  # fmt: skip


def _measure(code, person, label, owner, people, names, linear, projection, scale, mirror) -> Codes:
    """Finds conditions, directions, and each face's amount of its emotion; adds the mirror images."""
    if mirror is not None:
        both = ~np.isin(label, [TARGETS.index(e) for e in ONE_SIDED])
        code = np.concatenate([code, _mirrored(code[both], mirror)])
        person = np.r_[person, person[both] + len(people)]
        label, owner = np.r_[label, label[both]], np.r_[owner, owner[both]]
        people = [*people, *(f"{name} mirrored" for name in people)]
    condition = []
    for number in range(len(people)):
        own = np.flatnonzero((person == number) & (label == _NEUTRAL))
        if len(own):
            condition.append(code[own])
        else:  # never seen neutral: the identity alone, at rest
            some = code[person == number][:1].copy()
            some[:, ID:] = 0
            condition.append(some)
    base = np.stack([c.mean(0) if len(c) else np.zeros(ID + EXP, np.float32) for c in condition])
    away, seen = (code[:, ID:] - base[person, ID:]) @ projection.T, scale[ID:]
    directions = (linear.directions.mean(0) @ projection.T).astype(np.float32)
    directions = np.concatenate([directions, np.zeros((1, EXP), np.float32)])
    reach, amount = np.ones(len(TARGETS), np.float32), np.zeros(len(code), np.float32)
    for j in range(len(EMOTIONS)):
        size = max(float(np.linalg.norm(directions[j] * seen)), 1e-6)
        along = (away * seen) @ (directions[j] * seen) / size
        shown = [rows for g in range(len(names)) if len(rows := np.flatnonzero((label == j) & (owner == g))) >= ENOUGH]
        if not shown:
            continue
        # Each actor or crowd reaches some distance along the direction when they mean it; full strength is their mean.
        strong = [along[rows][along[rows] >= np.quantile(along[rows], 1 - STRONG)].mean() for rows in shown]
        full = max(float(np.mean(strong)), 1e-6)
        reach[j] = size / full
        directions[j] *= full / size
        rows = np.flatnonzero(label == j)
        amount[rows] = np.clip(along[rows] / full, 0, 1)
    return Codes(
        code, person, label, amount, owner, condition, linear.speech, projection, scale, directions, reach,
        linear.openings.mean(0), people, names,
    )  # fmt: skip


def _mirrored(code: np.ndarray, mirror: Mirror) -> np.ndarray:
    """(N, 144) codes of the mirrored faces."""
    import torch

    rows = torch.zeros(len(code), LAYOUT["translation"].stop)
    rows[:, LAYOUT["identity"]] = torch.from_numpy(code[:, :ID])
    rows[:, LAYOUT["expression"]] = torch.from_numpy(code[:, ID:])
    back = mirror.coefficients(rows)
    return torch.cat([back[:, LAYOUT["identity"]], back[:, LAYOUT["expression"]]], 1).numpy()
