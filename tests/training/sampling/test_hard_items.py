from __future__ import annotations

import numpy as np
import pytest

from siamese.training.sampling import BatchSampler, hard_items
from tests.training.sampling.conftest import clustered, rows_of

# Item i is in cluster i % 20, of 12 items; half of a cluster has a label in common.
CATALOGUE = [(4, frozenset([f"{i % 20}"] if i // 20 % 2 else [])) for i in range(240)]
ITEMS, LABELS = rows_of(CATALOGUE)
VECTORS = clustered(ITEMS, clusters=20)


def draw(mode, epoch=0, vectors=VECTORS):
    sampler = BatchSampler(ITEMS, LABELS, batch_size=128, pictures_per_item=4, seed=0, batches=mode)
    return sampler, sampler.draw(epoch, vectors)


def nearest_negatives(sampler, drawn):
    """Of each picture, the cosine of the nearest negative in its batch."""
    nearest = []
    for rows in drawn:
        cosines = VECTORS[rows] @ VECTORS[rows].T
        cosines[sampler.items.relations(rows, rows) != -1] = -1
        nearest.append(cosines.max(axis=1))
    return np.concatenate(nearest)


def near_pairs(sampler, drawn):
    """How many negative pairs of a batch are within a cluster, on average."""
    clusters = np.array(ITEMS) % 20
    return np.mean(
        [
            (
                (clusters[rows][:, None] == clusters[rows])
                & (sampler.items.relations(rows, rows) == -1)
            ).sum()
            for rows in drawn
        ]
    )


def test_batches_hold_nearer_items_than_uniform_ones():
    sampler, hard = draw("hard-items")
    _, uniform = draw("uniform")
    assert nearest_negatives(sampler, hard).mean() > nearest_negatives(sampler, uniform).mean()
    assert near_pairs(sampler, hard) > 2 * near_pairs(sampler, uniform)


def test_each_picture_is_shown_once_and_with_its_siblings():
    _, drawn = draw("hard-items")
    assert drawn.shape == (8, 128)
    assert set(drawn.ravel().tolist()) == set(range(960))
    for batch in drawn[:-1]:
        items, counts = np.unique(np.array(ITEMS)[batch], return_counts=True)
        assert len(items) == 32 and set(counts.tolist()) == {4}


def test_a_batch_holds_several_neighbourhoods():
    _, drawn = draw("hard-items")
    for batch in drawn:
        assert len(set((np.array(ITEMS)[batch] % 20).tolist())) > 5


def test_a_neighbourhood_is_an_item_and_its_nearest_negatives():
    sampler, _ = draw("uniform")
    items = sampler.items
    rng = np.random.default_rng(0)
    waiting = [[item] for item in range(len(items))]
    item_vectors = hard_items._item_vectors(items, VECTORS)
    found = hard_items._neighbourhoods(items, waiting, item_vectors, 6, rng)
    assert sorted(item for one in found for item in one) == list(range(len(items)))
    left = set(range(len(items)))
    for seed, *others in found:
        fits = [item for item in left - {seed} if not CATALOGUE[item][1] & CATALOGUE[seed][1]]
        expected = sorted(fits, key=lambda item: -float(item_vectors[item] @ item_vectors[seed]))[
            :5
        ]
        np.testing.assert_allclose(
            [item_vectors[item] @ item_vectors[seed] for item in others],
            [item_vectors[item] @ item_vectors[seed] for item in expected],
            atol=1e-6,
        )
        assert set(others) <= set(fits)
        left -= {seed, *others}


def test_item_vectors_are_means_of_length_1():
    items = BatchSampler(
        ["a", "b", "a"], [[], [], []], batch_size=3, pictures_per_item=2, seed=0
    ).items
    vectors = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
    got = hard_items._item_vectors(items, vectors)
    np.testing.assert_allclose(got, [[0.5**0.5, 0.5**0.5], [0, 1]], atol=1e-6)
    assert got.dtype == np.float32


@pytest.mark.parametrize("name", ["POOL", "BLOCK"])
def test_many_items_are_searched_in_blocks(name, monkeypatch):
    monkeypatch.setattr(hard_items, name, 50)
    sampler, hard = draw("hard-items")
    assert set(hard.ravel().tolist()) == set(range(960))
    assert near_pairs(sampler, hard) > 1.3 * near_pairs(sampler, draw("uniform")[1])


def test_opposite_vectors_of_one_item_do_no_harm():
    vectors = VECTORS.copy()
    vectors[1::2] = -vectors[::2]  # means of length 0
    _, drawn = draw("hard-items", vectors=vectors)
    assert set(drawn.ravel().tolist()) == set(range(960))
