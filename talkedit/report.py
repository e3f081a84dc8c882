"""What a run did and how long each stage took."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TypeVar

Item = TypeVar("Item")


class StageClock:
    """Seconds spent in each stage, each second of a thread counted once: an inner stage pauses the outer one.

    Threads that work side by side each count their own, so the stages may add up to more than ``elapsed``.

    >>> clock = StageClock()
    >>> with clock.stage("track"):
    ...     pass

    Args:
        now: seconds since some start; `time.process_time` leaves out what other processes do.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._began = now()
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()
        self._own = threading.local()

    @property
    def elapsed(self) -> float:
        """Seconds since the clock was made."""
        return self._now() - self._began

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the block under ``name``."""
        self._book()
        self._own.running.append(name)
        try:
            yield
        finally:
            self._book()
            self._own.running.pop()

    __call__ = stage

    def iterate(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """Yield from ``items``, counting under ``name`` only the time it takes to produce each."""
        iterator = iter(items)
        while True:
            with self.stage(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def _book(self) -> None:
        own, now = self._own, self._now()
        running = own.__dict__.setdefault("running", [])
        if running:
            with self._lock:
                self.seconds[running[-1]] = self.seconds.get(running[-1], 0.0) + now - own.since
        own.since = now


def collapse_skipped(skipped: Iterable[tuple[int, str]]) -> list[dict]:
    """Join neighbouring frames skipped for the same reason: ``[{"first": 3, "last": 9, "reason": ...}, ...]``."""
    ranges: list[dict] = []
    for frame, reason in sorted(skipped):
        if ranges and ranges[-1]["reason"] == reason and frame <= ranges[-1]["last"] + 1:
            ranges[-1]["last"] = frame
        else:
            ranges.append({"first": frame, "last": frame, "reason": reason})
    return ranges


def peak_memory_mb() -> float | None:
    """Largest resident memory of this process so far, in MiB; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)


@dataclass
class EditReport:
    """The record of one edit.

    Attributes:
        source, output: paths as given.
        emotion: the emotion or timeline as text (`Timeline.describe`).
        frames: frames written.
        edited_frames: frames that differ from the source.
        skipped: ranges of frames that were to be edited and were not, ``{"first", "last", "reason"}``.
        seconds: seconds per stage; threads work on several at once, so they add up to more than the run took.
        ms_per_frame, fps: speed over the whole run, all stages.
        peak_memory_mb: largest resident memory in MiB, None if unknown.
        notes: sentences the user should read.
        metrics: measures that need no reference.
        version: version of talkedit.
    """

    source: str
    output: str
    emotion: str
    version: str
    frames: int = 0
    edited_frames: int = 0
    skipped: list[dict] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    ms_per_frame: float = 0.0
    fps: float = 0.0
    peak_memory_mb: float | None = None
    notes: list[str] = field(default_factory=list)
    metrics: dict = field(default_factory=dict)

    def close(self, clock: StageClock) -> None:
        """Take over the times of ``clock`` and work out the speed."""
        total = clock.elapsed
        self.seconds = {name: round(value, 4) for name, value in clock.seconds.items()}
        if self.frames and total > 0:
            self.ms_per_frame = round(1000 * total / self.frames, 3)
            self.fps = round(self.frames / total, 3)
        self.peak_memory_mb = peak_memory_mb()

    def to_json(self) -> str:
        """The report as indented JSON; numpy scalars become plain numbers."""
        return json.dumps(asdict(self), indent=2, default=_plain)


def _plain(value: object) -> object:
    for name in ("tolist", "item"):
        if hasattr(value, name):
            return getattr(value, name)()
    return str(value)
