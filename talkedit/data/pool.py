"""Units handed out to processes. A process that dies takes one item with it, never the run."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from talkedit.data.item import Settings, Unit
from talkedit.data.worker import work
from talkedit.errors import TalkeditError

# Read by libraries when they are loaded, so they must be set before a process starts.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass
class _Worker:
    """A process, the unit it works on, and the item of the unit that it named last."""

    process: BaseProcess
    connection: Connection
    ready: bool = False
    unit: Unit | None = None
    key: str = ""


def run_units(
    units: Sequence[Unit],
    root: Path,
    out: Path,
    settings: Settings,
    processes: int,
    done: Callable[[int], None],
) -> None:
    """Prepares all units. On any exception, Ctrl-C included, the processes are ended; files stay whole.

    Args:
        units: what is to be done, handed out in this order.
        root: the data set's folder.
        out: the prepared folder.
        settings: of the folder.
        processes: how many to run at once.
        done: called with the number of items of each finished unit.

    Raises:
        TalkeditError: a process cannot start, or cannot write.
    """
    waiting = deque(units)
    workers: list[_Worker] = []
    try:
        while waiting or workers:
            while waiting and len(workers) < processes:
                workers.append(_start(root, out, settings))
            for connection in wait([w.connection for w in workers]):
                worker = next(w for w in workers if w.connection is connection)
                try:
                    message = worker.connection.recv()
                except (EOFError, OSError):
                    workers.remove(worker)
                    waiting.extendleft(_rest(worker))
                    continue
                _take(worker, message, done)
                if worker.unit is None and worker.ready:
                    if waiting:
                        _hand_out(worker, waiting)
                    else:
                        workers.remove(worker)
                        worker.connection.close()
                        worker.process.join()
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join()
            worker.connection.close()


def _start(root: Path, out: Path, settings: Settings) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with _one_thread_each():
        process = context.Process(target=work, args=(theirs, root, out, settings), daemon=True)
        process.start()
    theirs.close()
    return _Worker(process, ours)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _take(worker: _Worker, message: tuple, done: Callable[[int], None]) -> None:
    kind, *rest = message
    if kind == "failed":
        raise TalkeditError(rest[0])
    if kind == "at":
        worker.key = rest[0]
    elif kind == "ready":
        worker.ready = True
    elif kind == "done":
        worker.unit, worker.key = None, ""
        done(rest[0])


def _hand_out(worker: _Worker, waiting: deque[Unit]) -> None:
    worker.unit = waiting.popleft()
    with suppress(OSError):  # if it has just died, its connection will say so
        worker.connection.send(worker.unit)


def _rest(worker: _Worker) -> list[Unit]:
    """What is left to do after a process died: its unit, without the item that it died of."""
    worker.process.join()
    worker.connection.close()
    if not worker.ready:
        raise TalkeditError(f"a process could not be started (exit code {worker.process.exitcode})")
    if worker.unit is None:
        return []
    return [worker.unit.without(worker.key) if worker.key else worker.unit]
