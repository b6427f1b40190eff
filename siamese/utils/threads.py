"""Thread pools, and the number of cores that this process may use."""

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
    """Count the cores that the process may use, given its CPU affinity and container quota."""
    import joblib

    return joblib.cpu_count()


def limit_cores(count: int) -> None:
    """Limit the number that `count_cores` returns; call this before loading a model."""
    os.environ["LOKY_MAX_CPU_COUNT"] = str(count)  # `joblib.cpu_count` reads this variable
    count_cores.cache_clear()


def map_in_threads(
    function: Callable[[S], T], values: Iterable[S], ahead: int, threads: int | None = None
) -> Generator[T]:
    """Call a function on each value in a thread pool, and yield the results in order.

    Values are read in the calling thread. If you may stop early, close the generator (for example
    with `contextlib.closing`), which cancels the calls that have not started.

    Parameters
    ----------
    ahead : int
        Maximum number of calls submitted beyond the one whose result is yielded next.
    threads : int, optional
        Number of threads. By default, one per core.

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
