"""Work in threads, in order, that ends at once when it is stopped."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")

_cores = os.cpu_count() or 1


def cores() -> int:
    """How many processors this process may keep busy: all, unless `use_cores` said otherwise."""
    return _cores


def use_cores(count: int) -> None:
    """Keep no more processors busy; before any model runs."""
    global _cores
    _cores = count


def in_threads(work: Callable[[S], T], values: Iterable[S], ahead: int) -> Generator[T]:
    """Yield `work(value)` of each value, in order; at most `ahead` results wait to be taken.

    Close it (`contextlib.closing`) where it may be left early: what has not begun by then never
    begins. Otherwise a process that is stopped would first do all that is waiting.
    """
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(cores())
    try:
        for value in values:
            waiting.append(pool.submit(work, value))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
