"""Confidence intervals of metrics, computed by resampling items (bootstrap)."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 1000


def average_by_item(metrics: ArrayLike, items: ArrayLike) -> Floats:
    """Average metrics over the queries of each item, then over all items."""
    sums, counts = _sum_by_item(metrics, items)
    return (sums / counts).mean(axis=0)


def bootstrap_intervals(
    metrics: ArrayLike,
    items: ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Floats, Floats] | None:
    """Compute confidence intervals of mean metrics with the percentile bootstrap.

    Each resample draws as many items as there are, with replacement, and uses all their queries.
    Queries of the same item are correlated, so resampling single queries would make the intervals
    too narrow.

    Return two arrays of shape (2, n_metrics): the intervals of the mean over queries, and those of
    `average_by_item`. Return None if there are fewer than two items.

    References
    ----------
    B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", chapter 13, 1993.
    """
    sums, counts = _sum_by_item(metrics, items)
    n = len(counts)
    if n < 2:
        return None
    rng = np.random.default_rng(seed)
    totals = np.hstack([sums, sums / counts, counts])
    resampled = np.empty((resamples, totals.shape[1]))
    for row in resampled:
        times_drawn = np.bincount(rng.integers(n, size=n), minlength=n)
        row[:] = times_drawn @ totals
    query_sums, item_sums = np.split(resampled[:, :-1], 2, axis=1)
    tail = (1 - confidence) / 2
    ends = [tail, 1 - tail]
    return (
        np.quantile(query_sums / resampled[:, -1:], ends, axis=0),
        np.quantile(item_sums / n, ends, axis=0),
    )


def _sum_by_item(metrics: ArrayLike, items: ArrayLike) -> tuple[Floats, Floats]:
    """Return each item's summed metrics, (n_items, n_metrics), and query count, (n_items, 1)."""
    places: NDArray[Any]
    _, places, counts = np.unique(items, return_inverse=True, return_counts=True)
    sums = [np.bincount(places, weights=column) for column in np.transpose(metrics)]
    return np.stack(sums, axis=1), counts[:, None].astype(np.float64)
