"""Sampler of batches with several pictures per item, for losses over all pairs in a batch."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from siamese.training.recipe import Batches
from siamese.training.sampling.batch_repair import repair_batches
from siamese.training.sampling.hard_items import order_by_neighbours
from siamese.training.sampling.item_index import ItemIndex
from siamese.training.sampling.label_balanced import draw_balanced_batches


class BatchSampler:
    """Sampler of batches with about K pictures of each of P items.

    There are three ways to fill batches:

    - ``"uniform"``: each epoch shows every picture once. Each item's pictures are shuffled and
      split into groups of about K; the groups are shuffled and concatenated. The last batch is
      filled up from a second shuffle, so that all batches have the same size.
    - ``"hard-items"``: the same groups, but ordered so that similar items are adjacent (see
      `siamese.training.sampling.hard_items`). Without vectors, the same as uniform.
    - ``"label-balanced"``: as many batches, but each label appears about equally often (see
      `siamese.training.sampling.label_balanced`). Pictures with rare labels may appear several
      times per epoch, and others may not appear in every epoch.

    If a batch has no positive or no negative pair, pictures are then swapped between batches (see
    `siamese.training.sampling.batch_repair`).

    Parameters
    ----------
    items : sequence of hashable, length n
        Item of each row.
    labels : sequence of iterables of hashable, length n
        Labels of each row's item.
    batch_size : int
        Number of rows per batch, P · K; capped at n.
    pictures_per_item : int
        K; capped at half the batch size, so that a batch has several items.
    seed : int
        Determines every draw, together with the epoch and the vectors.
    batches : {"uniform", "label-balanced", "hard-items"}
        How batches are filled.

    Attributes
    ----------
    steps : int
        Number of batches per epoch.

    Raises
    ------
    InputError
        If there is no positive pair, or no negative pair.
    """

    def __init__(
        self,
        items: Sequence[Hashable],
        labels: Sequence[Iterable[Hashable]],
        *,
        batch_size: int,
        pictures_per_item: int,
        seed: int,
        batches: Batches = "uniform",
    ) -> None:
        self.items = ItemIndex(items, labels)
        self.batch_size = min(batch_size, len(items))
        self.pictures_per_item = max(1, min(pictures_per_item, self.batch_size // 2))
        self.seed = seed
        self.batches = batches
        self.steps = -(-len(items) // self.batch_size)

    def draw(self, epoch: int, vectors: np.ndarray | None = None) -> np.ndarray:
        """Draw the batches of an epoch.

        Parameters
        ----------
        epoch : int
            Counted from 0.
        vectors : float32 ndarray of shape (n, d), optional
            Current embeddings of the rows, used only by hard-items.

        Returns
        -------
        int ndarray of shape (steps, batch_size)
            Rows.
        """
        rng = np.random.default_rng([self.seed, epoch])
        if self.batches == "label-balanced":
            batches = draw_balanced_batches(
                self.items, self.steps, self.batch_size, self.pictures_per_item, rng
            )
        else:
            groups = self._draw_groups(rng)
            if self.batches == "hard-items" and vectors is not None:
                per_batch = self.batch_size // self.pictures_per_item
                order = order_by_neighbours(self.items, groups, vectors, per_batch, rng)
            else:
                order = rng.permutation(len(groups))
            extra = self._draw_groups(rng)
            rows = np.concatenate(
                [groups[i] for i in order] + [extra[i] for i in rng.permutation(len(extra))]
            )
            batches = rows[: self.steps * self.batch_size].reshape(self.steps, self.batch_size)
        return repair_batches(batches, self.items)

    def _draw_groups(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Split the shuffled rows of each item into groups of about K."""
        groups = []
        for rows in self.items.item_rows:
            # At most one group per two pictures: only an item with one picture has a group of one.
            count = max(1, min(round(len(rows) / self.pictures_per_item), len(rows) // 2))
            groups += np.array_split(rng.permutation(rows), count)
        return groups
