"""Sampler of random pairs, for the two-input siamese network."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from siamese.training.sampling.item_index import ItemIndex


class Pairs(NamedTuple):
    """Pairs of row numbers; `y` is 1 for a positive pair and 0 for a negative pair."""

    anchors: np.ndarray
    others: np.ndarray
    y: np.ndarray


class PairSampler:
    """Sampler of independent random pairs, half of them positive and half negative.

    In each epoch, every row is the anchor of one pair. If it cannot anchor a pair of the required
    kind, because its item has only one picture or no negatives, it is replaced by a random row that
    can. A negative is a random picture of a random item among those negative to the anchor's.

    Parameters
    ----------
    items : sequence of hashable, length n
        Item of each row.
    labels : sequence of iterables of hashable, length n
        Labels of each row's item.
    seed : int
        Determines every draw, together with the epoch.

    Raises
    ------
    InputError
        If there is no positive pair, or no negative pair.
    """

    def __init__(
        self, items: Sequence[Hashable], labels: Sequence[Iterable[Hashable]], *, seed: int
    ) -> None:
        self.items = ItemIndex(items, labels)
        self.seed = seed
        self._sizes = np.array([len(rows) for rows in self.items.item_rows])
        self._rows_by_item = np.concatenate(self.items.item_rows)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._position = np.empty(len(items), int)
        self._position[self._rows_by_item] = np.arange(len(items))

    def draw(self, epoch: int) -> Pairs:
        """Draw the pairs of an epoch, one per row."""
        rng = np.random.default_rng([self.seed, epoch])
        anchors = rng.permutation(len(self._position))
        positive = np.arange(len(anchors)) % 2 == 1
        others = np.empty_like(anchors)
        for kind, can_anchor, draw_partners in (
            (positive, self.items.has_positive, self._draw_positives),
            (~positive, self.items.has_negative, self._draw_negatives),
        ):
            unfit = kind & ~can_anchor[anchors]
            anchors[unfit] = rng.choice(np.flatnonzero(can_anchor), unfit.sum())
            others[kind] = draw_partners(anchors[kind], rng)
        return Pairs(anchors, others, positive.astype(np.float32))

    def _draw_positives(self, anchors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        items = self.items.item_of_row[anchors]
        start, size = self._starts[items], self._sizes[items]
        offset = rng.integers(1, size)
        return self._rows_by_item[start + (self._position[anchors] - start + offset) % size]

    def _draw_negatives(self, anchors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        items = self.items.rule.draw_negatives(self.items.item_of_row[anchors], rng)
        return self._rows_by_item[self._starts[items] + rng.integers(self._sizes[items])]
