"""Compare our retrieval metrics with pytorch-metric-learning's: values, time and memory.

PyTorch is not a dependency of this project, so run it in a separate environment::

    python -m venv /tmp/pml
    /tmp/pml/bin/pip install numpy torch pytorch-metric-learning faiss-cpu
    PYTHONPATH=. /tmp/pml/bin/python benchmarks/metrics.py [--pictures N ...]

It first prints the metrics that both have, and exits with 1 if one differs by more than 1e-6. Then
it times leave-one-out over items of 2 to 20 pictures, each library in a separate process: all of
our metrics, with mAP over the whole ranking, against their precision_at_1 and
mean_average_precision_at_r with FAISS. Beyond `--theirs-up-to` pictures, their time is extrapolated
quadratically from the largest measured size, and marked with ≈.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

DIMENSIONS = 256
THEIR_NAMES = {
    "recall@1": "precision_at_1",
    "map@r": "mean_average_precision_at_r",
    "map": "mean_average_precision",
}
CATALOGUES: dict[str, dict[str, Any]] = {
    "few pictures per item": {
        "count": 2000,
        "dimensions": 64,
        "smallest": 2,
        "largest": 8,
        "noise": 0.9,
    },
    "many pictures per item": {
        "count": 2000,
        "dimensions": 64,
        "smallest": 60,
        "largest": 140,
        "noise": 1.5,
    },
    "larger": {"count": 5000, "dimensions": 256, "smallest": 2, "largest": 20, "noise": 1.2},
}
"""Embeddings to compare the values on, as parameters of `make_embeddings`."""
TIMED = ("recall@1", "map@r")
"""Metrics of theirs that need only the nearest R pictures."""


def make_embeddings(
    count: int, dimensions: int, smallest: int, largest: int, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Make vectors distributed like embeddings: kinds, items of a kind, and pictures of an item.

    Parameters
    ----------
    count : int
        Number of pictures.
    dimensions : int
        Number of dimensions.
    smallest, largest : int
        Range of the number of pictures per item.
    noise : float
        Median distance of a picture from the centre of its item.

    Returns
    -------
    vectors : float32 array of shape (count, dimensions)
        Vectors of length 1.
    items : int array of shape (count,)
        Item of each vector.
    """
    rng = np.random.default_rng(0)

    def random_directions(number: int) -> np.ndarray:
        vectors = rng.normal(size=(number, dimensions)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    sizes = rng.integers(smallest, largest + 1, size=2 * count // (smallest + largest) + 100)
    items = np.repeat(np.arange(len(sizes)), sizes)[:count]
    kinds = random_directions(max(2, len(sizes) // 100))
    centres = kinds[rng.integers(len(kinds), size=len(sizes))] + 0.9 * random_directions(len(sizes))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    spread = rng.lognormal(np.log(noise), 0.35, size=(len(items), 1)).astype(np.float32)
    vectors = centres[items] + spread * random_directions(len(items))
    order = rng.permutation(len(items))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True))[order], items[order]


def compute_ours(vectors: np.ndarray, items: np.ndarray) -> dict[str, float | int]:
    """Compute all of our metrics."""
    from siamese.evaluation.metrics import retrieval_metrics

    return retrieval_metrics(vectors, items.tolist())


def compute_theirs(
    vectors: np.ndarray, items: np.ndarray, metrics: tuple[str, ...]
) -> dict[str, float]:
    """Compute some of their metrics, under our names."""
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    calculator = AccuracyCalculator(
        include=tuple(THEIR_NAMES[metric] for metric in metrics),
        # mean_average_precision over the whole ranking needs every other picture.
        k=len(items) - 1 if "map" in metrics else "max_bin_count",
        device=torch.device("cpu"),
    )
    found = calculator.get_accuracy(torch.from_numpy(vectors), torch.from_numpy(items))
    return {metric: float(found[THEIR_NAMES[metric]]) for metric in metrics}


def compare_values(name: str, **parameters: Any) -> bool:
    """Print the metrics that both have, and return whether they agree."""
    vectors, items = make_embeddings(**parameters)
    ours, theirs = compute_ours(vectors, items), compute_theirs(vectors, items, tuple(THEIR_NAMES))
    print(f"\n{name}: {len(items):,} pictures of {len(np.unique(items)):,} items")
    print(f"{'':10}{'ours':>12}{'theirs':>12}{'difference':>12}")
    for metric, value in theirs.items():
        print(f"{metric:10}{ours[metric]:12.7f}{value:12.7f}{abs(ours[metric] - value):12.1e}")
    return all(abs(ours[metric] - value) < 1e-6 for metric, value in theirs.items())


def measure(library: str, folder: str) -> None:
    """Print the time of one library, and its memory beyond the vectors and imports, as JSON."""
    vectors, items = (np.load(Path(folder) / name) for name in ("vectors.npy", "items.npy"))
    compute = compute_ours if library == "ours" else partial(compute_theirs, metrics=TIMED)
    compute(vectors[:2000], items[:2000])  # import everything
    before, start, cpu = read_memory("VmRSS"), time.perf_counter(), time.process_time()
    metrics = compute(vectors, items)
    measured = {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "megabytes": read_memory("VmHWM") - before,
        "metrics": metrics,
    }
    print(json.dumps(measured))


def read_memory(field: str) -> float:
    """Read the memory of this process in MB, current (VmRSS) or peak (VmHWM); Linux only."""
    status = Path("/proc/self/status").read_text()
    return float(status.split(f"{field}:")[1].split()[0]) / 1024


def compare_cost(sizes: list[int], theirs_up_to: int) -> bool:
    """Print a row per size and library, and return whether the metrics agree."""
    print(
        f"\nleave-one-out, {DIMENSIONS} dimensions, items of 2 to 20 pictures, "
        f"{os.cpu_count()} cores"
    )
    print(
        f"{'pictures':>10}{'':>8}{'seconds':>10}{'CPU s':>9}{'MB':>7}{'recall@1':>11}{'map@r':>11}"
    )
    agrees, last = True, None
    for size in sorted(sizes):
        measured: dict[str, Any] = {}
        with tempfile.TemporaryDirectory() as folder:
            vectors, items = make_embeddings(size, DIMENSIONS, 2, 20, noise=0.9)
            np.save(Path(folder) / "vectors.npy", vectors)
            np.save(Path(folder) / "items.npy", items)
            del vectors, items
            for library in ("ours", "theirs") if size <= theirs_up_to else ("ours",):
                command = [sys.executable, __file__, "--measure", library, folder]
                process = subprocess.run(command, capture_output=True, text=True)
                if process.returncode and library == "theirs":  # it needs pictures × items memory
                    print(f"{size:10,}{library:>8}  {process.stderr.strip().splitlines()[-1]}")
                    continue
                process.check_returncode()
                measured[library] = row = json.loads(process.stdout.splitlines()[-1])
                print(
                    f"{size:10,}{library:>8}{row['seconds']:10.1f}{row['cpu']:9.1f}"
                    f"{row['megabytes']:7.0f}"
                    f"{row['metrics']['recall@1']:11.7f}{row['metrics']['map@r']:11.7f}",
                    flush=True,
                )
        if "theirs" in measured:
            last = size, measured["theirs"]
            ours, theirs = measured["ours"]["metrics"], measured["theirs"]["metrics"]
            agrees &= all(abs(ours[metric] - theirs[metric]) < 1e-6 for metric in TIMED)
        elif last is not None:
            factor = (size / last[0]) ** 2
            seconds, cpu = last[1]["seconds"] * factor, last[1]["cpu"] * factor
            print(f"{size:10,}{'theirs':>8}{f'≈{seconds:.1f}':>10}{f'≈{cpu:.1f}':>9}")
    return agrees


def main() -> None:
    """Compare values, then time and memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--pictures", type=int, nargs="*", default=[20_000, 50_000], help="sizes to time"
    )
    parser.add_argument(
        "--theirs-up-to", type=int, default=50_000, help="largest size to time theirs at"
    )
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    agrees = [
        *(compare_values(name, **parameters) for name, parameters in CATALOGUES.items()),
        compare_cost(arguments.pictures, arguments.theirs_up_to),
    ]
    print("\nagree" if all(agrees) else "\nDIFFER")
    sys.exit(not all(agrees))


if __name__ == "__main__":
    main()
