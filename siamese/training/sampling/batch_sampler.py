"""Draw batches of several pictures of several items, for losses over all pairs of a batch."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from siamese.training.recipe import Batches
from siamese.training.sampling.batch_repair import repair_batches
from siamese.training.sampling.hard_items import order_by_neighbours
from siamese.training.sampling.item_index import ItemIndex
from siamese.training.sampling.label_balanced import draw_balanced_batches


class BatchSampler:
    """Batches of about P items × K pictures.

    There are three ways to fill them:

    - ``"uniform"``: an epoch shows every picture once. Each item's pictures are shuffled and split
      into groups of about K, and the groups are shuffled and joined. The last batch is filled up
      from another such shuffle, so that all batches are of one size.
    - ``"hard-items"``: the same groups, but those of neighbouring items next to each other (see
      `siamese.training.sampling.hard_items`). Without vectors it is uniform.
    - ``"label-balanced"``: as many batches, in which each label appears about equally often (see
      `siamese.training.sampling.label_balanced`). Pictures with rare labels appear more than once
      per epoch, others not in every epoch.

    Pictures are then swapped between batches if a batch has no positive or no negative pair (see
    `siamese.training.sampling.batch_repair`).

    Parameters
    ----------
    items : sequence of hashable, length n
        Item of each row.
    labels : sequence of iterables of hashable, length n
        Labels of each row's item.
    batch_size : int
        Rows per batch, P · K; at most n.
    pictures_per_item : int
        K; at most half a batch, so that two items meet.
    seed : int
        Determines every draw, together with the epoch and the vectors.
    batches : {"uniform", "label-balanced", "hard-items"}
        How batches are filled.

    Attributes
    ----------
    steps : int
        Batches per epoch.

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
            Current embeddings of the rows, for hard-items.

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
            # The sizes differ by one at most, so no picture with a sibling is alone in its group.
            count = max(1, min(round(len(rows) / self.pictures_per_item), len(rows) // 2))
            groups += np.array_split(rng.permutation(rows), count)
        return groups
