from __future__ import annotations

import os
import threading
import time
from contextlib import closing

import pytest

from siamese.utils.threads import count_cores, map_in_threads


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_count_cores_respects_affinity():
    before = os.sched_getaffinity(0)
    count_cores.cache_clear()
    try:
        os.sched_setaffinity(0, {min(before)})
        assert count_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
        count_cores.cache_clear()


@pytest.mark.parametrize("ahead", [0, 1, 7, 100])
def test_results_are_in_order(ahead):
    def work(value: int) -> int:
        time.sleep(0.002 * (value % 3 == 0))
        return value**2

    assert list(map_in_threads(work, range(20), ahead)) == [value**2 for value in range(20)]


def test_at_most_ahead_results_wait():
    started = []
    with closing(map_in_threads(started.append, iter(range(100)), ahead=5)) as results:
        next(results)
        assert len(started) <= 6


def test_calls_not_started_when_closed_never_start():
    started, go_on = [], threading.Event()

    def work(value: int) -> int:
        started.append(value)
        if value:
            go_on.wait()
        return value

    with closing(map_in_threads(work, range(1000), ahead=999)) as results:
        assert next(results) == 0
        threading.Timer(0.1, go_on.set).start()
    assert len(started) < 1000
    count = len(started)
    time.sleep(0.05)
    assert len(started) == count


def test_error_is_raised_in_place_of_its_result():
    with closing(map_in_threads(lambda value: 1 // value, [1, 0, 1], ahead=2)) as results:
        assert next(results) == 1
        with pytest.raises(ZeroDivisionError):
            next(results)
