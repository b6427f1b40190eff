"""Do our retrieval figures agree with pytorch-metric-learning's, and how long does each take?

Needs an environment of its own, because PyTorch is no dependency of the project::

    python -m venv /tmp/pml
    /tmp/pml/bin/pip install numpy torch pytorch-metric-learning faiss-cpu
    PYTHONPATH=. /tmp/pml/bin/python benchmarks/metrics.py

Prints a row a figure; exits 1 when one differs by more than 1e-4.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN

from siamese.metrics import retrieval_metrics

THEIRS = {  # our name: theirs
    "recall@1": "precision_at_1",
    "map@r": "mean_average_precision_at_r",
    "map": "mean_average_precision",
}


def compare(name: str, pictures: int, items: int, size: int, noise: float) -> bool:
    """Compare the figures on vectors scattered about one centre an item."""
    rng = np.random.default_rng(0)
    labels = rng.integers(items, size=pictures)
    vectors = rng.normal(size=(items, size))[labels] + noise * rng.normal(size=(pictures, size))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    start = time.perf_counter()
    ours = retrieval_metrics(vectors, labels.tolist())
    our_time = time.perf_counter() - start

    # k: every other picture, which mean_average_precision over the whole ranking needs.
    calculator = AccuracyCalculator(
        include=tuple(THEIRS.values()),
        k=pictures - 1,
        knn_func=CustomKNN(CosineSimilarity(), batch_size=1024),
        device=torch.device("cpu"),
    )
    start = time.perf_counter()
    theirs = calculator.get_accuracy(torch.from_numpy(vectors), torch.from_numpy(labels))
    their_time = time.perf_counter() - start

    print(f"\n{name}: {pictures} pictures of {items} items, {size} dimensions")
    print(f"{'':10}{'ours':>10}{'theirs':>10}")
    for figure, their_name in THEIRS.items():
        print(f"{figure:10}{ours[figure]:10.6f}{theirs[their_name]:10.6f}")
    print(f"{'seconds':10}{our_time:10.2f}{their_time:10.2f}")
    return all(abs(ours[figure] - theirs[name]) < 1e-4 for figure, name in THEIRS.items())


if __name__ == "__main__":
    agreed = [
        compare("a few pictures an item", 2000, 500, 64, noise=1.0),
        compare("many pictures an item", 2000, 20, 64, noise=3.0),
        compare("larger", 5000, 1000, 256, noise=1.8),
    ]
    print("\nagree" if all(agreed) else "\nDIFFER")
    sys.exit(not all(agreed))
