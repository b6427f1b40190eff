"""From a catalogue to batches that train a siamese network."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from siamese.catalogue import Catalogue, Picture
from siamese.embedding import Skipped
from siamese.images import scaled
from siamese.labels import relations
from siamese.picture_store import PictureStore
from siamese.recipe import Sampling
from siamese.sampling import BatchSampler, PairSampler


class PairGenerator(keras.utils.PyDataset):
    """Pictures and which of them belong together, drawn anew every epoch.

    Positives are two pictures of one item; negatives are pictures of two items that share no
    label (items without labels share none). Two ways to draw:

    - ``"batch-pairs"``: batches of P items × K pictures, each picture once, and every pair of
      the batch. A batch is ``(pictures (n, s, s, 3), relations (n, n))``: +1 for a positive
      pair, -1 for a negative one, 0 for one that is left out (`siamese.labels.relations`).
      For the embedding model and a loss over relations.
    - ``"random-pairs"``: independent random pairs, half positive, half negative. A batch is
      ``((anchors (n, s, s, 3), others (n, s, s, 3)), y (n,))``, y = 1 for a positive pair.
      For the two-input siamese network and the contrastive loss.

    Pictures are float32 RGB in [-1, 1].

    Parameters
    ----------
    catalogue : its broken pictures are left out and listed in `skipped`
    picture_size : pixels of a side
    batch_size : pictures (batch-pairs), or pairs (random-pairs)
    pictures_per_item : K
    redraw : False repeats the same draw every epoch, for validation
    seed : with the number of the epoch it decides every draw
    workers : threads that prepare batches ahead of the model

    Raises
    ------
    InputError
        If the catalogue has no positive or no negative pair: one line saying which and why.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        picture_size: int,
        sampling: Sampling = "batch-pairs",
        batch_size: int = 128,
        pictures_per_item: int = 4,
        redraw: bool = True,
        seed: int = 0,
        workers: int = 2,
    ) -> None:
        super().__init__(workers=workers, max_queue_size=8)
        self.sampling = sampling
        self.redraw = redraw
        self.epoch = 0
        store = PictureStore(
            [catalogue.path_of(picture) for picture in catalogue.pictures], picture_size
        )
        self.skipped = [
            Skipped(catalogue.pictures[row].item_id, catalogue.pictures[row].filename, reason)
            for row, reason in store.broken.items()
        ]
        self.store = store
        self.rows = np.array([row for row in range(len(store)) if row not in store.broken], int)
        self.pictures: list[Picture] = [catalogue.pictures[row] for row in self.rows]
        items = [picture.item_id for picture in self.pictures]
        labels = [picture.labels for picture in self.pictures]
        self._sampler: BatchSampler | PairSampler
        if sampling == "batch-pairs":
            self._sampler = BatchSampler(
                items,
                labels,
                batch_size=batch_size,
                pictures_per_item=pictures_per_item,
                seed=seed,
            )
            self.batch_size = self._sampler.batch_size
        else:
            self._sampler = PairSampler(items, labels, seed=seed)
            self.batch_size = min(batch_size, len(items))
        self._draw: tuple[int, Any] = (-1, None)

    def __len__(self) -> int:
        """Batches an epoch; a last incomplete one of random pairs is left out."""
        if isinstance(self._sampler, BatchSampler):
            return self._sampler.steps
        return len(self.pictures) // self.batch_size

    def __getitem__(self, step: int) -> tuple[Any, np.ndarray]:
        if self.sampling == "batch-pairs":
            rows = self.draw()[step]
            return self.prepared(rows), self.relations(rows)
        pairs = self.draw()
        batch = slice(step * self.batch_size, (step + 1) * self.batch_size)
        shown = self.prepared(pairs.anchors[batch]), self.prepared(pairs.others[batch])
        return shown, pairs.y[batch]

    def on_epoch_end(self) -> None:
        if self.redraw:
            self.epoch += 1

    def draw(self) -> Any:
        """What this epoch shows: int (steps, batch_size) rows of `pictures`, or `Pairs` of them."""
        epoch, drawn = self._draw
        if epoch != self.epoch:
            # Two threads may both get here and draw the same: (seed, epoch) decides it.
            drawn = self._sampler.draw(self.epoch)
            self._draw = (self.epoch, drawn)
        return drawn

    def relations(self, rows: np.ndarray) -> np.ndarray:
        """Of these rows of `pictures`, which are positive and negative pairs: int8 (n, n)."""
        shown = [self.pictures[row] for row in rows]
        matrix = relations([p.item_id for p in shown], [p.labels for p in shown])
        matrix[rows[:, None] == rows] = 0  # the same picture twice is no positive pair
        return matrix

    def prepared(self, rows: np.ndarray) -> np.ndarray:
        """Rows of `pictures`: float32 (n, s, s, 3) in [-1, 1]."""
        return scaled(np.stack([self.store[self.rows[row]] for row in rows]))
