"""``talkedit train directions``: Eq. 5 in W+, what the generator cannot show of it, and the file that ships."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from talkedit.data.collection import Collection
from talkedit.emotions import EMOTIONS, NEUTRAL
from talkedit.errors import InputError
from talkedit.facemodel.load import load_face_model
from talkedit.facemodel.model import FaceModel
from talkedit.texture.editor import PersonClassifier
from talkedit.texture.encoder import DETAIL_RANGE, Encoder
from talkedit.texture.gan import Directions, TextureGan, save_texture_gan
from talkedit.texture.gan_file import ENCODER, GENERATOR, load_network
from talkedit.texture.stylegan import Synthesis
from talkedit.texture.uv_map import UvTemplate
from talkedit.train import faces
from talkedit.train.crops import emotions_of, load_crops
from talkedit.train.guide import neutral_faces
from talkedit.train.guide_texture import Shaded, ShadeGuidance, gains, guided
from talkedit.train.linear import (
    BALANCE,
    ONE_SIDED,
    STRONG,
    Group,
    edit_mask,
    pool,
    remove_pose,
    texture_directions,
    trust_in,
)
from talkedit.train.manifest import update_manifest
from talkedit.train.picture_reader import SOURCES, Reader, load_reader, strangers
from talkedit.train.textures import Textures, prepared_textures
from talkedit.train.tgan import add_data_options, open_textures, paper_textures

# Faces turned further than this teach no directions.
FRONTAL = np.radians(18.0)
# Sources of single pictures of many people; of each look of the larger one, so many pictures are enough.
CROWDS = ("faces_open", "london")
CROWD = 400
# A crowd must show an emotion this often to teach it; so many of its faces count as one person.
ENOUGH, PERSON = 60, 80
# A person's own direction counts from this many frames on.
FEW_FRAMES = 8
# The change that the generator shows on average is measured on so many neutral faces.
FACES = 24
# So many faces of a crowd are shown to the reader, beside the studio's and the actors'.
SHOWN = 150


@dataclass(frozen=True)
class Shares:
    """How directions are made of people.

    Attributes:
        own: how much of a person's direction is their own; the rest is pooled.
        people: "actors" (who show everything), "mead" (and those who show something), or "all" (and everybody else
            with two looks or more).
        remainder: how much of the remainder is added, see `remainder`.
    """

    own: float = 0.3
    people: str = "actors"
    remainder: float = 1.0


def encode(encoder: Encoder, textures: Textures, batch: int = 32) -> np.ndarray:
    """(N, L, 512) float16 codes, averaged with the code of the mirror image except for one-sided emotions."""
    out = []
    with torch.inference_mode():
        for at in range(0, len(textures), batch):
            rows = np.arange(at, min(at + batch, len(textures)))
            channels, seen = textures.read(rows, min(textures.size, 128))
            inputs = [torch.from_numpy(a) for a in (channels, seen, textures.colour[rows].astype(np.float32))]
            codes = encoder(*inputs)
            both = (codes + encoder(inputs[0].flip(3), inputs[1].flip(3), inputs[2])) / 2
            sided = torch.from_numpy(np.isin(textures.emotions[rows], ONE_SIDED))
            out.append(torch.where(sided[:, None, None], codes, both).half().numpy())
    return np.concatenate(out)


@dataclass(frozen=True)
class Material:
    """What classifier and directions are learned from: frontal, labelled textures and their codes.

    Attributes:
        textures: (N) textures.
        codes: (N, L, 512) float16.
        held_out: (N,) bool, people that figures are measured on.
    """

    textures: Textures
    codes: np.ndarray
    held_out: np.ndarray

    def where(self, chosen: np.ndarray) -> Material:
        """The part of an index array or mask."""
        return Material(self.textures.where(chosen), self.codes[chosen], self.held_out[chosen])


def owners(textures: Textures) -> list[set[str]]:
    """Who each face speaks for: the person, and the crowd where it is one of single pictures."""
    pairs = zip(textures.people.tolist(), textures.sources.tolist(), strict=True)
    return [{person, source} if source in CROWDS else {person} for person, source in pairs]


def group(textures: Textures, details: Iterable[np.ndarray], people: set[str]) -> dict:
    """(person or crowd, emotion) → `Group` of the textures, with the head's turn taken out of the shapes.

    Args:
        textures: all that are frontal and labelled.
        details: of each, what the groups average: a code, or the texture itself.
        people: whose groups are wanted, names of crowds among them.
    """
    groups: dict[tuple[str, str], Group] = defaultdict(Group)
    for row, (detail, who) in enumerate(zip(details, owners(textures), strict=True)):
        for owner in who & people:
            groups[owner, str(textures.emotions[row])].add(textures.points[row], detail, textures.turn[row])
    groups = dict(groups)
    remove_pose(groups)
    return groups


def details_of(textures: Textures) -> Iterator[np.ndarray]:
    """(T, T) float16 log luminance of each texture."""
    return (detail.astype(np.float16) * np.float16(DETAIL_RANGE / 127) for detail in textures.detail)


def candidates(textures: Textures, kind: str) -> list[str]:
    """Names of the people of a kind (see `Shares`), sorted.

    Raises:
        InputError: nobody shows all seven emotions and a neutral face.
    """
    shown: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    source = {}
    for person, emotion, where in zip(textures.people, textures.emotions, textures.sources, strict=True):
        shown[str(person)][str(emotion)] += 1
        source[str(person)] = str(where)
    actors = {p for p, seen in shown.items() if all(seen.get(e, 0) for e in (*EMOTIONS, NEUTRAL))}
    if not actors:
        raise InputError("nobody in the data shows all seven emotions and a neutral face; at least one actor must")
    if kind == "actors":
        return sorted(actors)
    partly = {p for p, seen in shown.items() if seen.get(NEUTRAL, 0) and len(seen) > 1}
    if kind == "mead":
        return sorted(actors | {p for p in partly if source[p] == "mead"})
    return sorted(actors | {p for p in partly if source[p] != "faces_open"})


def directions(groups: dict, people: list[str], own: float) -> tuple[Directions, np.ndarray]:
    """Eq. 5 with shrinkage, and which emotions too few people teach.

    A person's direction is the mean code of their strongest frames less that of their neutral ones. What is pooled are
    the actors and, where there are enough, the crowds.

    Args:
        groups: (owner, emotion) → frames, their ``details`` being (L, 512) codes.
        people: who gets directions of their own.
        own: how much of them is their own.
    """

    def delta(owner: str, emotion: str) -> np.ndarray:
        neutral = groups[owner, NEUTRAL]
        return groups[owner, emotion].strongest(neutral, STRONG).detail() - neutral.detail()

    actors = [p for p in people if all((p, e) in groups for e in (*EMOTIONS, NEUTRAL))]
    values: list[np.ndarray] = []
    pooled: list[np.ndarray] = []
    row = np.full((len(people), len(EMOTIONS)), -1)
    flat = np.zeros(len(EMOTIONS), bool)
    for j, emotion in enumerate(EMOTIONS):
        found = [delta(p, emotion) for p in actors]
        trust, weights = trust_in(found), [1.0] * len(found)
        for crowd, most in (("faces_open", 2.0), ("london", 1.0)):
            count = groups[crowd, emotion].count if (crowd, emotion) in groups and (crowd, NEUTRAL) in groups else 0
            if count >= ENOUGH or (crowd == "london" and count):
                found.append(delta(crowd, emotion))
                weights.append(min(count / PERSON, most))
                trust = 1.0
        flat[j] = trust < 1
        strength = trust * BALANCE.get(emotion, (1, 1))[1]
        together = strength * pool(found, weights, lift=2.4 if trust == 1 else 1.6)
        pooled.append(together)
        for n, p in enumerate(people):
            counts = [groups[p, e].count if (p, e) in groups else 0 for e in (NEUTRAL, emotion)]
            if min(counts) == 0:
                continue
            # Single pictures of a person say little; many frames count in full.
            share = own * min(1.0, min(counts) / FEW_FRAMES)
            row[n, j] = len(values)
            values.append(share * strength * delta(p, emotion) + (1 - share) * together)
    row = np.where(row >= 0, row, len(values) + np.arange(len(EMOTIONS)))
    return Directions(np.array([*values, *pooled], np.float32), row), flat


def remainder(gan: TextureGan, linear: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    """(7, T, T) what people show at full intensity beyond the generator's average change.

    Args:
        gan: with everything else in place.
        linear: (7, T, T) mean change of the textures themselves.
        neutral: (B, L, 512) codes of neutral faces.
    """
    equal = np.full(len(gan.people), 1 / len(gan.people), np.float32)
    out = np.empty_like(linear)
    for j in range(len(EMOTIONS)):
        moved = gan.directions.mixed(j, equal)
        total = sum(gan.detail((w + moved)[None])[0] - gan.detail(w[None])[0] for w in neutral)
        out[j] = linear[j] - gan.shaped(total / len(neutral), j)
    return out


def mean_change(textures: Textures, model: FaceModel, template: UvTemplate) -> np.ndarray:
    """(7, T, T) change of log luminance under each emotion, the mean over the actors: the linear editor's."""
    actors = candidates(textures, "actors")
    groups = group(textures, details_of(textures), {*actors, *CROWDS})
    return texture_directions(groups, actors, model, template).mean(0)


def assemble(encoder: Encoder, synthesis: Synthesis, material: Material, classifier: PersonClassifier,
             people: list[str], own: float, model: FaceModel, linear: np.ndarray | None) -> TextureGan:  # fmt: skip
    """Everything that ships.

    Args:
        encoder, synthesis: the networks.
        material: to learn directions from.
        classifier, people: of Eq. 4.
        own: see `Shares`.
        model: the face model.
        linear: (7, T, T), see `mean_change`; None leaves the remainder at 0.
    """
    template = UvTemplate(model, synthesis.size)
    groups = group(material.textures, material.codes, {*people, *CROWDS})
    found, flat = directions(groups, people, own)
    mask = edit_mask(model, template)
    blank = np.zeros((len(EMOTIONS), *mask.shape), np.float32)
    gan = TextureGan(encoder, synthesis, found, classifier, tuple(people), mask, flat, blank)
    if linear is None:
        return gan
    rest = remainder(gan, linear, neutral_codes(material).astype(np.float32))
    return replace(gan, remainder=rest)


def add_everybody_option(p: argparse.ArgumentParser) -> None:
    """``--everybody``: what ships may learn from all people, once figures are measured."""
    text = "recipe open: learn from the held-out people too, as a run without them has chosen before"
    p.add_argument("--everybody", action="store_true", help=text)


def load_material(args: argparse.Namespace, model: FaceModel, encoder: Encoder) -> Material:
    """Textures and codes as the command line says; codes are made once and kept in the run's folder.

    Raises:
        InputError: the data cannot be used.
    """
    if args.recipe == "paper":
        textures = paper_textures(args, model)[1]
        held_out = np.zeros(len(textures), bool)
        with suppress(InputError):  # nobody was held out
            test = prepared_textures(args.mead, model, ("test_people",))
            textures, held_out = faces.joined([textures, test]), np.r_[held_out, np.ones(len(test), bool)]
    else:
        textures, collection = open_textures(args, model, encoder.size)
        held_out = faces.held_out(textures, collection)
    rows = frontal(textures)
    textures, held_out = textures.where(rows), held_out[rows]
    return Material(textures, _kept_codes(encoder, textures, args.run / "codes.npz"), held_out)


def frontal(textures: Textures) -> np.ndarray:
    """Indices of the faces that may teach directions; of a crowd's most frequent looks only some."""
    rows = np.flatnonzero((textures.emotions != "") & (np.abs(textures.turn[:, 1]) <= FRONTAL))
    out = []
    crowd = textures.sources[rows] == "faces_open"
    for emotion in np.unique(textures.emotions[rows]):
        of_one = rows[crowd & (textures.emotions[rows] == emotion)]
        out.append(of_one[np.linspace(0, len(of_one) - 1, min(CROWD, len(of_one))).astype(int)])
    return np.sort(np.concatenate([rows[~crowd], *out]))


def _kept_codes(encoder: Encoder, textures: Textures, file: Path) -> np.ndarray:
    """`encode`, kept in a file; made anew where it belongs to another encoder or other textures."""
    mark = np.frombuffer(hashlib.sha256(b"".join([*(v.numpy().tobytes() for v in encoder.state_dict().values()),
                                                  textures.detail.tobytes()])).digest(), np.uint8)  # fmt: skip
    with suppress(OSError, ValueError, KeyError), np.load(file, allow_pickle=False) as stored:
        if np.array_equal(stored["mark"], mark):
            return stored["codes"]
    codes = encode(encoder, textures)
    np.savez(file, codes=codes, mark=mark)
    return codes


def networks(folder: Path) -> tuple[Encoder, Synthesis]:
    """Encoder and generator of a run's folder.

    Raises:
        InputError: one is missing, damaged, or they do not fit each other.
    """
    encoder, synthesis = load_network(folder / ENCODER), load_network(folder / GENERATOR)
    if not isinstance(encoder, Encoder) or not isinstance(synthesis, Synthesis) or encoder.size != synthesis.size:
        raise InputError(f"encoder and generator in '{folder}' do not belong together; train them again")
    return encoder, synthesis


def turned(gan: TextureGan, material: Material, reader: Reader, args: argparse.Namespace,
           model: FaceModel) -> TextureGan:  # fmt: skip
    """The editor with directions that read better on pictures, and how much better by people left out, printed.

    Raises:
        InputError: the recipe has no pictures beside its textures.
    """
    if args.recipe == "paper":
        raise InputError("--reader needs the pictures of the open recipe")
    collection = Collection(args.data, args.cache)
    crops, emotions = load_crops(collection, model, SOURCES, args.cache), emotions_of(collection, SOURCES)
    left_out = strangers(crops, collection)
    codes = neutral_codes(material)
    shaded = Shaded(neutral_faces(crops, emotions, left_out, SHOWN), model)
    out = guided(gan, codes, reader, shaded, ShadeGuidance())
    others = Shaded(neutral_faces(crops, emotions, ~left_out, SHOWN), model)
    told = {name: gains(g, codes, reader, others) for name, g in (("before", gan), ("after", out))}
    print(json.dumps({"read_on_people_left_out": told}), flush=True)
    return out


def neutral_codes(material: Material) -> np.ndarray:
    """(B, L, 512) codes of some neutral faces."""
    neutral = np.flatnonzero(material.textures.emotions == NEUTRAL)
    return material.codes[neutral[np.linspace(0, len(neutral) - 1, min(FACES, len(neutral))).astype(int)]]


def main(argv: list[str] | None = None) -> int:
    """Learns directions and writes ``texture_gan.safetensors``."""
    from talkedit.train.classifier import load_classifier

    p = argparse.ArgumentParser(prog="talkedit train directions", description=__doc__.split("\n")[0])
    add_data_options(p)
    add_everybody_option(p)
    p.add_argument("--reader", type=Path, help="recipe open: picture reader (talkedit train picture_reader) that turns "
                   "directions")  # fmt: skip
    p.add_argument("-o", "--output", type=Path, default=Path("checkpoints/texture_gan.safetensors"))
    args = p.parse_args(argv)
    model = load_face_model("open")
    encoder, synthesis = networks(args.run)
    material = load_material(args, model, encoder)
    if not args.everybody:
        material = material.where(~material.held_out)
    classifier, people, shares = load_classifier(args.run)
    linear = mean_change(material.textures, model, UvTemplate(model, synthesis.size))
    gan = assemble(encoder, synthesis, material, classifier, people, shares.own, model, linear)
    gan = replace(gan, remainder=gan.remainder * np.float32(shares.remainder))
    if args.reader is not None:
        gan = turned(gan, material, load_reader(args.reader), args, model)
    save_texture_gan(args.output, gan, {"recipe": args.recipe, "shares": json.dumps(asdict(shares))})
    sources = "muxspace/facial_expressions, London set, MEAD (front view), LivePortrait examples"
    update_manifest(
        args.output.parent / "manifest.json",
        args.output,
        {
            "what": f"texture GAN of {synthesis.size} texels with encoder, person classifier and directions in W+",
            "trained_on": "FFHQ, MEAD" if args.recipe == "paper" else sources,
            "licence": "research, non-commercial (follows from MEAD)",
        },
    )
    print(json.dumps({"people": people, "directions": len(gan.directions.values), "faces": len(material.codes)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
