"""Babble: syllables as mouth targets over time, and a sound that fits them. No words, no language."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter

SAMPLE_RATE = 44100
# vowel: (opening, rounding, spreading) of the mouth in 0..1, and its first three formants in Hz.
VOWELS = {
    "a": ((1.00, 0.00, 0.10), (780, 1250, 2600)),
    "e": ((0.55, 0.00, 0.65), (480, 1950, 2650)),
    "i": ((0.28, 0.00, 0.90), (310, 2250, 2950)),
    "o": ((0.62, 0.75, 0.00), (460, 850, 2500)),
    "u": ((0.30, 1.00, 0.00), (330, 720, 2350)),
}
# consonant: (opening left, lips pressed, loudness left, hiss).
CONSONANTS = {
    "m": (0.0, 0.8, 0.45, 0.0),
    "b": (0.0, 1.0, 0.08, 0.0),
    "d": (0.20, 0.0, 0.15, 0.15),
    "n": (0.18, 0.0, 0.50, 0.0),
    "l": (0.30, 0.0, 0.70, 0.0),
    "s": (0.14, 0.0, 0.10, 1.0),
}


@dataclass(frozen=True)
class Syllable:
    """One syllable: starts at ``start`` seconds, lasts ``length``; ``stress`` scales opening and loudness."""

    start: float
    length: float
    consonant: str
    vowel: str
    stress: float


@dataclass(frozen=True)
class Mouth:
    """Targets per frame, each (T,) in 0..1."""

    opening: np.ndarray
    rounding: np.ndarray
    spreading: np.ndarray
    pressing: np.ndarray
    emphasis: np.ndarray


def babble(seconds: float, rng: np.random.Generator) -> list[Syllable]:
    """Phrases of four to seven syllables at 4 to 6 a second, with pauses between; no consonant twice in a row."""
    out: list[Syllable] = []
    now, last = 0.3, ""
    while now < seconds - 0.7:
        count = int(rng.integers(4, 8))
        for n in range(count):
            length = float(rng.uniform(0.165, 0.235)) * (1.3 if n == count - 1 else 1.0)
            if now + length > seconds - 0.25:
                break
            choices = [c for c in CONSONANTS if c != last]
            last = str(rng.choice(choices))
            vowel = str(rng.choice(list(VOWELS), p=[0.3, 0.22, 0.16, 0.2, 0.12]))
            out.append(Syllable(now, length, last, vowel, float(rng.uniform(0.7, 1.0)) + 0.12 * (n == 1)))
            now += length
        now += float(rng.uniform(0.28, 0.42))
    return out


def mouth_track(syllables: list[Syllable], frames: int, fps: float) -> Mouth:
    """Key poses at consonants and vowels, joined by monotone curves and softened as muscles are slow."""
    keys = [(-0.2, 0.0, 0.0, 0.0, 0.15, 0.0)]
    for n, s in enumerate(syllables):
        (opening, rounding, spreading), _ = VOWELS[s.vowel]
        left, press, _, _ = CONSONANTS[s.consonant]
        if s.start - keys[-1][0] > 0.15:  # at rest before a phrase
            keys.append((s.start - 0.1, 0.02, 0.0, 0.0, 0.0, 0.0))
        # Lips prepare the vowel during the consonant.
        keys.append((s.start + 0.03, left * opening + left * 0.2, 0.6 * rounding, 0.5 * spreading, press, s.stress))
        keys.append((s.start + 0.5 * s.length, opening * s.stress, rounding, spreading, 0.0, s.stress))
        ends = n + 1 == len(syllables) or syllables[n + 1].start - s.start - s.length > 0.1
        if ends:
            keys.append((s.start + s.length + 0.06, 0.03, 0.2 * rounding, 0.1, 0.1, 0.0))
    keys.append((keys[-1][0] + 1.0, 0.0, 0.0, 0.0, 0.15, 0.0))
    table = np.array(keys)
    fine = 200.0  # samples a second before softening
    t = np.arange(int(frames / fps * fine) + 1) / fine
    curves = PchipInterpolator(table[:, 0], table[:, 1:])(np.clip(t, table[0, 0], table[-1, 0]))
    curves = gaussian_filter1d(curves, 0.017 * fine, axis=0, mode="nearest")
    at = np.minimum((np.arange(frames) / fps * fine).round().astype(int), len(t) - 1)
    return Mouth(*np.clip(curves[at], 0, 1.15).T)


def voice(syllables: list[Syllable], seconds: float, rng: np.random.Generator, pitch: float) -> np.ndarray:
    """(N,) float32 in -1..1 at SAMPLE_RATE: a buzzing source through each vowel's formants, quietly.

    Args:
        syllables: from `babble`.
        seconds: length.
        rng: for breath and hiss.
        pitch: Hz.
    """
    n = round(seconds * SAMPLE_RATE)
    t = np.arange(n) / SAMPLE_RATE
    melody = pitch * (1 + 0.012 * np.sin(2 * np.pi * 5.1 * t))
    gains = {v: np.zeros(n) for v in VOWELS}
    hiss = np.zeros(n)
    for s in syllables:
        local = (t - s.start) / s.length
        melody *= 1 + 0.10 * s.stress * np.exp(-(((local - 0.4) / 0.5) ** 2))
        _, _, loud, noise = CONSONANTS[s.consonant]
        body = np.clip(local / 0.25, loud, 1) * np.clip((1.15 - local) / 0.3, 0, 1) * (local > -0.05) * (local < 1.15)
        gains[s.vowel] += body * s.stress
        hiss += noise * np.exp(-(((t - s.start - 0.03) / 0.035) ** 2))
    phase = np.cumsum(melody) / SAMPLE_RATE
    source = (phase % 1.0) ** 2 - 1 / 3 + 0.02 * rng.normal(size=n)
    out = np.zeros(n)
    for v, (_, formants) in VOWELS.items():
        sound = source
        for f, width in zip(formants, (80, 100, 140), strict=True):
            radius = np.exp(-np.pi * width / SAMPLE_RATE)
            a = [1, -2 * radius * np.cos(2 * np.pi * f / SAMPLE_RATE), radius**2]
            sound = lfilter([sum(a)], a, sound)
        out += sound / (np.sqrt(np.mean(sound**2)) + 1e-9) * gaussian_filter1d(gains[v], 0.012 * SAMPLE_RATE)
    out += 0.25 * lfilter([1, -0.95], [1], rng.normal(size=n)) * hiss
    fade = np.clip(np.minimum(t, seconds - t) / 0.05, 0, 1)
    return (0.12 * out / (np.abs(out).max() + 1e-9) * fade).astype(np.float32)
