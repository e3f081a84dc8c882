"""``talkedit train classifier``: who the directions are mixed of (Eq. 4), and how much of each is their own.

Both are chosen by validation: for people left out, how well the change that the generator predicts from a neutral face
agrees with the change that the same person's emotional pictures show.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from talkedit.data.open_recipe import held_out_people
from talkedit.emotions import EMOTIONS, NEUTRAL
from talkedit.errors import InputError
from talkedit.facemodel.load import load_face_model
from talkedit.facemodel.model import FaceModel
from talkedit.tensor_file import read_tensors
from talkedit.texture.editor import PersonClassifier
from talkedit.texture.encoder import DETAIL_RANGE
from talkedit.texture.gan import TextureGan
from talkedit.train.directions import (
    Shares,
    add_everybody_option,
    assemble,
    candidates,
    codes_of_textures,
    encode,
    frontal,
    group,
    learned,
    networks,
)
from talkedit.train.linear import STRONG, train_classifier
from talkedit.train.textures import Textures, prepared_textures
from talkedit.train.tgan import add_data_options, open_textures

CLASSIFIER = "classifier.safetensors"
KINDS = ("actors", "mead", "all")
OWN = (0.0, 0.3, 0.6)


def classifier_of(textures: Textures, rows: np.ndarray, people: list[str]) -> PersonClassifier:
    """f of Eq. 4 on the luminance textures of some people."""
    faces = [
        (str(textures.people[r]), textures.detail[r].astype(np.float32) * (DETAIL_RANGE / 127))
        for r in rows
        if textures.people[r] in people
    ]
    return train_classifier(faces, people)


def shown_changes(textures: Textures, rows: np.ndarray, codes: np.ndarray, gan: TextureGan) -> list[tuple]:
    """What people really show: (person, emotion's index, neutral (L, 512) code, weights (N,), (T, T) change) each.

    Changes are those of the strongest frames, averaged with their mirror image except for contempt, and shaped as the
    editor's.
    """
    people = sorted({str(p) for p in textures.people[rows]})
    scaled = (textures.detail[r].astype(np.float16) * np.float16(DETAIL_RANGE / 127) for r in rows)
    seen, coded = (group(textures, rows, values, set(people)) for values in (scaled, codes))
    out = []
    for person, (j, emotion) in itertools.product(people, enumerate(EMOTIONS)):
        if (person, emotion) not in seen or (person, NEUTRAL) not in seen:
            continue
        neutral = seen[person, NEUTRAL]
        change = seen[person, emotion].strongest(neutral, STRONG).detail() - neutral.detail()
        if emotion != "contempt":
            change = (change + change[:, ::-1]) / 2
        weights = gan.classifier(gan.classifier.features(neutral.detail()))
        out.append(
            (person, j, coded[person, NEUTRAL].detail(), weights, gan.shaped(cv2.GaussianBlur(change, (0, 0), 1.0), j))
        )
    return out


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine between two maps."""
    return float((a * b).sum() / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-9))


def score(gan: TextureGan, shown: list[tuple], classify: bool = True) -> dict[str, float]:
    """Mean agreement with what people show: of the generator's change alone (``gan``) and with the remainder."""
    alone, both = [], []
    equal = np.full(len(gan.people), 1 / len(gan.people), np.float32)
    for _, j, code, weights, real in shown:
        moved = code + gan.directions.mixed(j, weights if classify else equal)
        made = gan.shaped(gan.detail(moved[None])[0] - gan.detail(code[None])[0], j)
        alone.append(agreement(made, real))
        both.append(agreement(made + gan.remainder[j], real))
    return {"gan": round(float(np.mean(alone)), 4), "with_remainder": round(float(np.mean(both)), 4)}


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


def left_out(args: argparse.Namespace, model: FaceModel, size: int) -> Textures | None:
    """Textures of people to validate on: those held out everywhere, without the crowd of single pictures."""
    if args.recipe == "paper":
        try:
            return prepared_textures(args.mead, model, ("test_people",))
        except InputError:
            return None
    textures, collection = open_textures(args, model, size)
    out = np.isin(textures.people, sorted(held_out_people(collection.samples)))
    return textures.where(out & (textures.sources != "faces_open"))


def main(argv: list[str] | None = None) -> int:
    """Chooses and trains; writes ``classifier.safetensors`` to the run's folder."""
    p = argparse.ArgumentParser(prog="talkedit train classifier", description=__doc__.split("\n")[0])
    add_data_options(p)
    add_everybody_option(p)
    args = p.parse_args(argv)
    model = load_face_model("open")
    encoder, synthesis = networks(args.run)
    textures = learned(args, model, synthesis.size)
    rows = frontal(textures)
    shares = load_classifier(args.run)[2] if args.everybody else None
    test = None if args.everybody else left_out(args, model, synthesis.size)
    if shares is None:
        shares = Shares()
        if test is not None and len(at := frontal(test)):
            codes = codes_of_textures(encoder, textures, rows, args.run / f"codes_{len(rows)}.npy")
            test_codes = encode(encoder, test.where(at))
            best = -1.0
            for kind, own in itertools.product(KINDS, OWN):
                people = candidates(textures, rows, kind)
                classifier = classifier_of(textures, rows, people)
                gan = assemble(encoder, synthesis, textures, codes, rows, classifier, people, own, model, None)
                found = score(gan, shown_changes(test, at, test_codes, gan))["gan"]
                print(json.dumps({"people": kind, "count": len(people), "own": own, "agreement": found}), flush=True)
                if found > best:
                    best, shares = found, Shares(own, kind)
    people = candidates(textures, rows, shares.people)
    save_classifier(args.run, classifier_of(textures, rows, people), people, shares)
    print(json.dumps({"people": people} | asdict(shares)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
