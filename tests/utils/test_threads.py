from __future__ import annotations

import os
import threading
import time
from contextlib import closing

import pytest

from siamese.utils.threads import count_cores, map_in_threads


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a matter of Linux")
def test_cores_that_are_not_ours_do_not_count():
    before = os.sched_getaffinity(0)
    count_cores.cache_clear()
    try:
        os.sched_setaffinity(0, {min(before)})
        assert count_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
        count_cores.cache_clear()


@pytest.mark.parametrize("ahead", [0, 1, 7, 100])
def test_results_come_in_order_whatever_takes_longest(ahead):
    def work(value: int) -> int:
        time.sleep(0.002 * (value % 3 == 0))
        return value**2

    assert list(map_in_threads(work, range(20), ahead)) == [value**2 for value in range(20)]


def test_no_more_wait_than_are_asked_for():
    begun = []
    with closing(map_in_threads(begun.append, iter(range(100)), ahead=5)) as results:
        next(results)
        assert len(begun) <= 6


def test_what_has_not_begun_when_it_is_closed_never_begins():
    begun, go_on = [], threading.Event()

    def work(value: int) -> int:
        begun.append(value)
        if value:
            go_on.wait()
        return value

    with closing(map_in_threads(work, range(1000), ahead=999)) as results:
        assert next(results) == 0
        threading.Timer(0.1, go_on.set).start()
    assert len(begun) < 1000
    at_once = len(begun)
    time.sleep(0.05)
    assert len(begun) == at_once


def test_an_error_is_raised_where_its_result_was_due():
    with closing(map_in_threads(lambda value: 1 // value, [1, 0, 1], ahead=2)) as results:
        assert next(results) == 1
        with pytest.raises(ZeroDivisionError):
            next(results)
