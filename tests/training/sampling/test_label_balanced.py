from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from siamese.training.sampling import BatchSampler
from tests.training.sampling.conftest import CATALOGUES, has_both_kinds, rows_of


def sampler(catalogue, batch_size=32, pictures_per_item=4):
    options = {"batch_size": batch_size, "pictures_per_item": pictures_per_item}
    return BatchSampler(*rows_of(catalogue), seed=0, batches="label-balanced", **options)


def met(catalogue, drawn):
    """How often each label is met; "" is of items without any."""
    _, labels = rows_of(catalogue)
    return Counter(label for row in drawn.ravel() for label in labels[row] or {""})


def test_labels_appear_equally_often():
    # 100 items are red, 10 blue, 10 have no label, and the uniform draw shows them so.
    catalogue = [
        (4, frozenset([label] if label else [])) for label in ["red"] * 100 + ["blue"] * 10
    ]
    catalogue += [(4, frozenset())] * 10
    drawn = sampler(catalogue).draw(0)
    assert drawn.shape == (15, 32)
    counts = met(catalogue, drawn)
    assert set(counts) == {"red", "blue", ""}
    assert max(counts.values()) - min(counts.values()) <= 4
    # Items take turns, and so do their pictures.
    by_picture = Counter(drawn.ravel().tolist())
    blue = [by_picture[row] for row in range(400, 440)]
    assert max(blue) - min(blue) <= 1
    assert max(by_picture[row] for row in range(400)) == 1


def test_items_of_several_labels_count_for_each():
    catalogue = [(4, frozenset("ab"))] * 10 + [(4, frozenset("c"))] * 30
    counts = met(catalogue, sampler(catalogue).draw(0))
    assert counts["a"] == counts["b"] and abs(counts["a"] - counts["c"]) <= 4


def test_a_label_of_two_pictures_is_in_every_batch_but_no_picture_twice():
    catalogue = [(4, frozenset("a"))] * 100 + [(2, frozenset("b"))]
    drawn = sampler(catalogue).draw(0)
    for batch in drawn:
        assert {400, 401} <= set(batch.tolist())
        assert len(set(batch.tolist())) == len(batch)


def test_siblings_come_together():
    catalogue = [(4, frozenset("abc"[i % 3])) for i in range(90)]
    items, _ = rows_of(catalogue)
    for batch in sampler(catalogue).draw(0):
        counts = Counter(items[row] for row in batch)
        assert len(counts) == 8 and set(counts.values()) == {4}


@settings(deadline=None, max_examples=50)
@given(CATALOGUES, st.integers(4, 20), st.integers(1, 4))
def test_no_picture_comes_twice_in_a_full_draw(catalogue, batch_size, pictures_per_item):
    """All pictures in one batch: each once, whatever the labels."""
    if has_both_kinds(catalogue):
        count = sum(size for size, _ in catalogue)
        drawn = sampler(catalogue, max(batch_size, count), pictures_per_item).draw(0)
        assert np.sort(drawn, axis=None).tolist() == list(range(count))
