from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from siamese.errors import InputError
from siamese.training.sampling import BatchSampler, PairSampler
from tests.training.sampling.conftest import (
    CATALOGUES,
    clustered,
    has_both_kinds,
    kinds_of,
    rows_of,
)

MODES = ["uniform", "label-balanced", "hard-items"]

ONE_WITH_STRANGERS = [
    (4, frozenset("ab")),
    (2, frozenset("b")),
    (6, frozenset("a")),
    (1, frozenset("a")),
    (1, frozenset("a")),
    (1, frozenset("ab")),
    (1, frozenset("a")),
    (1, frozenset("a")),
]
"""Only the item of 2 pictures makes negative pairs, and each of its pictures a positive one."""


@settings(deadline=None, max_examples=50)
@given(CATALOGUES, st.integers(2, 20), st.integers(1, 5), st.integers(0, 3))
def test_batches_show_each_picture_once(catalogue, batch_size, pictures_per_item, epoch):
    items, labels = rows_of(catalogue)
    options = {"batch_size": batch_size, "pictures_per_item": pictures_per_item, "seed": 1}
    if not has_both_kinds(catalogue):
        with pytest.raises(InputError):
            BatchSampler(items, labels, **options)
        return
    sampler = BatchSampler(items, labels, **options)
    drawn = sampler.draw(epoch)
    assert drawn.shape == (sampler.steps, sampler.batch_size)
    assert sampler.batch_size == min(batch_size, len(items))
    assert set(drawn.ravel().tolist()) == set(range(len(items)))
    assert drawn.size - len(items) < sampler.batch_size, "more topped up than the last batch lacks"


@pytest.mark.parametrize("pictures_per_item", [1, 2, 3, 4])
@pytest.mark.parametrize("count", range(2, 12))
def test_no_picture_of_a_group_is_alone(count, pictures_per_item):
    items, labels = rows_of([(count, frozenset())] * 5)
    sampler = BatchSampler(
        items, labels, batch_size=len(items), pictures_per_item=pictures_per_item, seed=0
    )
    shown = [items[row] for row in sampler.draw(0)[0]]
    # Groups of one item are laid side by side, so each row has a neighbour of its item.
    for place, item in enumerate(shown):
        assert item in shown[max(place - 1, 0) : place] + shown[place + 1 : place + 2]


@pytest.mark.parametrize("kind", ["batches", "pairs"])
def test_epochs_differ_and_are_reproducible(kind):
    items, labels = rows_of([(4, frozenset()), (5, frozenset("a")), (6, frozenset("a"))] * 3)

    def sampler(seed):
        if kind == "pairs":
            return PairSampler(items, labels, seed=seed)
        return BatchSampler(items, labels, batch_size=8, pictures_per_item=4, seed=seed)

    def draw(sampler, epoch):
        return np.concatenate([np.ravel(part) for part in sampler.draw(epoch)]).tolist()

    one = sampler(0)
    epochs = [draw(one, epoch) for epoch in range(4)]
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert [draw(sampler(0), epoch) for epoch in range(4)] == epochs
    assert draw(sampler(1), 0) != epochs[0]


@settings(deadline=None, max_examples=50)
@given(CATALOGUES, st.integers(4, 20), st.integers(1, 5), st.sampled_from(MODES))
@example(ONE_WITH_STRANGERS, 4, 1, "uniform")
def test_every_mode_fills_all_batches(catalogue, batch_size, pictures_per_item, mode):
    items, labels = rows_of(catalogue)
    if not has_both_kinds(catalogue):
        return
    sampler = BatchSampler(
        items,
        labels,
        batch_size=batch_size,
        pictures_per_item=pictures_per_item,
        seed=1,
        batches=mode,
    )
    drawn = sampler.draw(2, clustered(items))
    assert drawn.shape == (-(-len(items) // sampler.batch_size), min(batch_size, len(items)))
    assert drawn.dtype == int and drawn.min() >= 0 and drawn.max() < len(items)
    if mode != "label-balanced":
        assert set(drawn.ravel().tolist()) == set(range(len(items)))
        assert np.any([kinds_of(batch, items, labels) for batch in drawn], axis=0).all()


SHAPES = {
    "10 items of 2": [(2, frozenset("ab"[i % 2])) for i in range(10)],
    "3 items of 200": [(200, frozenset())] * 3,
    "2 items of 200": [(200, frozenset("a")), (200, frozenset("b"))],
    "one of 500, three of 2": [(500, frozenset()), *[(2, frozenset())] * 3],
    "one of 500, a hundred of 2": [(500, frozenset("x")), *[(2, frozenset("y"))] * 100],
    "forty pairs, many singles": [(2, frozenset("x"))] * 40 + [(1, frozenset())] * 400,
    "nearly all share a label": [(4, frozenset("x"))] * 90 + [(6, frozenset("y"))],
    "a label each": [(3, frozenset([str(i)])) for i in range(100)],
}


@pytest.mark.parametrize("batch_size", [128, 32])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("catalogue", SHAPES.values(), ids=SHAPES)
def test_every_batch_holds_positive_and_negative_pairs(catalogue, mode, batch_size):
    items, labels = rows_of(catalogue)
    sampler = BatchSampler(
        items, labels, batch_size=batch_size, pictures_per_item=4, seed=0, batches=mode
    )
    possible = [kinds_of(batch, items, labels) for batch in sampler.draw(1, clustered(items))]
    # Shown once each, 6 pictures cannot be in 12 batches.
    strangers = sum(count for count, own in catalogue if own != {"x"} and own)
    if mode != "label-balanced" and catalogue is SHAPES["nearly all share a label"]:
        assert sum(negative for _, negative in possible) == min(strangers, sampler.steps)
        assert all(positive for positive, _ in possible)
    elif mode != "label-balanced" and catalogue is SHAPES["one of 500, three of 2"]:
        assert sum(negative for _, negative in possible) == min(6, sampler.steps)
    else:
        assert all(map(all, possible))


def test_small_batches_hold_two_items():
    items, labels = rows_of([(4, frozenset())] * 6)
    drawn = BatchSampler(items, labels, batch_size=4, pictures_per_item=4, seed=0).draw(0)
    for batch in drawn:
        assert kinds_of(batch, items, labels) == (True, True)


def test_hard_items_are_uniform_without_vectors_and_decided_by_them():
    items, labels = rows_of([(4, frozenset("abc"[i % 3])) for i in range(60)])

    def draw(mode, epoch=1, vectors=None, seed=0):
        options = {"batch_size": 32, "pictures_per_item": 4, "batches": mode, "seed": seed}
        return BatchSampler(items, labels, **options).draw(epoch, vectors).tolist()

    one, other = clustered(items), clustered(items, seed=1)
    assert draw("hard-items") == draw("uniform")
    assert draw("hard-items", vectors=one) == draw("hard-items", vectors=one.copy())
    others = [draw("hard-items", vectors=other), draw("hard-items", 2, one), draw("uniform")]
    assert draw("hard-items", vectors=one) not in [*others, draw("hard-items", 1, one, seed=1)]
    assert draw("uniform", vectors=one) == draw("uniform")
    assert draw("label-balanced", vectors=one) == draw("label-balanced") != draw("uniform")


def test_another_process_draws_the_same():
    """Sets of words have another order in each process; nothing may hang on it."""
    code = """
import numpy as np
from siamese.training.sampling import BatchSampler, PairSampler
labels = [("b", "a", "c") if i % 3 else ("d", "c") if i % 2 else ("e",) for i in range(40)]
labels += [("x", "y", *"abcde")] * 2
items = list(range(40)) + [40, 40]
vectors = np.eye(42, 8, dtype=np.float32) + 0.1
for batches in ("uniform", "label-balanced", "hard-items"):
    sampler = BatchSampler(
        items, labels, batch_size=8, pictures_per_item=2, seed=0, batches=batches
    )
    print(sampler.draw(1, vectors).tolist())
pairs = PairSampler(items, labels, seed=0).draw(1)
print(pairs.anchors.tolist(), pairs.others.tolist())
"""
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
