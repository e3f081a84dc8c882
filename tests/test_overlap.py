"""Threads before and behind the edit keep order, errors and bounds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talkedit.video.overlap import Behind, ahead, side_by_side


def decoders() -> int:
    return sum(thread.name == "decode" for thread in threading.enumerate())


@given(items=st.lists(st.integers()), depth=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_ahead_keeps_order_and_count(items: list[int], depth: int) -> None:
    assert list(ahead(iter(items), depth)) == items
    assert decoders() == 0


def test_ahead_runs_no_further_than_its_depth() -> None:
    made = []

    def source() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            yield i

    items = ahead(source(), 2)
    assert next(items) == 0
    time.sleep(0.3)
    assert len(made) <= 1 + 2 + 1  # taken, waiting, and the one in hand
    items.close()
    assert decoders() == 0 and len(made) < 100


def test_ahead_raises_in_its_place_and_closes_the_source() -> None:
    closed = []

    def source() -> Iterator[int]:
        try:
            yield 1
            raise ValueError("damaged")
        finally:
            closed.append(True)

    items = ahead(source())
    assert next(items) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(items)
    assert closed == [True] and decoders() == 0


def test_behind_calls_in_order_and_waits_for_the_last() -> None:
    done = []

    def slow(i: int) -> None:
        time.sleep(0.002)
        done.append(i)

    with Behind(slow) as call:
        for i in range(30):
            call(i)
            assert len(done) >= i - 2
    assert done == list(range(30))


def test_behind_reports_an_error_and_stops() -> None:
    done = []

    def fails_at_three(i: int) -> None:
        if i == 3:
            raise OSError("disk full")
        done.append(i)

    with pytest.raises(OSError, match="disk full"), Behind(fails_at_three) as call:
        for i in range(30):
            call(i)
    assert done == [0, 1, 2]


def test_the_last_call_fails_when_the_block_ends() -> None:
    def fail() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), Behind(fail) as call:
        call()


def test_an_error_in_the_block_is_the_one_that_is_seen() -> None:
    done = []
    with pytest.raises(KeyError), Behind(done.append) as call:
        call(1)
        raise KeyError("edit")
    assert len(done) <= 1


@given(items=st.lists(st.integers()), workers=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_side_by_side_keeps_order_and_count(items: list[int], workers: int) -> None:
    def function(item: int) -> int:
        time.sleep(0.001 * (item % 3))
        return 2 * item

    assert list(side_by_side(function, items, workers)) == [2 * item for item in items]


def test_side_by_side_works_on_as_many_as_it_may_and_asks_for_few_more() -> None:
    asked, both = [], threading.Barrier(2, timeout=10)

    def items() -> Iterator[int]:
        for i in range(6):
            asked.append(i)
            yield i

    results = side_by_side(lambda i: both.wait() >= 0, items(), 2)  # passes only if two are in there at once
    assert next(results) and len(asked) <= 4
    assert all(results) and len(asked) == 6


def test_side_by_side_raises_in_its_place_and_stops() -> None:
    def function(item: int) -> int:
        if item == 2:
            raise ValueError("damaged")
        return item

    for workers in (1, 2):
        results = side_by_side(function, range(100), workers)
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ValueError, match="damaged"):
            next(results)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("paint")]
