"""Work in threads, in order, that ends at once when it is stopped."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


@cache
def count_cores() -> int:
    """The cores that this process may keep busy: its affinity, and a container's quota, count."""
    import joblib

    return joblib.cpu_count()


def limit_cores(count: int) -> None:
    """Keep no more busy; before any model runs."""
    os.environ["LOKY_MAX_CPU_COUNT"] = str(count)  # which joblib reads
    count_cores.cache_clear()


def map_in_threads(
    work: Callable[[S], T], values: Iterable[S], ahead: int, threads: int | None = None
) -> Generator[T]:
    """Yield `work(value)` of each value, in order; at most `ahead` results wait to be taken.

    Close it (`contextlib.closing`) where it may be left early: what has not begun by then never
    begins. Otherwise a process that is stopped would first do all that is waiting.

    Parameters
    ----------
    threads : as many as there are `cores`, where it is None
    """
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(threads or count_cores())
    try:
        for value in values:
            waiting.append(pool.submit(work, value))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
