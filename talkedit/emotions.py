"""Emotion names, the emotion code of Eq. 2, action units beside it, and timelines that change both over a clip."""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from talkedit.errors import InputError

EMOTIONS = ("happy", "angry", "sad", "surprised", "fear", "disgusted", "contempt")
NEUTRAL = "neutral"
ACTION_UNITS = tuple(f"AU{n}" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45))
"""The action units of FACS that can be asked for by themselves."""
CONTROLS = (*EMOTIONS, NEUTRAL, *ACTION_UNITS)
"""What an edit is made of: the emotion code, how much of the own emotion to take out, action units."""
MAX_INTENSITY = 1.5


def check_intensity(value: float | str) -> float:
    """Return ``value`` as a float in 0..1.5; 1 is the emotion fully acted, above it exaggerates.

    Raises:
        InputError: not a number, NaN, infinite, negative or above 1.5.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"intensity '{value}' is not a number") from None
    if not math.isfinite(number):
        raise InputError(f"intensity must be a finite number, not {number}")
    if number < 0:
        raise InputError(f"intensity must not be negative, but is {number:g}")
    if number > MAX_INTENSITY:
        raise InputError(f"intensity must be at most {MAX_INTENSITY:g}, but is {number:g}")
    return number


def check_emotion(name: str) -> str:
    """Return the canonical spelling of an emotion or ``"neutral"``; raise InputError for any other name."""
    clean = str(name).strip().lower()
    known = (*EMOTIONS, NEUTRAL)
    if clean in known:
        return clean
    close = difflib.get_close_matches(clean, known, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise InputError(f"unknown emotion '{name}'{hint}; choose from {', '.join(known)}")


def code(name: str, intensity: float = 1.0) -> np.ndarray:
    """The emotion code e of Eq. 2: (7,) float32, ``intensity`` at the class index; zeros for ``"neutral"``.

    Raises:
        InputError: unknown emotion, or an intensity that `check_intensity` refuses.
    """
    clean, strength = check_emotion(name), check_intensity(intensity)
    result = np.zeros(len(EMOTIONS), np.float32)
    if clean != NEUTRAL:
        result[EMOTIONS.index(clean)] = strength
    return result


def parse_mix(text: str, intensity: float = 1.0) -> np.ndarray:
    """Code of ``"happy"``, ``"happy@0.8"`` or a mix ``"happy@0.5+surprised@0.3"``: (7,) float32.

    ``intensity`` stands where no ``@`` is given. A mix adds up to at most 1.5.

    Raises:
        InputError: names the piece of ``text`` that is wrong.
    """
    return parse_controls(text, intensity)[: len(EMOTIONS)]


def parse_controls(text: str, intensity: float = 1.0) -> np.ndarray:
    """(25,) float32 over ``CONTROLS`` of a mix, which may hold action units: ``"happy@0.5+AU4@0.8"``.

    ``neutral`` by itself leaves the speaker alone; ``neutral@0.8`` takes 0.8 of the speaker's own emotion out. It
    counts towards the 1.5 that emotions may add up to, action units do not.

    Raises:
        InputError: names the piece of ``text`` that is wrong.
    """
    total = np.zeros(len(CONTROLS), np.float32)
    for part in text.split("+"):
        name, at, strength = part.partition("@")
        if not name.strip():
            raise InputError(f"an emotion is missing in '{text.strip()}'")
        value = check_intensity(strength.strip() if at else intensity)
        place = CONTROLS.index(_check_control(name))
        if total[place] > 0 and value > 0:
            raise InputError(f"'{name.strip()}' stands twice in '{text.strip()}'")
        if at or CONTROLS[place] != NEUTRAL:
            total[place] = value
    feelings = total[: len(EMOTIONS) + 1].sum()
    if feelings > MAX_INTENSITY + 1e-6:
        raise InputError(f"the intensities in '{text.strip()}' add up to {feelings:g}, above {MAX_INTENSITY:g}")
    return total


def _check_control(name: str) -> str:
    """The canonical spelling of an emotion, ``"neutral"`` or an action unit."""
    unit = name.strip().upper()
    if not re.fullmatch(r"AU\s*\d+", unit):
        return check_emotion(name)
    unit = unit.replace(" ", "")
    if unit not in ACTION_UNITS:
        raise InputError(f"unknown action unit '{name.strip()}'; choose from {', '.join(ACTION_UNITS)}")
    return unit


def parse_units(text: str) -> np.ndarray:
    """(17,) float32 over ``ACTION_UNITS`` of ``"AU12=0.8,AU4=0.5"``.

    Raises:
        InputError: names the piece of ``text`` that is wrong.
    """
    units = np.zeros(len(ACTION_UNITS), np.float32)
    for part in filter(None, map(str.strip, text.split(","))):
        name, equals, strength = part.partition("=")
        if not equals or not re.fullmatch(r"AU\s*\d+", name.strip().upper()):
            raise InputError(f"'{part}' is not an action unit; write NAME=STRENGTH, such as AU12=0.8")
        place = ACTION_UNITS.index(_check_control(name))
        if units[place] > 0:
            raise InputError(f"'{name.strip()}' stands twice in '{text.strip()}'")
        units[place] = check_intensity(strength.strip())
    return units


def describe_code(values: np.ndarray) -> str:
    """Controls as text that `parse_controls` reads back: ``"happy@0.50+sad@0.20"``, ``"AU4@0.80"``, ``"neutral"``.

    Args:
        values: over ``CONTROLS``, or over the first of them.
    """
    parts = [f"{name}@{value:.2f}" for name, value in zip(CONTROLS, values, strict=False) if value > 0]
    return "+".join(parts) or NEUTRAL


@dataclass(frozen=True, eq=False)
class Timeline:
    """The emotion code as a function of time: linear between points, held before the first and after the last.

    Attributes:
        times: (N,) float64, seconds, strictly increasing.
        codes: (N, 7) float32.
        start, end: window in seconds outside which the code is zero; None = open.
        fade: seconds over which the code ramps to zero inside each end of the window.
        beside: (N, 18) float32, the ``CONTROLS`` beside the emotion code; None = zeros.
    """

    times: np.ndarray
    codes: np.ndarray
    start: float | None = None
    end: float | None = None
    fade: float = 0.0
    beside: np.ndarray | None = None

    @classmethod
    def constant(cls, name: str, intensity: float = 1.0) -> Timeline:
        """One emotion (or mix, see `parse_controls`) for the whole clip."""
        return cls._of(np.zeros(1), parse_controls(name, check_intensity(intensity))[None])

    @classmethod
    def _of(cls, times: np.ndarray, controls: np.ndarray) -> Timeline:
        return cls(times, controls[:, : len(EMOTIONS)], beside=controls[:, len(EMOTIONS) :])

    @classmethod
    def parse(cls, source: str | Path, intensity: float = 1.0) -> Timeline:
        """Read ``"0:neutral, 1.5:happy@0.8, 4:sad"``, or a text or JSON file that holds a timeline.

        Points are ``seconds:mix``, parted by commas, semicolons or new lines; ``#`` starts a comment. JSON is an
        object ``{"0": "neutral", "1.5": "happy@0.8"}`` or a list of ``{"time": 1.5, "emotion": "happy",
        "intensity": 0.8}``.

        Raises:
            InputError: names the piece that is wrong.
        """
        text = _read_timeline(source)
        points = _json_points(text) if text.lstrip()[:1] in ("{", "[") else _text_points(text)
        times, codes = [], []
        for seconds, mix in points:
            time = _parse_time(seconds)
            if times and time <= times[-1]:
                raise InputError(f"timeline times must increase, but {time:g} follows {times[-1]:g}")
            times.append(time)
            codes.append(parse_controls(mix, intensity))
        if not times:
            raise InputError("the timeline is empty; write for example '0:neutral, 1.5:happy@0.8'")
        return cls._of(np.array(times), np.stack(codes))

    def with_units(self, units: np.ndarray) -> Timeline:
        """The same timeline with (17,) action units on top, all the time."""
        beside = self._all()[:, len(EMOTIONS) :].copy()
        beside[:, 1:] += units
        return replace(self, beside=beside)

    def _all(self) -> np.ndarray:
        """(N, 25) all controls at the points."""
        rest = np.zeros((len(self.codes), len(CONTROLS) - len(EMOTIONS)), np.float32)
        return np.concatenate([self.codes, rest if self.beside is None else self.beside], 1)

    def window(self, start: float | None, end: float | None, fade: float = 0.2) -> Timeline:
        """The same timeline between ``start`` and ``end`` (seconds, None = open), zero outside.

        The code ramps linearly over ``fade`` seconds inside each end, over half the window if that is shorter.

        Raises:
            InputError: a bound is negative or not finite, or the end is not after the start.
        """
        for name, value in (("start", start), ("end", end)):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(f"the {name} must be a time in seconds from 0 up, not {value:g}")
        if end is not None and end <= (start or 0.0):
            raise InputError(f"the end ({end:g} s) must come after the start ({start or 0.0:g} s)")
        if start is not None and end is not None:
            fade = min(fade, (end - start) / 2)
        return replace(self, start=start, end=end, fade=fade)

    def code(self, t_seconds: float) -> np.ndarray:
        """Emotion code at a time: (7,) float32."""
        return self.controls(t_seconds)[: len(EMOTIONS)]

    def controls(self, t_seconds: float) -> np.ndarray:
        """All ``CONTROLS`` at a time: (25,) float32."""
        points = self._all().astype(np.float64)
        if len(points) == 1:  # nothing to interpolate, for most edits, many times a frame
            return (points[0] * self._gain(t_seconds)).astype(np.float32)
        values = [np.interp(t_seconds, self.times, column) for column in points.T]
        return (np.array(values) * self._gain(t_seconds)).astype(np.float32)

    def _gain(self, t: float) -> float:
        gain = 1.0
        fade = max(self.fade, 1e-9)
        if self.start is not None:
            gain = min(gain, (t - self.start) / fade)
        if self.end is not None:
            gain = min(gain, (self.end - t) / fade)
        return max(gain, 0.0)

    @property
    def is_zero(self) -> bool:
        """True if nothing is edited at any time."""
        return not np.any(self._all())

    @property
    def strongest(self) -> float:
        """The largest total intensity of emotions at any point."""
        return float(self._all()[:, : len(EMOTIONS) + 1].sum(axis=1).max())

    def describe(self) -> str:
        """Short text for reports and metadata; `parse` (or `parse_controls`) reads it back."""
        if len(self.times) == 1:
            return describe_code(self._all()[0])
        return ", ".join(f"{t:g}:{describe_code(c)}" for t, c in zip(self.times, self._all(), strict=True))


def _read_timeline(source: str | Path) -> str:
    """The timeline's text: the file's content where ``source`` names one, else ``source`` itself."""
    text = os.fspath(source)
    is_text = not isinstance(source, Path) and (not text.strip() or ":" in text or text.lstrip()[0] in "[{")
    if is_text and not os.path.isfile(text):
        return text
    try:
        return Path(text).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError):
        if isinstance(source, Path) or Path(text).suffix:
            raise InputError(f"the timeline file '{text}' cannot be read") from None
        raise InputError(f"'{text}' is neither a timeline such as '0:neutral, 1.5:happy@0.8' nor a file") from None


def _text_points(text: str) -> Iterable[tuple[str, str]]:
    for line in text.splitlines():
        for piece in line.partition("#")[0].replace(";", ",").split(","):
            if not piece.strip():
                continue
            seconds, colon, mix = piece.partition(":")
            if not colon or not mix.strip():
                raise InputError(f"'{piece.strip()}' is not a timeline point; write seconds:emotion, such as 1.5:happy")
            yield seconds, mix


def _json_points(text: str) -> Iterable[tuple[str, str]]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"the timeline is not valid JSON (line {error.lineno}: {error.msg})") from None
    items = [{"time": time, "emotion": mix} for time, mix in data.items()] if isinstance(data, dict) else data
    for item in items:
        if not isinstance(item, dict) or "time" not in item or not isinstance(item.get("emotion"), str):
            raise InputError(f'{json.dumps(item)} is not a timeline point; it needs "time" and "emotion"')
        at = f"@{item['intensity']}" if "intensity" in item else ""
        yield str(item["time"]), item["emotion"] + at


def _parse_time(text: str) -> float:
    try:
        time = float(text)
    except ValueError:
        raise InputError(f"'{text.strip()}' is not a time in seconds") from None
    if not math.isfinite(time) or time < 0:
        raise InputError(f"a timeline time must be a number of seconds from 0 up, not '{text.strip()}'")
    return time
