"""Run work in threads, as many as this process may use."""

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
    """Count the cores that the process's affinity and its container's quota allow it to use."""
    import joblib

    return joblib.cpu_count()


def limit_cores(count: int) -> None:
    """Limit what `count_cores` returns; call this before any model runs."""
    os.environ["LOKY_MAX_CPU_COUNT"] = str(count)  # joblib reads this
    count_cores.cache_clear()


def map_in_threads(
    function: Callable[[S], T], values: Iterable[S], ahead: int, threads: int | None = None
) -> Generator[T]:
    """Yield ``function(value)`` for each value, in order.

    The calling thread consumes `values`. Close the generator (`contextlib.closing`) if you may
    leave it early: this cancels the calls that have not started.

    Parameters
    ----------
    ahead : int
        Maximum number of results that wait for the caller.
    threads : int, optional
        Number of threads; by default one per core.

    Examples
    --------
    >>> list(map_in_threads(abs, [3, -1, 2], ahead=2))
    [3, 1, 2]
    """
    pending: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(threads or count_cores())
    try:
        for value in values:
            pending.append(pool.submit(function, value))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
