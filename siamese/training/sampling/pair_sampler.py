"""Random pairs, for the two-input siamese network."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from siamese.training.sampling.item_index import ItemIndex


class Pairs(NamedTuple):
    """Pairs of rows, y = 1 for two pictures of one item and 0 for items that share no label."""

    anchors: np.ndarray
    others: np.ndarray
    y: np.ndarray


class PairSampler:
    """Independent random pairs, half of them positive, half negative.

    An epoch takes every picture as an anchor once, of a positive or of a negative pair. One that
    cannot be an anchor of that kind, for want of a sibling or of an item that it shares no label
    with, gives its place to a random one that can.

    A negative is a random picture of a random item. With vectors, `hard_share` of them are hard
    ones instead: of a random pool of `POOL` rows, those that share no label with the anchor are
    sorted by their cosine to it, and one of the `NEAREST` first is taken at random, of fewer than
    ten times as many one of the first tenth. Not always the very first: it is often the same item
    under another name, and the same few outliers would be shown again and again.

    Parameters
    ----------
    items, labels : the item and the labels of each row
    hard_share : of the negatives, between 0 and 1

    Raises
    ------
    InputError
        If there is no positive pair, or no negative pair.
    """

    POOL = 2048
    NEAREST = 16
    BLOCK = 1024
    """Anchors that look for hard negatives in one go: 8 MB with a full pool."""

    def __init__(
        self,
        items: Sequence[Hashable],
        labels: Sequence[Iterable[Hashable]],
        *,
        seed: int,
        hard_share: float = 0.0,
    ) -> None:
        self.items = ItemIndex(items, labels)
        self.seed = seed
        self.hard_share = hard_share
        self._sizes = np.array([len(rows) for rows in self.items.rows])
        self._laid_out = np.concatenate(self.items.rows)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._place = np.empty(len(items), int)
        self._place[self._laid_out] = np.arange(len(items))

    def draw(self, epoch: int, vectors: np.ndarray | None = None) -> Pairs:
        """The pairs of an epoch, as many as there are pictures.

        Parameters
        ----------
        vectors : float32 (n, d), the rows' current embeddings of length 1, for hard negatives
        """
        rng = np.random.default_rng([self.seed, epoch])
        anchors = rng.permutation(len(self._place))
        positive = np.arange(len(anchors)) % 2 == 1
        others = np.empty_like(anchors)
        for kind, can_anchor, partners in (
            (positive, self.items.with_sibling, self._positives),
            (~positive, self.items.with_negative, self._negatives),
        ):
            cannot = kind & ~can_anchor[anchors]
            anchors[cannot] = rng.choice(np.flatnonzero(can_anchor), cannot.sum())
            others[kind] = partners(anchors[kind], rng)
        if vectors is not None:
            hard = np.flatnonzero(~positive)
            hard = rng.permutation(hard)[: round(self.hard_share * len(hard))]
            for start in range(0, len(hard), self.BLOCK):
                block = hard[start : start + self.BLOCK]
                found = self._near_negatives(anchors[block], vectors, rng)
                others[block] = np.where(found < 0, others[block], found)
        return Pairs(anchors, others, positive.astype(np.float32))

    def _positives(self, anchors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        items = self.items.of_row[anchors]
        start, size = self._starts[items], self._sizes[items]
        further = rng.integers(1, size)
        return self._laid_out[start + (self._place[anchors] - start + further) % size]

    def _negatives(self, anchors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        items = self.items.rule.draw_negatives(self.items.of_row[anchors], rng)
        return self._laid_out[self._starts[items] + rng.integers(self._sizes[items])]

    def _near_negatives(
        self, anchors: np.ndarray, vectors: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Rows that are near; -1 where the pool holds none without a common label."""
        pool = rng.permutation(len(self._place))[: self.POOL]
        fits = self.items.rule.negative_matrix(self.items.of_row[anchors], self.items.of_row[pool])
        cosines = np.where(fits, vectors[anchors] @ vectors[pool].T, -np.inf)
        most = min(self.NEAREST, len(pool))
        nearest = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
        order = np.argsort(-np.take_along_axis(cosines, nearest, axis=1), axis=1, kind="stable")
        nearest = np.take_along_axis(nearest, order, axis=1)
        count = fits.sum(axis=1)
        rank = rng.integers(np.clip(-(-count // 10), 1, most))
        chosen = pool[nearest[np.arange(len(anchors)), rank]]
        return np.where(count > 0, chosen, -1)
