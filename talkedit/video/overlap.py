"""Decoding ahead of and encoding behind the edit, and frames side by side: order, pixels and memory bounds stay."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
Made = TypeVar("Made")

# Items that may wait on either side of the edit.
DEPTH = 2


def ahead(items: Iterator[T], depth: int = DEPTH) -> Iterator[T]:
    """The items in order, made by a thread at most ``depth`` ahead of who asks for them.

    What the source raises is raised here at its place in the order. A generator is closed when this one is.
    """
    waiting: queue.Queue[tuple[T | None, BaseException | None, bool]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(*entry: Any) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        try:
            for item in items:
                if not put(item, None, False):
                    return
            put(None, None, True)
        except BaseException as error:
            put(None, error, True)
        finally:
            if isinstance(items, Generator):
                items.close()

    thread = threading.Thread(target=run, name="decode", daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = waiting.get()
            if error is not None:
                raise error
            if last:
                return
            yield item
    finally:
        stopped.set()
        thread.join()


def side_by_side(function: Callable[[T], Made], items: Iterable[T], workers: int) -> Generator[Made]:
    """What a function makes of each item, in order, while ``workers`` threads call it and the caller's makes the items.

    At most ``workers`` + 1 items are under way. What the function raises is raised here at its place in the order.
    """
    if workers == 1:
        yield from map(function, items)
        return
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="paint") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class Behind:
    """Calls a function in order in a thread of its own, at most ``depth`` calls behind; a context manager.

    What a call raises is raised by a later call or when the block ends. Nothing is called after an error.

    Args:
        function: what to call; its results are dropped.
        depth: how many calls may wait.
    """

    def __init__(self, function: Callable[..., object], depth: int = DEPTH) -> None:
        self._function, self._depth = function, depth
        self._waiting: list[Future] = []
        self._failed = threading.Event()

    def __enter__(self) -> Behind:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="encode")
        return self

    def __call__(self, *arguments: object) -> None:
        """Queues one call; waits while too many are queued."""
        while len(self._waiting) >= self._depth:
            self._waiting.pop(0).result()
        self._waiting.append(self._pool.submit(self._run, arguments))

    def _run(self, arguments: tuple) -> None:
        if self._failed.is_set():
            return
        try:
            self._function(*arguments)
        except BaseException:
            self._failed.set()
            raise

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self._failed.set()  # what still waits is not wanted any more
        self._pool.shutdown(wait=True)
        if kind is None:
            for future in self._waiting:
                future.result()
