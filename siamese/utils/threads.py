"""Run work in threads: results in order, and nothing more started once the caller stops."""

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
    """Count the cores that this process may use.

    Returns
    -------
    int
        Number of cores, given the process's affinity and a container's quota.
    """
    import joblib

    return joblib.cpu_count()


def limit_cores(count: int) -> None:
    """Limit what `count_cores` returns; call it before any model runs.

    Parameters
    ----------
    count : int
        Number of cores, at least 1.
    """
    os.environ["LOKY_MAX_CPU_COUNT"] = str(count)  # joblib reads this
    count_cores.cache_clear()


def map_in_threads(
    function: Callable[[S], T], values: Iterable[S], ahead: int, threads: int | None = None
) -> Generator[T]:
    """Yield ``function(value)`` for each value, in order.

    Close the generator (`contextlib.closing`) if it may be left early. Calls that have not started
    then never start; otherwise a stopped process would first work through all of them.

    Parameters
    ----------
    function : callable
        Called with one value at a time, in several threads.
    values : iterable
        The values. It is consumed in the calling thread.
    ahead : int
        Number of results that may wait for the caller.
    threads : int, optional
        Number of threads; by default one per core.

    Yields
    ------
    object
        The results.

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
