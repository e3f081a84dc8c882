#!/usr/bin/env python3
"""Measures the texture GAN: inversion of people it was not trained on, and what texture-only edits do to clips.

    python examples/texture_table.py --data ../shared/data CLIP [CLIP ...]

Inversion: PSNR and SSIM of luminance textures without their light, at mid grey, over the texels that were seen; and how
much the refinement alters the change that is edited (mean cosine over the emotions).
Colour: how well the generator's change of log R/G and log B/G agrees with that of held-out people, and how large it is.
Edits: change of the mean skin colour (CIE 1976 ΔE) and milliseconds a frame.
Key frames (the GAN only): PSNR of the edit, which has one code a shot and interpolates intensities, against running
encoder and generator in every frame.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch

from talkedit import EMOTIONS
from talkedit.data.collection import Collection
from talkedit.data.open_recipe import held_out_people
from talkedit.editor import LOOK_EVERY, ClipEditor
from talkedit.emotions import NEUTRAL, Timeline
from talkedit.facemodel.load import load_face_model
from talkedit.options import EditOptions
from talkedit.report import StageClock
from talkedit.texture.editor import LIMIT
from talkedit.texture.gan import Look, TextureGan, load_texture_gan
from talkedit.texture.refine import refine
from talkedit.track import topology as topo
from talkedit.train.textures import Textures, load_textures
from talkedit.video.reader import read_frames

PEAK = 255.0


def grey(detail: np.ndarray) -> np.ndarray:
    """Log luminance without light as a picture at mid grey, 0..255."""
    return np.clip(128 * np.exp(detail), 0, PEAK)


def psnr(a: np.ndarray, b: np.ndarray, seen: np.ndarray) -> float:
    """Decibels over the texels that were seen."""
    return float(10 * np.log10(PEAK**2 / max(((a - b)[seen] ** 2).mean(), 1e-9)))


def ssim(a: np.ndarray, b: np.ndarray, seen: np.ndarray) -> float:
    """Mean structural similarity (Gaussian window of 1.5 texels) where the whole window was seen."""

    def blur(x: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(x, (11, 11), 1.5)

    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    value = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    return float(value[cv2.erode(seen.astype(np.uint8), np.ones((11, 11), np.uint8)) > 0].mean())


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Between two maps."""
    return float((a * b).sum() / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-9))


def changed(gan: TextureGan, code: np.ndarray, emotion: int, people: np.ndarray) -> np.ndarray:
    """(3, T, T) change of the generator's channels at full intensity, inside the regions that emotion moves."""
    moved = code + gan.directions.mixed(emotion, people)
    with torch.inference_mode():
        made = gan.synthesis(torch.from_numpy(np.stack([moved, code]).astype(np.float32))).numpy()
    return (made[0] - made[1]) * gan.mask


def colour(gan: TextureGan, textures: Textures) -> str:
    """Markdown: of everybody in colour, the generator's change of chroma beside the one they show, and its slope.

    The slope says how far the shown chroma changes with the shown luminance, over the mean of the people.
    """
    equal, smooth = np.full(len(gan.people), 1 / len(gan.people), np.float32), 4 * textures.size / 256

    def mean(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Channels where they were seen, and how often they were."""
        channels, seen = textures.read(rows)
        return (channels * seen).sum(0) / np.maximum(seen.sum(0), 1), seen.mean(0)[0]

    lines = ["| held-out people of | emotion | people | R/G cosine | B/G cosine | R/G size | B/G size | shown R/G | "
             "R/G slope | B/G slope |", "|" + " --- |" * 10]  # fmt: skip
    for source, emotion in ((s, e) for s in ("london", "mead") for e in EMOTIONS):
        of = textures.colour & (textures.sources == source)
        figures, maps = [], []
        for person in np.unique(textures.people[of & (textures.emotions == emotion)]):
            rest, shown = (np.flatnonzero(of & (textures.people == person) & (textures.emotions == e))[:60]
                           for e in (NEUTRAL, emotion))  # fmt: skip
            if not len(rest):
                continue
            (before, a), (after, b) = mean(rest), mean(shown)
            real = (after - before) * gan.mask * (np.minimum(a, b) > 0.5)
            channels, seen = textures.read(rest)
            inputs = (torch.from_numpy(x) for x in (channels, seen, np.ones(len(rest), np.float32)))
            with torch.inference_mode():
                code = gan.encoder(*inputs).numpy().mean(0)
            made = changed(gan, code, EMOTIONS.index(emotion), equal)
            real, made = (np.stack([cv2.GaussianBlur(c, (0, 0), smooth) for c in x]) for x in (real, made))
            maps.append(real)
            real, made = real[1:], made[1:]
            size = [100 * float(np.sqrt((c**2).sum() / gan.mask.sum())) for c in (*made, real[0])]
            figures.append([*(cosine(*pair) for pair in zip(real, made, strict=True)), *size])
        if figures:
            cells = " | ".join(f"{x:.2f}" for x in np.mean(figures, axis=0)[:2])
            cells += " | " + " | ".join(f"{x:.1f} %" for x in np.mean(figures, axis=0)[2:])
            light, *chroma = np.mean(maps, axis=0)
            cells += " | " + " | ".join(f"{(light * c).sum() / (light**2).sum():.2f}" for c in chroma)
            lines.append(f"| {source} | {emotion} | {len(figures)} | {cells} |")
    return "\n".join(lines)


def inversion(gan: TextureGan, textures: Textures, count: int, steps: int) -> str:
    """Markdown: figures of each source's held-out people, with W+ and after refinement."""
    lines = ["| held-out people of | textures | PSNR W+ | SSIM W+ | PSNR refined | SSIM refined | change, cosine | s |",
             "|" + " --- |" * 8]  # fmt: skip
    equal = np.full(len(gan.people), 1 / len(gan.people), np.float32)
    for source in np.unique(textures.sources):
        rows = np.flatnonzero(textures.sources == source)
        rows = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
        figures = []
        for row in rows:
            channels, seen = textures.read(np.array([row]))
            inputs = [torch.from_numpy(a) for a in (channels, seen, textures.colour[[row]].astype(np.float32))]
            with torch.inference_mode():
                codes = gan.encoder(*inputs)
            began = time.process_time()
            closer = refine(gan.synthesis, codes.clone(), *inputs, steps=steps)
            spent = time.process_time() - began
            real, mask = grey(channels[0, 0]), seen[0, 0] > 0
            made = [grey(gan.detail(c.numpy())[0]) for c in (codes, closer)]
            changes = [[changed(gan, c[0].numpy(), j, equal)[0] for j in range(len(EMOTIONS))] for c in (codes, closer)]
            alike = np.mean([cosine(a, b) for a, b in zip(*changes, strict=True)])
            figures.append([*(f(m, real, mask) for m in made for f in (psnr, ssim)), alike, spent])
        mean = np.mean(figures, axis=0)
        lines.append(f"| {source} | {len(rows)} | " + " | ".join(f"{x:.4g}" for x in mean) + " |")
    return "\n".join(lines)


def skin_lab(rgb: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(3,) mean CIE Lab colour inside the face's outline, without eyes and lips."""
    mask = np.zeros(rgb.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.rint(landmarks[topo.FACE_OVAL, :2]).astype(np.int32)], 1)
    for hole in (topo.LEFT_EYE, topo.RIGHT_EYE, topo.OUTER_LIPS):
        cv2.fillPoly(mask, [np.rint(landmarks[hole, :2]).astype(np.int32)], 0)
    return cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[mask > 0].mean(0)


def edits(clips: list[Path], texture: str, count: int) -> str:
    """Markdown: mean and largest ΔE of the skin for each emotion, and milliseconds of the texture stage."""
    shifts: dict[str, list[float]] = {e: [] for e in EMOTIONS}
    clock, frames_edited = StageClock(), 0
    for clip in clips:
        editor = ClipEditor(EditOptions(only="texture", texture=texture, threads=1), clock)
        frames = list(islice(read_frames(clip), count))
        editor.learn(frames)
        for frame in frames[:: max(count // 3, 1)]:
            if not editor._store.has(frame.index):
                continue
            at = editor._store.landmarks(frame.index)
            before = skin_lab(frame.rgb, at)
            for e in EMOTIONS:
                after = skin_lab(editor.edit(frame, Timeline.constant(e, 1.0)), at)
                shifts[e].append(float(np.linalg.norm(after - before)))
                frames_edited += 1
    lines = [f"| {texture} | ΔE mean | ΔE most |", "| --- | --- | --- |"]
    lines += [f"| {e} | {np.mean(v):.2f} | {np.max(v):.2f} |" for e, v in shifts.items()]
    spent = clock.seconds["texture"] / frames_edited * 1000
    return "\n".join([*lines, "", f"texture stage: {spent:.1f} ms an edit"])


@dataclass
class EveryFrame:
    """The texture editor with the code and the people of one frame, at the intensity that is asked for."""

    gan: TextureGan
    look: Look

    def log_ratio(self, code: np.ndarray) -> np.ndarray:
        """See `SpeakerTexture`."""
        people = self.gan.classifier(self.look.features)
        raw = np.zeros(self.gan.mask.shape, np.float32)
        for j in np.flatnonzero(code):
            moved = self.look.code + code[j] * self.gan.directions.mixed(j, people)
            made = self.gan.detail(np.stack([moved, self.look.code]))
            raw += self.gan.shaped(made[0] - made[1], j) + np.float32(code[j]) * self.gan.remainder[j]
        return (LIMIT * np.tanh(raw / LIMIT)).astype(np.float32)


def key_frames(clips: list[Path], count: int, emotions: tuple[str, ...]) -> str:
    """Markdown: for each clip, PSNR over the pixels that either edit touches, and milliseconds of one core.

    The intensity rises from 0 to 1 over the frames; the worst frame counts beside the mean.
    """
    lines = ["| clip | PSNR mean | PSNR worst | ms a frame, key frames included | ms a frame, every frame |",
             "|" + " --- |" * 5]  # fmt: skip
    for clip in clips:
        clock = StageClock(time.process_time)
        editor = ClipEditor(EditOptions(only="texture", texture="tgan", threads=1), clock)
        frames = list(islice(read_frames(clip), count))
        editor.learn(frames)
        end = frames[-1].time
        found, looking, edited, spent = [], [], 0, {"key": 0.0, "every": 0.0}
        for emotion in emotions:
            timeline = Timeline.parse(f"0:{emotion}@0, {end}:{emotion}@1")
            for frame in frames[1:]:
                if not editor._store.has(frame.index):
                    continue
                speaker = editor._speakers[editor._store.shot(frame.index)]
                mesh = editor._frame(frame)["mesh"]
                began = time.process_time()
                texture, seen = editor._template.unwrap(frame.rgb, mesh), editor._template.visible(mesh)
                look = editor._texture.look(texture, seen)
                looking.append(time.process_time() - began)
                pictures, usual = [], speaker.texture
                # Without what is kept while the controls stay, or the second would be the first.
                for name, how in (("key", usual), ("every", EveryFrame(editor._texture, look))):
                    before, speaker.texture, speaker.shading = clock.seconds.get("texture", 0.0), how, None
                    pictures.append(editor.edit(frame, timeline).astype(np.float32))
                    spent[name] += clock.seconds.get("texture", 0.0) - before
                speaker.texture = usual
                edited += 1
                touched = np.any([(p != frame.rgb).any(2) for p in pictures], axis=0)
                if touched.any():
                    found.append(psnr(*pictures, touched))
        per_look = 1000 * float(np.mean(looking))
        key, every = (1000 * spent[name] / edited + per_look / n for name, n in (("key", LOOK_EVERY), ("every", 1)))
        lines.append(f"| {clip.stem} | {np.mean(found):.1f} | {min(found):.1f} | {key:.1f} | {every:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Runs the command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("clips", nargs="*", type=Path)
    p.add_argument("--data", type=Path, help="folder of the collection, for the inversion")
    p.add_argument("--cache", type=Path, default=Path("build/cache"))
    p.add_argument("--textures", type=Path, default=Path("build/textures"))
    p.add_argument("--weights", type=Path, default=Path("checkpoints/texture_gan.safetensors"))
    p.add_argument("--count", type=int, default=30, help="textures of each source, and frames of each clip")
    p.add_argument("--steps", type=int, default=40, help="of the refinement")
    p.add_argument("--key-frames", metavar="A,B,...", help="emotions to compare with editing every frame by itself")
    args = p.parse_args()
    torch.set_num_threads(1)
    if args.data:
        gan, collection = load_texture_gan(args.weights), Collection(args.data, args.cache)
        textures = load_textures(collection, load_face_model("open"), args.textures, gan.synthesis.size)
        out = np.isin(textures.people, sorted(held_out_people(collection.samples)))
        print(inversion(gan, textures.where(out), args.count, args.steps), end="\n\n")
        print(colour(gan, textures.where(out)), end="\n\n")
    if args.key_frames:
        print(key_frames(args.clips, args.count, tuple(args.key_frames.split(","))))
        return
    for texture in ("linear", "tgan") if args.clips else ():
        print(edits(args.clips, texture, args.count), end="\n\n")


if __name__ == "__main__":
    main()
