"""``talkedit train classifier``: who the directions are mixed of (Eq. 4), and how much of each is their own.

Both are chosen by validation: for people left out, how well the change that the generator predicts from a neutral face
agrees with the change that the same person's emotional pictures show.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from talkedit.emotions import EMOTIONS, NEUTRAL
from talkedit.errors import InputError
from talkedit.facemodel.load import load_face_model
from talkedit.facemodel.model import FaceModel
from talkedit.tensor_file import read_tensors
from talkedit.texture.editor import PersonClassifier
from talkedit.texture.gan import FINE, TextureGan
from talkedit.texture.uv_map import UvTemplate
from talkedit.train.directions import (
    Material,
    Shares,
    add_everybody_option,
    assemble,
    candidates,
    details_of,
    group,
    load_material,
    mean_change,
    networks,
)
from talkedit.train.linear import ONE_SIDED, STRONG, train_classifier
from talkedit.train.textures import Textures
from talkedit.train.tgan import add_data_options

CLASSIFIER = "classifier.safetensors"
KINDS = ("actors", "mead", "all")
OWN = (0.0, 0.3, 0.6)
REMAINDER = (0.0, 0.25, 0.5, 0.75, 1.0)


def classifier_of(textures: Textures, people: list[str]) -> PersonClassifier:
    """f of Eq. 4 on the luminance textures of some people."""
    pairs = zip(textures.people.tolist(), details_of(textures), strict=True)
    return train_classifier([(p, d.astype(np.float32)) for p, d in pairs if p in people], people)


@dataclass(frozen=True)
class Shown:
    """What a person really shows: neutral (L, 512) code, classifier's features, and (T, T) change of an emotion."""

    person: str
    emotion: int
    code: np.ndarray
    features: np.ndarray
    change: np.ndarray


def shown_changes(material: Material, gan: TextureGan) -> list[Shown]:
    """Of everybody who shows a neutral face and an emotion.

    Changes are those of the strongest frames, averaged with their mirror image unless one-sided, and shaped as the
    editor's.
    """
    textures = material.textures
    people = {str(p) for p in textures.people}
    seen, coded = (group(textures, values, people) for values in (details_of(textures), material.codes))
    out = []
    for person, (j, emotion) in itertools.product(sorted(people), enumerate(EMOTIONS)):
        if (person, emotion) not in seen or (person, NEUTRAL) not in seen:
            continue
        neutral = seen[person, NEUTRAL]
        change = seen[person, emotion].strongest(neutral, STRONG).detail() - neutral.detail()
        if emotion not in ONE_SIDED:
            change = (change + change[:, ::-1]) / 2
        change = gan.shaped(cv2.GaussianBlur(change, (0, 0), FINE * len(change) / 256), j)
        features = gan.classifier.features(neutral.detail())
        out.append(Shown(person, j, coded[person, NEUTRAL].detail(), features, change))
    return out


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine between two maps."""
    return float((a * b).sum() / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-9))


def score(gan: TextureGan, shown: list[Shown], share: float = 0.0, classify: bool = True) -> float:
    """Mean agreement of the editor's changes with what people show.

    Args:
        gan: the editor.
        shown: see `shown_changes`.
        share: how much of the remainder is added to the generator's change.
        classify: weigh people by the classifier; False weighs them alike.
    """
    found = []
    equal = np.full(len(gan.people), 1 / len(gan.people), np.float32)
    for one in shown:
        moved = one.code + gan.directions.mixed(one.emotion, gan.classifier(one.features) if classify else equal)
        made = gan.shaped(gan.detail(moved[None])[0] - gan.detail(one.code[None])[0], one.emotion)
        found.append(agreement(made + share * gan.remainder[one.emotion], one.change))
    return round(float(np.mean(found)), 4)


def save_classifier(folder: Path, classifier: PersonClassifier, people: list[str], shares: Shares) -> None:
    """Writes ``classifier.safetensors`` to a run's folder."""
    header = {"people": json.dumps(people), "shares": json.dumps(asdict(shares))}
    save_file({"weight": classifier.weight, "bias": classifier.bias}, str(folder / CLASSIFIER), metadata=header)


def load_classifier(folder: Path) -> tuple[PersonClassifier, list[str], Shares]:
    """Reads it.

    Raises:
        InputError: it is missing or damaged.
    """
    path = folder / CLASSIFIER
    try:
        t, header = read_tensors(path)
        side = round(t["weight"].shape[1] ** 0.5)
        people, shares = json.loads(header["people"]), Shares(**json.loads(header["shares"]))
        return PersonClassifier(t["weight"], t["bias"], side), people, shares
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise InputError(f"'{path}' is missing or damaged; run 'talkedit train classifier' ({error})") from error


def choose(material: Material, folder: Path, model: FaceModel) -> Shares:
    """The shares that agree best with what the held-out people show; the defaults where nobody is held out.

    The crowd of single pictures does not judge: its labels are noisy.
    """
    best, shares = -1.0, Shares()
    learn = material.where(~material.held_out)
    test = material.where(material.held_out & (material.textures.sources != "faces_open"))
    encoder, synthesis = networks(folder)
    shown: list[Shown] | None = None
    for kind, own in itertools.product(KINDS, OWN) if len(test.codes) else ():
        people = candidates(learn.textures, kind)
        gan = assemble(encoder, synthesis, learn, classifier_of(learn.textures, people), people, own, model, None)
        if shown is None:  # neither features nor changes depend on who the directions are made of
            shown = shown_changes(test, gan)
        found = {"agreement": score(gan, shown), "pooled": score(gan, shown, classify=False)}
        print(json.dumps({"people": kind, "count": len(people), "own": own} | found), flush=True)
        if found["agreement"] > best:
            best, shares = found["agreement"], Shares(own, kind)
    return shares if shown is None else choose_remainder(learn, shown, shares, folder, model)


def choose_remainder(learn: Material, shown: list[Shown], shares: Shares, folder: Path, model: FaceModel) -> Shares:
    """Adds how much of the remainder agrees best; prints the agreement of the mean change by itself beside it."""
    encoder, synthesis = networks(folder)
    people = candidates(learn.textures, shares.people)
    linear = mean_change(learn.textures, model, UvTemplate(model, synthesis.size))
    classifier = classifier_of(learn.textures, people)
    gan = assemble(encoder, synthesis, learn, classifier, people, shares.own, model, linear)
    found = {share: score(gan, shown, share) for share in REMAINDER}
    alone = np.mean([agreement(linear[one.emotion], one.change) for one in shown])
    print(json.dumps({"remainder": found, "mean_change": round(float(alone), 4)}), flush=True)
    return replace(shares, remainder=max(found, key=found.__getitem__))


def main(argv: list[str] | None = None) -> int:
    """Chooses and trains; writes ``classifier.safetensors`` to the run's folder."""
    p = argparse.ArgumentParser(prog="talkedit train classifier", description=__doc__.split("\n")[0])
    add_data_options(p)
    add_everybody_option(p)
    args = p.parse_args(argv)
    model = load_face_model("open")
    material = load_material(args, model, networks(args.run)[0])
    shares = load_classifier(args.run)[2] if args.everybody else choose(material, args.run, model)
    learned = material.textures if args.everybody else material.where(~material.held_out).textures
    people = candidates(learned, shares.people)
    save_classifier(args.run, classifier_of(learned, people), people, shares)
    print(json.dumps({"names": people} | asdict(shares)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
