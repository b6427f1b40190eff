"""How far a figure can be trusted: intervals from drawing the items anew, again and again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 1000


def average_metrics(
    figures: NDArray[np.float32], items: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average over the queries, and by item: the mean of the items' own averages.

    Parameters
    ----------
    figures : float32 (n, f), a row a query
    items : int (n,), the item of each query

    Returns
    -------
    float64 (f,) and (f,)
    """
    sums, counts = _totals(figures, items)
    return sums.sum(axis=0) / counts.sum(), (sums / counts).mean(axis=0)


def bootstrap_intervals(
    figures: NDArray[np.float32],
    items: NDArray[Any],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Percentile bootstrap of both `average_metrics`, over items.

    As many items as there are are drawn with replacement, each with all its queries; that is done
    `resamples` times, and the interval holds the middle of the averages. The pictures of an item
    are found or missed together, so drawing pictures would give intervals that are too narrow.

    Parameters
    ----------
    figures, items : as for `average_metrics`
    confidence : the share of the averages that the interval holds
    seed : another seed, other draws

    Returns
    -------
    float64 (2, f) and (2, f), low and high; None for fewer than two items, which tell nothing

    References
    ----------
    Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile intervals).
    """
    sums, counts = _totals(figures, items)
    if len(counts) < 2:
        return None
    rng = np.random.default_rng(seed)
    of_items = np.hstack([sums, counts, sums / counts])
    drawn = np.empty((resamples, of_items.shape[1]))
    for resample in drawn:
        times = np.bincount(rng.integers(len(counts), size=len(counts)), minlength=len(counts))
        resample[:] = times @ of_items
    width = sums.shape[1]
    by_query, by_item = drawn[:, :width] / drawn[:, [width]], drawn[:, width + 1 :] / len(counts)
    outside = (1 - confidence) / 2
    ends = [outside, 1 - outside]
    return np.quantile(by_query, ends, axis=0), np.quantile(by_item, ends, axis=0)


def _totals(
    figures: NDArray[np.float32], items: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum of the figures of each item, (k, f), and its number of queries, (k, 1)."""
    _, place, counts = np.unique(items, return_inverse=True, return_counts=True)
    sums = [np.bincount(place, weights=column) for column in figures.T]
    return np.stack(sums, axis=1), counts[:, None].astype(np.float64)
