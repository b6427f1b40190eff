"""Do our retrieval figures agree with pytorch-metric-learning's, and what does each cost?

Needs an environment of its own, because PyTorch is no dependency of the project::

    python -m venv /tmp/pml
    /tmp/pml/bin/pip install numpy torch pytorch-metric-learning faiss-cpu
    PYTHONPATH=. /tmp/pml/bin/python benchmarks/metrics.py [--pictures N ...]

First a row a figure that both have; exits 1 when one differs by more than 1e-6. Then a row a size:
leave-one-out over vectors of items of 2 to 20 pictures, each side in a process of its own. Ours
gives all its figures, with mAP over the whole ranking; theirs, with FAISS, precision_at_1 and
mean_average_precision_at_r alone. Beyond `--theirs-up-to` pictures, theirs is extrapolated as the
square of their number from the largest size below, and marked with ≈.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 256
THEIRS = {  # our name: theirs
    "recall@1": "precision_at_1",
    "map@r": "mean_average_precision_at_r",
    "map": "mean_average_precision",
}
FAST = ("recall@1", "map@r")  # what theirs has from the nearest R alone


def pictures_of_items(count: int, size: int, smallest: int, largest: int, noise: float) -> Any:
    """Vectors that lie as embeddings do: kinds, items of a kind, and pictures, some far off."""
    rng = np.random.default_rng(0)

    def directions(number: int) -> np.ndarray:
        vectors = rng.normal(size=(number, size)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    sizes = rng.integers(smallest, largest + 1, size=2 * count // (smallest + largest) + 100)
    items = np.repeat(np.arange(len(sizes)), sizes)[:count]
    kinds = directions(max(2, len(sizes) // 100))
    centres = kinds[rng.integers(len(kinds), size=len(sizes))] + 0.9 * directions(len(sizes))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    spread = rng.lognormal(np.log(noise), 0.35, size=(len(items), 1)).astype(np.float32)
    vectors = centres[items] + spread * directions(len(items))
    order = rng.permutation(len(items))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True))[order], items[order]


def ours(vectors: np.ndarray, items: np.ndarray) -> dict[str, float | int]:
    """All our figures."""
    from siamese.evaluation.metrics import retrieval_metrics

    return retrieval_metrics(vectors, items.tolist())


def theirs(vectors: np.ndarray, items: np.ndarray, figures: tuple[str, ...]) -> dict[str, float]:
    """Some of theirs, by our names."""
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    calculator = AccuracyCalculator(
        include=tuple(THEIRS[figure] for figure in figures),
        # Over the whole ranking, mean_average_precision needs every other picture.
        k=len(items) - 1 if "map" in figures else "max_bin_count",
        device=torch.device("cpu"),
    )
    found = calculator.get_accuracy(torch.from_numpy(vectors), torch.from_numpy(items))
    return {figure: float(found[THEIRS[figure]]) for figure in figures}


def agree(name: str, **vectors_of: Any) -> bool:
    """Compare the figures that both have."""
    vectors, items = pictures_of_items(**vectors_of)
    one, other = ours(vectors, items), theirs(vectors, items, tuple(THEIRS))
    print(f"\n{name}: {len(items):,} pictures of {len(np.unique(items)):,} items")
    print(f"{'':10}{'ours':>12}{'theirs':>12}{'difference':>12}")
    for figure, value in other.items():
        print(f"{figure:10}{one[figure]:12.7f}{value:12.7f}{abs(one[figure] - value):12.1e}")
    return all(abs(one[figure] - value) < 1e-6 for figure, value in other.items())


def measure(side: str, folder: str) -> None:
    """In a process of its own: seconds, and memory above the vectors and what is imported."""
    vectors, items = (np.load(Path(folder) / name) for name in ("vectors.npy", "items.npy"))
    work = ours if side == "ours" else lambda *of: theirs(*of, FAST)
    work(vectors[:2000], items[:2000])  # everything is imported then
    before, start, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    figures = work(vectors, items)
    done = {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "megabytes": memory("VmHWM") - before,
        "figures": figures,
    }
    print(json.dumps(done))


def memory(what: str) -> float:
    """Megabytes of this process, now (VmRSS) or at most (VmHWM); Linux knows."""
    status = Path("/proc/self/status").read_text()
    return float(status.split(f"{what}:")[1].split()[0]) / 1024


def race(sizes: list[int], theirs_up_to: int) -> bool:
    """Print a row a size and side."""
    print(f"\nleave-one-out, {SIZE} dimensions, items of 2 to 20 pictures, {os.cpu_count()} cores")
    print(
        f"{'pictures':>10}{'':>8}{'seconds':>10}{'CPU s':>9}{'MB':>7}{'recall@1':>11}{'map@r':>11}"
    )
    same, last = True, None
    for size in sorted(sizes):
        done: dict[str, Any] = {}
        with tempfile.TemporaryDirectory() as folder:
            vectors, items = pictures_of_items(size, SIZE, 2, 20, noise=0.9)
            np.save(Path(folder) / "vectors.npy", vectors)
            np.save(Path(folder) / "items.npy", items)
            del vectors, items
            for side in ("ours", "theirs") if size <= theirs_up_to else ("ours",):
                command = [sys.executable, __file__, "--measure", side, folder]
                told = subprocess.run(command, capture_output=True, text=True)
                if told.returncode and side == "theirs":  # its memory is pictures times items
                    print(f"{size:10,}{side:>8}  {told.stderr.strip().splitlines()[-1]}")
                    continue
                told.check_returncode()
                done[side] = row = json.loads(told.stdout.splitlines()[-1])
                print(
                    f"{size:10,}{side:>8}{row['seconds']:10.1f}{row['cpu']:9.1f}"
                    f"{row['megabytes']:7.0f}"
                    f"{row['figures']['recall@1']:11.7f}{row['figures']['map@r']:11.7f}",
                    flush=True,
                )
        if "theirs" in done:
            last = size, done["theirs"]
            one, other = done["ours"]["figures"], done["theirs"]["figures"]
            same &= all(abs(one[figure] - other[figure]) < 1e-6 for figure in FAST)
        elif last is not None:
            more = (size / last[0]) ** 2
            seconds, cpu = last[1]["seconds"] * more, last[1]["cpu"] * more
            print(f"{size:10,}{'theirs':>8}{f'≈{seconds:.1f}':>10}{f'≈{cpu:.1f}':>9}")
    return same


def main() -> None:
    """Compare, then measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, nargs="*", default=[20_000, 50_000])
    parser.add_argument("--theirs-up-to", type=int, default=50_000)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    agreed = [
        agree("a few pictures an item", count=2000, size=64, smallest=2, largest=8, noise=0.9),
        agree("many pictures an item", count=2000, size=64, smallest=60, largest=140, noise=1.5),
        agree("larger", count=5000, size=256, smallest=2, largest=20, noise=1.2),
        race(arguments.pictures, arguments.theirs_up_to),
    ]
    print("\nagree" if all(agreed) else "\nDIFFER")
    sys.exit(not all(agreed))


if __name__ == "__main__":
    main()
