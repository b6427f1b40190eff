"""Which pictures meet: random pairs, or batches of several pictures of several items.

Only row numbers are drawn here; nothing is opened. Every draw depends on (seed, epoch) alone, so
that a resumed training sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from siamese.errors import InputError


class Pairs(NamedTuple):
    """Pairs of rows, y = 1 for two pictures of one item and 0 for items that share no label."""

    anchors: np.ndarray
    others: np.ndarray
    y: np.ndarray


class BatchSampler:
    """Batches of about P items × K pictures.

    An epoch shows every picture once: each item's pictures are shuffled and dealt in groups of
    K, the groups shuffled and laid end to end. What the last batch lacks comes from a further
    deal, so that all batches are of one size.

    Parameters
    ----------
    items, labels : the item and the labels of each row
    batch_size : P · K, pictures
    pictures_per_item : K

    Raises
    ------
    InputError
        If there is no positive pair, or no negative pair.
    """

    def __init__(
        self,
        items: Sequence[Hashable],
        labels: Sequence[Iterable[str]],
        *,
        batch_size: int,
        pictures_per_item: int,
        seed: int,
    ) -> None:
        rows_of_item = _rows_by_item(items)
        _require_both_kinds(rows_of_item, labels)
        self._rows_of_item = [np.array(rows) for rows in rows_of_item.values()]
        self.batch_size = min(batch_size, len(items))
        self.pictures_per_item = pictures_per_item
        self.seed = seed
        self.steps = -(-len(items) // self.batch_size)

    def draw(self, epoch: int) -> np.ndarray:
        """Row numbers of an epoch: int (steps, batch_size)."""
        rng = np.random.default_rng([self.seed, epoch])
        rows = np.concatenate([self._deal(rng), self._deal(rng)])
        return rows[: self.steps * self.batch_size].reshape(self.steps, self.batch_size)

    def _deal(self, rng: np.random.Generator) -> np.ndarray:
        groups = []
        for rows in self._rows_of_item:
            # As many groups as K goes into the item, sizes within one: no picture with a sibling
            # stays alone.
            count = max(1, min(round(len(rows) / self.pictures_per_item), len(rows) // 2))
            groups += np.array_split(rng.permutation(rows), count)
        return np.concatenate([groups[i] for i in rng.permutation(len(groups))])


class PairSampler:
    """Independent random pairs, half of them positive, half negative.

    An epoch takes every picture as an anchor once, of a positive or of a negative pair. One that
    cannot be an anchor of that kind, for want of a sibling or of an item that it shares no label
    with, gives its place to a random one that can.

    Parameters
    ----------
    items, labels : the item and the labels of each row

    Raises
    ------
    InputError
        If there is no positive pair, or no negative pair.
    """

    TRIES = 20
    """Random items tried before all the compatible ones are listed, which is slow and sure."""

    def __init__(
        self, items: Sequence[Hashable], labels: Sequence[Iterable[str]], *, seed: int
    ) -> None:
        rows_of_item = _rows_by_item(items)
        with_negatives = _require_both_kinds(rows_of_item, labels)
        self._rows_of_item = list(rows_of_item.values())
        self._labels = [frozenset(labels[rows[0]]) for rows in self._rows_of_item]
        self._item_of_row = np.empty(len(items), int)
        self._can_anchor = np.empty((2, len(items)), bool)
        for item, rows in enumerate(self._rows_of_item):
            self._item_of_row[rows] = item
            self._can_anchor[0, rows] = self._labels[item] in with_negatives
            self._can_anchor[1, rows] = len(rows) > 1
        self._anchors = [np.flatnonzero(can) for can in self._can_anchor]
        self._compatible: dict[frozenset[str], list[int]] = {}
        self.seed = seed

    def draw(self, epoch: int) -> Pairs:
        """The pairs of an epoch, as many as there are pictures."""
        rng = np.random.default_rng([self.seed, epoch])
        anchors = rng.permutation(len(self._item_of_row))
        y = np.arange(len(anchors)) % 2
        others = np.empty_like(anchors)
        for pair, kind in enumerate(y):
            if not self._can_anchor[kind, anchors[pair]]:
                anchors[pair] = rng.choice(self._anchors[kind])
            partner = self._positive if kind else self._negative
            others[pair] = partner(anchors[pair], rng)
        return Pairs(anchors, others, y.astype(np.float32))

    def _positive(self, anchor: int, rng: np.random.Generator) -> int:
        rows = self._rows_of_item[self._item_of_row[anchor]]
        other = rows[rng.integers(len(rows) - 1)]
        return rows[-1] if other == anchor else other

    def _negative(self, anchor: int, rng: np.random.Generator) -> int:
        item = int(self._item_of_row[anchor])
        labels = self._labels[item]
        for _ in range(self.TRIES):
            other = int(rng.integers(len(self._labels)))
            if item != other and labels.isdisjoint(self._labels[other]):
                break
        else:
            if labels not in self._compatible:
                self._compatible[labels] = [
                    other for other, its in enumerate(self._labels) if labels.isdisjoint(its)
                ]
            candidates = self._compatible[labels]
            other = item
            while other == item:  # an item without labels is among its own candidates
                other = candidates[rng.integers(len(candidates))]
        rows = self._rows_of_item[other]
        return rows[rng.integers(len(rows))]


def _rows_by_item(items: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    rows_of_item: dict[Hashable, list[int]] = {}
    for row, item in enumerate(items):
        rows_of_item.setdefault(item, []).append(row)
    return rows_of_item


def _require_both_kinds(
    rows_of_item: dict[Hashable, list[int]], labels: Sequence[Iterable[str]]
) -> set[frozenset[str]]:
    """Return the label sets of the items that share no label with some other item."""
    if not any(len(rows) > 1 for rows in rows_of_item.values()):
        raise InputError(
            "no positive pair: no item has two usable pictures; give some items a second one"
        )
    if len(rows_of_item) < 2:
        raise InputError("no negative pair: there is a single item; add other items")
    # Items with equal labels behave alike, so each set of labels is looked at once; and in a random
    # order, because neighbours in a catalogue are alike and a distant one settles it sooner.
    label_sets = list(dict.fromkeys(frozenset(labels[rows[0]]) for rows in rows_of_item.values()))
    random.Random(0).shuffle(label_sets)
    one_label_for_all = frozenset.intersection(*label_sets)
    with_negatives = {
        one
        for one in label_sets
        if not one_label_for_all and any(one.isdisjoint(other) for other in label_sets)
    }
    if not with_negatives:
        raise InputError(
            "no negative pair: every two items share a label, and such items are never treated "
            "as dissimilar; give finer labels or leave them out"
        )
    return with_negatives
