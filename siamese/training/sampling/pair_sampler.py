"""Draw random pairs, for the two-input siamese network."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from siamese.training.sampling.item_index import ItemIndex


class Pairs(NamedTuple):
    """Pairs of rows; y is 1 for two pictures of one item, 0 for items that share no label."""

    anchors: np.ndarray
    others: np.ndarray
    y: np.ndarray


class PairSampler:
    """Independent random pairs, half of them positive, half negative.

    In an epoch every row is the anchor of one pair, positive or negative. A row that cannot be an
    anchor of that kind, because it has no sibling or shares a label with every other item, is
    replaced by a random one that can. A negative is a random picture of a random item.

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
        """Return the pairs of an epoch, as many as there are rows."""
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
