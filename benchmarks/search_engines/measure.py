"""Measure one engine in a process of its own: `build` writes its files, `ask` queries them.

The results are written as JSON. Only the libraries of the engine are loaded, so that the process
takes as much memory as a program that searches with this engine.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from search_engines.engines import ENGINES, Engine, Ours

FEWEST = 20
"""Number of single queries that are always measured, however long they take."""
WIDTHS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)
"""Values of `ef` of a peer, tried in this order until it reaches the required recall."""


def resident_mb(field: str = "VmRSS") -> float:
    """Return the memory of this process and its children in MB, now or at most (VmHWM); Linux."""

    def processes(pid: str) -> Iterator[str]:
        yield pid
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                yield from processes(child)

    kilobytes = 0
    for pid in processes("self"):
        _, found, amount = Path(f"/proc/{pid}/status").read_text().partition(f"{field}:")
        kilobytes += int(amount.split()[0]) if found else 0  # a process that has ended has none
    return kilobytes / 1024


def size_of(path: Path) -> float:
    """Return the size of a file or of all files in a folder, in MB."""
    files = [path, *path.rglob("*")]
    return sum(file.stat().st_size for file in files if file.is_file()) / 2**20


def build(engine: Engine, data: Path, path: Path) -> dict[str, Any]:
    """Build the files of an engine.

    Returns
    -------
    dict
        `seconds` from vectors and metadata in memory to the files, `megabytes` of the files,
        `peak_mb` of the process, and `versions` of the packages.
    """
    prepared = engine.prepare(data)
    start = time.perf_counter()
    engine.build(prepared, path)
    seconds = time.perf_counter() - start
    names = ("numpy", *engine.packages)
    return {
        "seconds": seconds,
        "megabytes": size_of(path),
        "peak_mb": resident_mb("VmHWM"),
        "versions": {
            "Python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in names},
        },
    }


def ask(
    engine: Any, data: Path, path: Path, seconds: float, recall: float | None
) -> dict[str, Any]:
    """Open the files of an engine, and measure its queries.

    Parameters
    ----------
    seconds : float
        Longest time of each measurement.
    recall : float or None
        The recall that a peer must reach.

    Returns
    -------
    dict
        `queries`, their number; `imported_mb` of the process before the files are opened;
        `open_ms`; `resident_mb` at the end; `peak_mb`; `all` and, with the label filter, `seldom`
        (None without filters), see `measure_queries`. For a peer `ef`, and `reached`, whether it
        reaches the recall. For an index of this project `search_vectors`, see `end_to_end`, and
        `found`, the layout it reports.
    """
    queries = np.load(data / "queries.npy")
    done: dict[str, Any] = {"queries": len(queries), "imported_mb": resident_mb()}
    start = time.perf_counter()
    engine.open(path)
    done["open_ms"] = 1000 * (time.perf_counter() - start)
    exact = np.load(data / "exact.npy")
    if recall is not None:
        for width in WIDTHS:
            engine.ef = width
            reached = recall_of(engine.rows(engine.query(queries)), exact) >= recall
            if reached:
                break
        done.update(ef=width, reached=reached)
    done["all"] = measure_queries(engine.query, engine.rows, queries, exact, seconds)
    done["seldom"] = None
    if hasattr(engine, "seldom_query"):
        exact = np.load(data / "exact_seldom.npy")
        done["seldom"] = measure_queries(engine.seldom_query, engine.rows, queries, exact, seconds)
    done.update(resident_mb=resident_mb(), peak_mb=resident_mb("VmHWM"))
    if isinstance(engine, Ours):
        done["found"] = str(getattr(engine.index, "layout", "")) or None
        done["search_vectors"] = end_to_end(engine.index, queries, seconds)
    return done


def measure_queries(
    query: Callable[[NDArray[np.float32]], Any],
    rows: Callable[[Any], NDArray[np.intp]],
    queries: NDArray[np.float32],
    exact: NDArray[np.intp],
    seconds: float,
) -> dict[str, float]:
    """Measure single queries, twice if there is time for all, and then all queries together.

    Returns
    -------
    dict
        `asked`, the number of queries there was time for; `p50_ms` and `p99_ms` of the last pass;
        `first_p50_ms` of the first pass, when a memory-mapped file is not completely in memory;
        `per_second` of all queries together; `recall`.
    """
    first, answers = one_by_one(query, queries, seconds)
    times = first
    if len(first) == len(queries):
        times, answers = one_by_one(query, queries, seconds)
    middle = float(np.median(times))
    together = queries[: max(1, int(seconds / max(middle, 1e-9)))]
    answered, start = 0, time.perf_counter()
    while not answered or time.perf_counter() - start < min(seconds, 2):
        query(together)
        answered += len(together)
    per_second = answered / (time.perf_counter() - start)
    found = np.concatenate([rows(answer) for answer in answers])
    return {
        "asked": len(times),
        "p50_ms": 1000 * middle,
        "p99_ms": 1000 * float(np.quantile(times, 0.99)),
        "first_p50_ms": 1000 * float(np.median(first)),
        "per_second": per_second,
        "recall": recall_of(found, exact[: len(found)]),
    }


def one_by_one(
    query: Callable[[NDArray[np.float32]], Any], queries: NDArray[np.float32], seconds: float
) -> tuple[list[float], list[Any]]:
    """Return the seconds and the results of single queries, as many as there is time for."""
    times: list[float] = []
    answers = []
    for number in range(len(queries)):
        if number >= FEWEST and sum(times) > seconds:
            break
        start = time.perf_counter()
        answers.append(query(queries[number : number + 1]))
        times.append(time.perf_counter() - start)
    return times, answers


def recall_of(found: NDArray[np.intp], exact: NDArray[np.intp]) -> float:
    """Return the share of the exact neighbours that were found."""
    hits = (found[:, :, None] == exact[:, None, :]).any(axis=1)
    return float(hits.mean())


def end_to_end(index: Any, queries: NDArray[np.float32], seconds: float) -> dict[str, float]:
    """Compare `Searcher.search_vectors` with the query of the index alone.

    Returns
    -------
    dict
        `p50_ms`, and `added_ms`, the median difference between the two for the same query.
    """
    from siamese.search.searcher import Searcher

    searcher = Searcher(SimpleNamespace(facts=index.model), index)  # type: ignore[arg-type]
    raw, whole = [], []
    for number in range(len(queries)):
        if number >= FEWEST and sum(raw) + sum(whole) > seconds:
            break
        query = queries[number : number + 1]
        index.query(query)  # so that both find its neighbours in the CPU cache
        start = time.perf_counter()
        index.query(query)
        raw.append(time.perf_counter() - start)
        start = time.perf_counter()
        searcher.search_vectors(query)
        whole.append(time.perf_counter() - start)
    return {
        "p50_ms": 1000 * float(np.median(whole)),
        "added_ms": 1000 * float(np.median(np.subtract(whole, raw))),
    }


def main() -> None:
    """Measure one part, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["build", "ask"])
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("data", type=Path)
    parser.add_argument("path", type=Path, help="file or folder of the engine")
    parser.add_argument("output", type=Path)
    parser.add_argument("--seconds", type=float, help="longest time of each measurement")
    parser.add_argument(
        "--recall", type=float, help="recall that faiss must have, and a peer must reach"
    )
    given = parser.parse_args()
    engine_class = ENGINES[given.engine]
    for module in engine_class.modules:
        importlib.import_module(module)
    engine: Any = engine_class()
    if given.part == "build":
        if given.recall is not None:
            engine.min_recall = given.recall
        done = build(engine, given.data, given.path)
    else:
        done = ask(engine, given.data, given.path, given.seconds, given.recall)
    given.output.write_text(json.dumps(done))


if __name__ == "__main__":
    main()
