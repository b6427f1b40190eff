"""Batches of several pictures of several items, for losses over all pairs of a batch."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from siamese.training.recipe import Batches
from siamese.training.sampling.batch_repair import repair_batches
from siamese.training.sampling.hard_items import neighbours_together
from siamese.training.sampling.item_index import ItemIndex
from siamese.training.sampling.label_balanced import balanced_batches


class BatchSampler:
    """Batches of about P items × K pictures.

    Three ways to fill them:

    - ``"uniform"``: an epoch shows every picture once. Each item's pictures are shuffled and
      dealt in groups of K, the groups shuffled and laid end to end. What the last batch lacks
      comes from a further deal, so that all batches are of one size.
    - ``"hard-items"``: the same groups, but those of neighbouring items side by side (see
      `siamese.training.sampling.hard_items`). Without vectors it is uniform.
    - ``"label-balanced"``: as many batches, in which each label is met about equally often (see
      `siamese.training.sampling.label_balanced`). Pictures with rare labels come more than once an epoch, others
      not in every one.

    Of all, pictures are then swapped between batches where one holds no positive or no negative
    pair (see `siamese.training.sampling.batch_repair`).

    Parameters
    ----------
    items, labels : the item and the labels of each row
    batch_size : P · K, pictures; all of them where there are fewer
    pictures_per_item : K; at most half a batch, so that two items meet
    batches : how they are filled

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
        """Row numbers of an epoch: int (steps, batch_size).

        Parameters
        ----------
        vectors : float32 (n, d), the rows' current embeddings, for hard-items
        """
        rng = np.random.default_rng([self.seed, epoch])
        if self.batches == "label-balanced":
            batches = balanced_batches(
                self.items, self.steps, self.batch_size, self.pictures_per_item, rng
            )
        else:
            groups = self._groups(rng)
            if self.batches == "hard-items" and vectors is not None:
                per_batch = self.batch_size // self.pictures_per_item
                order = neighbours_together(self.items, groups, vectors, per_batch, rng)
            else:
                order = rng.permutation(len(groups))
            further = self._groups(rng)
            rows = np.concatenate(
                [groups[i] for i in order] + [further[i] for i in rng.permutation(len(further))]
            )
            batches = rows[: self.steps * self.batch_size].reshape(self.steps, self.batch_size)
        return repair_batches(batches, self.items)

    def _groups(self, rng: np.random.Generator) -> list[np.ndarray]:
        groups = []
        for rows in self.items.rows:
            # As many groups as K goes into the item, sizes within one: no picture with a sibling
            # stays alone.
            count = max(1, min(round(len(rows) / self.pictures_per_item), len(rows) // 2))
            groups += np.array_split(rng.permutation(rows), count)
        return groups
