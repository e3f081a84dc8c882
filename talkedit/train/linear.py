"""``talkedit train linear``: emotion directions in expression space and in luminance texture, and who looks like whom.

A person's direction is the mean of the emotional frames minus the mean of the neutral ones (Eq. 5), with speech taken
out: both means are read at the same lip opening. Few people act all emotions, so each person's direction is shrunk
towards the pooled one, which also learns from thousands of single pictures.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from talkedit.checkpoint import LinearEditors, save_linear
from talkedit.data.collection import Collection
from talkedit.emotions import EMOTIONS
from talkedit.facemodel.model import FaceModel, load_open_model
from talkedit.geometry.editor import LinearGeometryEditor
from talkedit.geometry.openings import smoothstep
from talkedit.reconstruct.fit import Fitter
from talkedit.reconstruct.pose import Pose, find_pose
from talkedit.texture.editor import LinearTextureEditor, PersonClassifier, detail_of
from talkedit.texture.uv_map import LUMINANCE, UvTemplate
from talkedit.track import topology as topo
from talkedit.track.measures import yaw_degrees
from talkedit.train.face_model import mirror_map
from talkedit.train.manifest import update_manifest

# How much of a person's direction is their own; the rest is pooled.
OWN = 0.3
# The share of an emotion's frames that "full intensity" is learned from.
STRONG = 0.25
# The tracker's mesh is a regression with a prior: it follows brows and lip corners only part of the way (the textures
# show brows that have moved further than their landmarks). Directions are scaled back up by this much.
REACH = 1.75
# Emotions that no crowd shows, only a few actors, are held back to this, unless the actors agree.
FEW = 0.6
# How much of shape and of texture to keep where they do not carry the look equally: three actors agree on the folds
# of a sad face but not on its shape, and fear comes with the way each of them holds the head.
BALANCE = {
    "angry": (1.0, 0.85), "sad": (0.8, 0.95), "fear": (0.75, 1.0), "surprised": (1.0, 1.3), "disgusted": (0.75, 0.95)
}  # fmt: skip
# Actors speak up: their lips open further in every emotion. Where the look does not need it, an edit takes over only
# this much of it, as what opens beyond the source shows a mouth that nobody has filmed.
OPENED = {name: 1.0 if name in ("surprised", "fear") else 0.4 for name in EMOTIONS}
# Two frowns: this share of what sad has in common with angry is taken out of it, the rest made up for in length.
APART = ("sad", "angry", 0.4)
# One-sided by nature: never mirrored.
ONE_SIDED = ("contempt",)
FEATURE_SIZE = 32


def _silent() -> np.ndarray:
    """(468, 1) weights of the landmarks that speech does not move: frames are ranked by these."""
    weights = np.ones((topo.LANDMARKS, 1), np.float32)
    weights[np.r_[topo.OUTER_LIPS, topo.INNER_LIPS, topo.FACE_OVAL[12:25]]] = 0
    weights[np.r_[topo.LIP_CORNERS_OUTER, topo.LIP_CORNERS_INNER]] = 1
    weights[np.r_[topo.LEFT_BROW, topo.RIGHT_BROW]] = 2
    return weights


@dataclass
class Group:
    """Frames of one person (or one crowd of single pictures) in one emotion."""

    points: list[np.ndarray] = field(default_factory=list)
    details: list[np.ndarray] = field(default_factory=list)
    turns: list[np.ndarray] = field(default_factory=list)

    def add(self, points: np.ndarray, detail: np.ndarray, turn: np.ndarray) -> None:
        self.points.append(points)
        self.details.append(detail.astype(np.float16))
        self.turns.append(turn)

    @property
    def count(self) -> int:
        return len(self.points)

    def shape(self) -> np.ndarray:
        return np.mean(self.points, axis=0)

    def detail(self) -> np.ndarray:
        return np.mean(self.details, axis=0, dtype=np.float32)

    def strongest(self, neutral: Group, share: float) -> Group:
        """The ``share`` of frames that lie furthest from the neutral mean along this group's own direction.

        Full intensity is what actors reach when they mean it, not the average over pauses, and most of a crowd's
        wrong labels are weak looks.
        """
        x = np.array(self.points)
        along = (x.mean(0) - neutral.shape()) * _silent()
        score = np.tensordot(x, along, axes=2)
        chosen = np.flatnonzero(score >= np.quantile(score, 1 - share))
        pick = chosen.tolist()
        return Group(*([values[i] for i in pick] for values in (self.points, self.details, self.turns)))

    def speech(self) -> tuple[np.ndarray, float]:
        """(468, 3) covariance of the landmarks with the inner-lip gap over the frames, and the gap's variance."""
        x = np.array(self.points)
        z = lip_gap(x)
        z = z - z.mean()
        return np.tensordot(z, x - x.mean(0), axes=1), float((z**2).sum())


def lip_gap(points: np.ndarray) -> np.ndarray:
    """(...) inner-lip gap at the mid-line of (..., 468, 3) landmarks in the model's frame."""
    return points[..., 13, 1] - points[..., 14, 1]


def speech_direction(groups: dict, people: list[str], mirror: np.ndarray) -> np.ndarray:
    """(468, 3) how a face moves when words open the lips by one unit, over all clips: jaw, chin, cheeks, corners."""
    sums = [g.speech() for (owner, _), g in groups.items() if owner in people]
    total = mirrored(sum(c for c, _ in sums) / sum(v for _, v in sums), mirror)
    return (total / lip_gap(total)).astype(np.float32)


def gather(collection: Collection, model: FaceModel, leave_out: set[str]) -> tuple[dict, list, UvTemplate]:
    """(person or crowd, emotion) → group; and the classifier's (person, detail) pairs."""
    template = UvTemplate(model)
    mean = model.mean[model.landmark_vertices]
    landmarks = collection.landmarks()
    groups: dict[tuple[str, str], Group] = defaultdict(Group)
    faces: list[tuple[str, np.ndarray]] = []
    for number, s in enumerate(collection.samples):
        if s.emotion is None or s.person in leave_out:
            continue
        crowd = s.source == "faces_open"
        if crowd and s.emotion in ("neutral", "happy") and number % 2:
            continue  # there are ten times more of these than of any other
        rows = landmarks[s.key]
        for i, picture in enumerate(collection.frames(s)):
            if (s.clip and i % 3) or not np.isfinite(rows[i, 0, 0]) or abs(yaw_degrees(rows[i])) > 18:
                continue
            pose = find_pose(rows[i], mean)
            points = pose.to_model(rows[i, :468])
            mesh = model.position @ rows[i, :468]
            texture = template.unwrap(picture.astype(np.float32) @ LUMINANCE, mesh)
            detail = detail_of(texture, template.visible(mesh))
            owner = s.person if s.source == "mead" else s.source
            groups[owner, s.emotion].add(points, detail, turn_of(pose))
            if s.source == "mead":
                faces.append((s.person, detail))
    return dict(groups), faces, template


def turn_of(pose: Pose) -> np.ndarray:
    """(2,) pitch and yaw in radians."""
    x, y, z = pose.rotation[2]
    return np.array([np.arctan2(y, z), np.arctan2(x, z)], np.float32)


def remove_pose(groups: dict) -> None:
    """Takes out what the tracker's shapes owe to the head's turn (actors of contempt lean back, sad ones look down).

    The dependence on pitch, yaw and their squares is learned from the crowd, within each emotion.
    """
    rows, shapes = [], []
    for (owner, _), group in groups.items():
        if owner == "faces_open" and group.count >= 20:
            t = np.array(group.turns)
            f = np.concatenate([t, t**2], axis=1)
            x = np.array(group.points)
            rows.append(f - f.mean(0))
            shapes.append((x - x.mean(0)).reshape(len(x), -1))
    if not rows:
        return
    f, x = np.concatenate(rows), np.concatenate(shapes)
    slope = np.linalg.solve(f.T @ f + 1e-3 * len(f) * np.diag(f.var(0)), f.T @ x)
    for group in groups.values():
        t = np.array(group.turns)
        effect = np.clip(np.concatenate([t, t**2], axis=1), -0.4, 0.4) @ slope
        group.points = list(np.array(group.points) - effect.reshape(len(t), -1, 3).astype(np.float32))


def mirrored(delta: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """A (468, 3) displacement averaged with its mirror image."""
    return (delta + delta[mirror] * np.float32([-1, 1, 1])) / 2


def mirror_texture(model: FaceModel, template: UvTemplate, mirror: np.ndarray) -> np.ndarray:
    """(T, T, 2) float32 remap that shows each texel's mirror image, from the UV of mirrored landmarks."""
    uv = np.zeros((len(model.uv), 2), np.float32)
    landmark_uv = model.uv[model.landmark_vertices]
    uv[:] = model.position @ landmark_uv[mirror]
    return template.source_map(uv * template.size - 0.5)


def edit_mask(model: FaceModel, template: UvTemplate) -> np.ndarray:
    """(T, T) where a texture may change: not near the outline, the lips and the chin, little on lid edges."""
    landmarks = model.mean[model.landmark_vertices]
    face = model.mean

    def near(points: np.ndarray, low: float, high: float) -> np.ndarray:
        d = np.linalg.norm(face[:, None] - landmarks[points][None], axis=2).min(1)
        return smoothstep(d, low, high)

    lids = np.r_[topo.LEFT_EYE, topo.RIGHT_EYE]
    lips = np.r_[topo.OUTER_LIPS, topo.INNER_LIPS]
    top, chin = topo.FACE_OVAL[[0, 1, 2, 3, 33, 34, 35]], topo.FACE_OVAL[15:22]
    sides = np.setdiff1d(topo.FACE_OVAL, np.r_[top, chin])
    weight = near(top, 0.06, 0.2) * near(chin, 0.04, 0.18) * near(sides, 0.2, 0.46)
    # What lies along the brows is mostly other people's brows; between them are the furrows.
    brows = np.r_[topo.LEFT_BROW, topo.RIGHT_BROW]
    between = 1 - near(np.array([9, 8, 168, 107, 336]), 0.04, 0.14)
    weight = weight * np.maximum(0.55 + 0.45 * near(brows, 0.02, 0.09), between)
    # The nose tip's highlight follows the head's turn, not the emotion.
    weight = weight * (0.25 + 0.75 * near(np.array([1, 4, 19, 94, 2]), 0.05, 0.13))
    weight = weight * (0.3 + 0.7 * near(lids, 0.01, 0.05))
    # Around the lips and under them textures show how far actors open their mouths, not folds of skin; on other mouths
    # that is a pale patch around the lips and a dark one on the chin, from which trackers misread the lips' gap.
    weight = weight * near(lips, 0, 0.1) * near(np.array([17, 84, 314, 181, 405]), 0, 0.35)
    weights = np.stack([weight, weight], 1).astype(np.float32)
    mask = template.source_map(weights)[..., 0] * template.inside
    return cv2.GaussianBlur(mask, (0, 0), 1.0)


def trust_in(deltas: list[np.ndarray]) -> float:
    """FEW to 1: how far a few people's directions can be trusted, from the mean cosine between them."""
    unit = [d / max(np.linalg.norm(d), 1e-9) for d in deltas]
    pairs = [float(np.sum(a * b)) for a, b in itertools.combinations(unit, 2)]
    return FEW + (1 - FEW) * max(float(np.mean(pairs)), 0.0) if pairs else FEW


def pool(deltas: list[np.ndarray], weights: list[float], lift: float) -> np.ndarray:
    """Weighted mean, brought back towards the people's own mean strength (averaging unlike looks weakens them).

    At most by ``lift``: where people disagree, the mean is weak because little of it is the emotion.
    """
    mean = np.average(deltas, axis=0, weights=weights)
    strength = np.average([np.linalg.norm(d) for d in deltas], weights=weights)
    return mean * min(strength / max(np.linalg.norm(mean), 1e-9), lift)


def geometry_editor(groups: dict, people: list[str], model: FaceModel) -> LinearGeometryEditor:
    """Directions with speech taken out: all faces are compared at the same opening of the lips.

    What an emotion does to the opening itself is kept apart, as one number.
    """
    mean = model.mean[model.landmark_vertices]
    mirror = mirror_map(mean)
    fitter = Fitter(model)
    speech = speech_direction(groups, people, mirror)
    directions = np.zeros((len(people), len(EMOTIONS), model.exp_basis.shape[2]), np.float32)
    opening = np.zeros((len(people), len(EMOTIONS)), np.float32)

    def delta(owner: str, emotion: str) -> tuple[np.ndarray, float]:
        neutral = groups[owner, "neutral"]
        raw = groups[owner, emotion].strongest(neutral, STRONG).shape() - neutral.shape()
        gap = float(lip_gap(raw))
        raw = raw - speech * np.float32(gap)
        return (raw if emotion in ONE_SIDED else mirrored(raw, mirror)), gap

    zero = fitter.expression(mean)
    for j, emotion in enumerate(EMOTIONS):
        own = {p: delta(p, emotion) for p in people if (p, emotion) in groups}
        found, weights = list(own.values()), [1.0] * len(own)
        trust = trust_in([d for d, _ in found])
        for crowd, most in (("faces_open", 2.0), ("london", 1.0)):
            count = groups[crowd, emotion].count if (crowd, emotion) in groups else 0
            if count >= 60:
                found.append(delta(crowd, emotion))
                weights.append(min(count / 60, most))
                trust = 1.0
        pooled = pool([d for d, _ in found], weights, lift=1.15)
        gap = float(np.average([g for _, g in found], weights=weights))
        strength = REACH * trust * BALANCE.get(emotion, (1, 1))[0]
        for n, p in enumerate(people):
            d, g = own.get(p, (pooled, gap))
            mixed = strength * (OWN * d + (1 - OWN) * pooled)
            directions[n, j] = fitter.expression(mean + mixed.astype(np.float32)) - zero
            opening[n, j] = OPENED[emotion] * (OWN * g + (1 - OWN) * gap)
    return LinearGeometryEditor(keep_apart(directions, model), opening, speech)


def keep_apart(directions: np.ndarray, model: FaceModel) -> np.ndarray:
    """(N, 7, 64) directions with ``APART`` done to them; lengths and angles are those of the moved landmarks."""
    basis = model.at_landmarks(model.exp_basis).reshape(-1, directions.shape[2])
    gram = basis.T @ basis
    one, other = EMOTIONS.index(APART[0]), EMOTIONS.index(APART[1])
    out = directions.copy()
    for own, changed in zip(directions, out, strict=True):
        d, e = own[one], own[other]
        rest = d - APART[2] * (d @ gram @ e) / (e @ gram @ e) * e
        changed[one] = rest * np.sqrt((d @ gram @ d) / (rest @ gram @ rest))
    return out


def texture_directions(groups: dict, people: list[str], model: FaceModel, template: UvTemplate) -> np.ndarray:
    """(N, 7, T, T) directions of log luminance: high-passed, blurred, masked, mirrored unless one-sided."""
    mirror = mirror_texture(model, template, mirror_map(model.mean[model.landmark_vertices]))
    mask = edit_mask(model, template)
    out = np.zeros((len(people), len(EMOTIONS), template.size, template.size), np.float32)

    def delta(owner: str, emotion: str) -> np.ndarray:
        neutral = groups[owner, "neutral"]
        d = groups[owner, emotion].strongest(neutral, STRONG).detail() - neutral.detail()
        if emotion not in ONE_SIDED:
            d = (d + cv2.remap(d, mirror[..., 0], mirror[..., 1], cv2.INTER_LINEAR)) / 2
        if ("faces_open", emotion) not in groups or groups["faces_open", emotion].count < 60:
            d = d - cv2.GaussianBlur(d, (0, 0), 16)  # too few people to average the studio's light out of it
        return cv2.GaussianBlur(d, (0, 0), 1.6) * mask

    for j, emotion in enumerate(EMOTIONS):
        own = {p: delta(p, emotion) for p in people if (p, emotion) in groups}
        deltas, weights = list(own.values()), [1.0] * len(own)
        trust = trust_in(deltas)
        count = groups["faces_open", emotion].count if ("faces_open", emotion) in groups else 0
        if count >= 60:
            deltas.append(delta("faces_open", emotion))
            weights.append(min(count / 80, 2.0))
            trust = 1.0
        if emotion == "happy" and ("london", emotion) in groups:
            deltas.append(delta("london", emotion))
            weights.append(1.0)
        pooled = pool(deltas, weights, lift=2.4 if trust == 1 else 1.6)
        strength = trust * BALANCE.get(emotion, (1, 1))[1]
        for n, p in enumerate(people):
            out[n, j] = strength * (OWN * own.get(p, pooled) + (1 - OWN) * pooled)
    return out


def train_classifier(faces: list[tuple[str, np.ndarray]], people: list[str], softness: float = 1.5) -> PersonClassifier:
    """Multinomial logistic regression on the people's frames, all emotions; kept soft so that strangers get a mix."""
    blank = PersonClassifier(np.zeros((0, 0), np.float32), np.zeros(0, np.float32), FEATURE_SIZE)
    rows = np.stack([blank.features(d) for p, d in faces if p in people])
    label = np.array([people.index(p) for p, _ in faces if p in people])
    target = np.eye(len(people))[label]
    share = 1 / np.bincount(label, minlength=len(people))[label] / len(people)
    weight, bias = np.zeros((len(people), rows.shape[1])), np.zeros(len(people))
    for _ in range(600):
        logits = rows @ weight.T + bias
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        error = (p - target) * share[:, None]
        weight -= 4.0 * (error.T @ rows + 0.01 * weight)
        bias -= 4.0 * error.sum(0)
    return PersonClassifier((softness * weight).astype(np.float32), bias.astype(np.float32), FEATURE_SIZE)


def main(argv: list[str] | None = None) -> int:
    """Trains and writes ``linear_editor.safetensors``."""
    p = argparse.ArgumentParser(prog="talkedit train linear", description=__doc__.split("\n")[0])
    p.add_argument("--data", type=Path, required=True, help="folder of the open recipe's collection")
    p.add_argument("--cache", type=Path, default=Path("build/cache"), help="folder for tracked landmarks")
    p.add_argument("--face-model", type=Path, default=Path("bfm/open_face.safetensors"))
    p.add_argument("-o", "--output", type=Path, default=Path("checkpoints/linear_editor.safetensors"))
    p.add_argument("--leave-out", default="", help="people not to learn from, separated by commas")
    args = p.parse_args(argv)
    model = load_open_model(args.face_model)
    leave_out = set(filter(None, args.leave_out.split(",")))
    groups, faces, template = gather(Collection(args.data, args.cache), model, leave_out)
    remove_pose(groups)
    people = sorted(o for o, e in groups if e == "neutral" and all((o, x) in groups for x in EMOTIONS) and o[0] in "MW")
    editors = LinearEditors(
        geometry_editor(groups, people, model),
        LinearTextureEditor(texture_directions(groups, people, model, template)),
        train_classifier(faces, people),
        tuple(people),
    )
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_linear(args.output, editors)
    update_manifest(
        args.output.parent / "manifest.json",
        args.output,
        {
            "what": "linear emotion directions (expression space, luminance texture) and person classifier",
            "trained_on": "MEAD (front view of " + ", ".join(people) + "), London set, muxspace/facial_expressions",
            "licence": "research, non-commercial (follows from MEAD)",
        },
    )
    print(json.dumps({"people": people, "left_out": sorted(leave_out)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
