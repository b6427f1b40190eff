from __future__ import annotations

import numpy as np
import pytest

from siamese.evaluation.bootstrap import average_by_item, bootstrap_intervals

RNG = np.random.default_rng(0)


def test_average_equals_that_of_a_naive_loop():
    items = RNG.integers(7, size=50)
    figures = RNG.random((50, 3)).astype(np.float32)
    of_item = [figures[items == item].mean(axis=0) for item in np.unique(items)]
    assert average_by_item(figures, items) == pytest.approx(np.mean(of_item, axis=0))


def test_whole_items_are_resampled():
    # Each item succeeds or fails as a whole; resampling queries would see 1,000 coin tosses.
    items = np.repeat(np.arange(10), 100)
    figures = (items < 5)[:, None].astype(np.float32)
    by_query, by_item = bootstrap_intervals(figures, items, resamples=4000)
    # The number of successful items in a resample is binomial: 2 to 8 of 10 at 95 %.
    assert by_query[:, 0] == pytest.approx([0.2, 0.8])
    assert by_item[:, 0] == pytest.approx([0.2, 0.8])


def test_intervals_equal_those_of_naive_resampling():
    items = np.repeat(np.arange(6), [1, 2, 3, 4, 5, 9])
    figures = RNG.random((len(items), 2)).astype(np.float32)
    by_query, by_item = bootstrap_intervals(figures, items, resamples=300, seed=5, confidence=0.9)
    rng = np.random.default_rng(5)
    naive_query, naive_item = [], []
    for _ in range(300):
        drawn = rng.integers(6, size=6)
        groups = [figures[items == item] for item in drawn]
        naive_query.append(np.concatenate(groups).mean(axis=0))
        naive_item.append(np.mean([group.mean(axis=0) for group in groups], axis=0))
    assert by_query == pytest.approx(np.quantile(naive_query, [0.05, 0.95], axis=0), rel=1e-5)
    assert by_item == pytest.approx(np.quantile(naive_item, [0.05, 0.95], axis=0), rel=1e-5)


def test_one_item_gives_no_intervals():
    assert bootstrap_intervals(np.ones((4, 1), np.float32), np.zeros(4, int)) is None
