"""Confidence intervals of metrics, by bootstrapping over items."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
RESAMPLES = 1000


def average_metrics(
    metrics: ArrayLike, items: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average metrics over the queries, and over the items.

    Parameters
    ----------
    metrics : float array of shape (n_queries, n_metrics)
        Metrics of each query.
    items : int array of shape (n_queries,)
        Item of each query.

    Returns
    -------
    by_query : float64 array of shape (n_metrics,)
        Mean over the queries.
    by_item : float64 array of shape (n_metrics,)
        Mean over the items of the mean over each item's queries.

    Examples
    --------
    >>> average_metrics([[1.0], [1.0], [0.0]], [7, 7, 8])
    (array([0.66666667]), array([0.5]))
    """
    sums, counts = _sum_by_item(metrics, items)
    return sums.sum(axis=0) / counts.sum(), (sums / counts).mean(axis=0)


def bootstrap_intervals(
    metrics: ArrayLike,
    items: ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Compute confidence intervals of both `average_metrics` with the percentile bootstrap.

    Each resample draws as many items as there are, with replacement, and takes all queries of
    each. The queries of one item succeed and fail together, so resampling single queries would
    make the intervals too narrow.

    Parameters
    ----------
    metrics : float array of shape (n_queries, n_metrics)
        Metrics of each query.
    items : int array of shape (n_queries,)
        Item of each query.
    confidence : float, default 0.95
        Fraction of the resampled averages inside the interval.
    resamples : int, default 1000
        Number of resamples.
    seed : int, default 0
        Seed of the random generator.

    Returns
    -------
    by_query, by_item : float64 arrays of shape (2, n_metrics), or None
        Lower and upper ends of the intervals. None with fewer than two items.

    References
    ----------
    B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", chapter 13, 1993.

    Examples
    --------
    >>> by_query, by_item = bootstrap_intervals([[1.0], [1.0], [0.0]], [7, 7, 8])
    >>> by_item
    array([[0.],
           [1.]])
    """
    sums, counts = _sum_by_item(metrics, items)
    if len(counts) < 2:
        return None
    rng = np.random.default_rng(seed)
    totals = np.hstack([sums, counts, sums / counts])
    resampled = np.empty((resamples, totals.shape[1]))
    for row in resampled:
        times = np.bincount(rng.integers(len(counts), size=len(counts)), minlength=len(counts))
        row[:] = times @ totals
    width = sums.shape[1]
    by_query = resampled[:, :width] / resampled[:, [width]]
    by_item = resampled[:, width + 1 :] / len(counts)
    tail = (1 - confidence) / 2
    ends = [tail, 1 - tail]
    return np.quantile(by_query, ends, axis=0), np.quantile(by_item, ends, axis=0)


def _sum_by_item(
    metrics: ArrayLike, items: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum the metrics of each item, (n_items, n_metrics), and count its queries, (n_items, 1)."""
    places: NDArray[Any]
    _, places, counts = np.unique(items, return_inverse=True, return_counts=True)
    sums = [np.bincount(places, weights=column) for column in np.transpose(metrics)]
    return np.stack(sums, axis=1), counts[:, None].astype(np.float64)
