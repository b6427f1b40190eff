"""From a catalogue to batches that train a siamese network."""

from __future__ import annotations

import threading
from typing import Any

import keras
import numpy as np

from siamese.data.catalogue import Catalogue, Picture, Skipped
from siamese.data.images import to_network_input
from siamese.data.label_rule import EXCLUDED
from siamese.errors import InputError
from siamese.training.picture_cache import PictureStore
from siamese.training.recipe import Batches, Sampling
from siamese.training.sampling import BatchSampler, PairSampler


class PairGenerator(keras.utils.PyDataset):
    """Pictures and which of them belong together, drawn anew every epoch.

    Positives are two pictures of one item; negatives are pictures of two items that share no
    label (items without labels share none). Two ways to draw:

    - ``"batch-pairs"``: batches of P items × K pictures and every pair of the batch. A batch is
      ``(pictures (n, s, s, 3), relations (n, n + m))``, int8: +1 for a positive pair, -1 for a
      negative one, 0 for one that is left out (`siamese.data.label_rule`). Column j < n is picture j of
      the batch. For the embedding model and a loss over relations.
    - ``"random-pairs"``: independent random pairs, half positive, half negative. A batch is
      ``((anchors (n, s, s, 3), others (n, s, s, 3)), y (n,))``, y = 1 for a positive pair.
      For the two-input siamese network and the contrastive loss.

    The m further columns of relations are

    - none (m = 0) by default;
    - with `memory` the slots of a cross-batch memory: the pictures of the last `memory` / n
      batches of this epoch, the newest batch first, as ``memory = concat([batch, memory])[:m]``
      leaves them. Slots that no batch has filled yet are 0, as is the anchor's own picture: an
      epoch begins with an empty memory;
    - with `proxies` the items, in the order of `item_ids`: +1 for the picture's own, -1 for one
      that shares no label with it, 0 for others. The first n columns are then 0.

    Pictures are float32 RGB in [-1, 1].

    Parameters
    ----------
    catalogue : its broken pictures are left out and listed in `skipped`
    picture_size : pixels of a side
    batch_size : pictures (batch-pairs), or pairs (random-pairs); all where there are fewer
    pictures_per_item : K
    batches : how batches are filled, see `siamese.training.sampling.batch_sampler`; hard-items are uniform
        until `set_embeddings`
    hard_negatives : of random-pairs, half of the negatives are near ones, from `set_embeddings` on
    memory : slots; rounded down to whole batches, and to as many as an epoch can fill
    proxies : relate the pictures to items
    redraw : False repeats the same draw every epoch, for validation
    seed : with the number of the epoch and the embeddings it decides every draw
    workers : threads that prepare batches ahead of the model

    Raises
    ------
    InputError
        If the catalogue has no positive or no negative pair, or a choice belongs to the other way
        of drawing: one line saying which and why.
    """

    HARD_SHARE = 0.5
    """Of the negatives, with `hard_negatives`."""

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        picture_size: int,
        sampling: Sampling = "batch-pairs",
        batch_size: int = 128,
        pictures_per_item: int = 4,
        batches: Batches = "uniform",
        hard_negatives: bool = False,
        memory: int = 0,
        proxies: bool = False,
        redraw: bool = True,
        seed: int = 0,
        workers: int = 2,
    ) -> None:
        super().__init__(workers=workers, max_queue_size=8)
        _require_fitting(sampling, batches, hard_negatives, memory, proxies)
        self.sampling = sampling
        self.proxies = proxies
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
                batches=batches,
            )
            self.batch_size = self._sampler.batch_size
        else:
            self._sampler = PairSampler(
                items, labels, seed=seed, hard_share=self.HARD_SHARE if hard_negatives else 0.0
            )
            self.batch_size = min(batch_size, len(items))
        self.item_ids = self._sampler.items.ids
        self.memory = min(memory // self.batch_size, len(self) - 1) * self.batch_size
        self.draws_by_embeddings = hard_negatives or batches == "hard-items"
        self._vectors: np.ndarray | None = None
        self._draw: tuple[int, np.ndarray | None, Any] = (-1, None, None)
        self._drawing = threading.Lock()

    def __len__(self) -> int:
        """Batches an epoch; a last incomplete one of random pairs is left out."""
        if isinstance(self._sampler, BatchSampler):
            return self._sampler.steps
        return len(self.pictures) // self.batch_size

    def __getitem__(self, step: int) -> tuple[Any, np.ndarray]:
        drawn = self.draw()
        if self.sampling == "batch-pairs":
            return self.prepared(drawn[step]), self._targets(drawn, step)
        batch = slice(step * self.batch_size, (step + 1) * self.batch_size)
        shown = self.prepared(drawn.anchors[batch]), self.prepared(drawn.others[batch])
        return shown, drawn.y[batch]

    def on_epoch_end(self) -> None:
        if self.redraw:
            self.epoch += 1

    def set_embeddings(self, vectors: np.ndarray) -> None:
        """Draw by these embeddings from now on; call it between epochs.

        Parameters
        ----------
        vectors : float32 (n, d), length 1, of `pictures`

        Raises
        ------
        InputError
            If they are not finite.
        """
        if len(vectors) != len(self.pictures):
            raise ValueError(f"{len(vectors)} vectors, but {len(self.pictures)} pictures")
        if not np.isfinite(vectors).all():
            raise InputError("vectors that are not finite; the model that made them is broken")
        self._vectors = np.asarray(vectors, np.float32)

    def draw(self) -> Any:
        """What this epoch shows: int (steps, batch_size) rows of `pictures`, or `Pairs` of them."""
        with self._drawing:  # all workers ask at once, and one of them draws
            epoch, vectors, drawn = self._draw
            if epoch != self.epoch or vectors is not self._vectors:
                epoch, vectors = self.epoch, self._vectors
                drawn = self._sampler.draw(epoch, vectors)
                self._draw = (epoch, vectors, drawn)
            return drawn

    def relations(self, rows: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
        """Of rows of `pictures`, which pairs are positive and which negative: int8 (n, m).

        The same picture twice is no positive pair.

        Parameters
        ----------
        others : int (m,), rows to relate them to; by default the same
        """
        return self._sampler.items.relations(rows, rows if others is None else others)

    def squares(self, rows: np.ndarray) -> np.ndarray:
        """Rows of `pictures`: uint8 (n, s, s, 3)."""
        return np.stack([self.store[self.rows[row]] for row in rows])

    def prepared(self, rows: np.ndarray) -> np.ndarray:
        """The same as networks take them: float32 (n, s, s, 3) in [-1, 1]."""
        return to_network_input(self.squares(rows))

    def _targets(self, drawn: np.ndarray, step: int) -> np.ndarray:
        """Relations of a batch to itself and to its memory or the items: int8 (n, n + m)."""
        rows = drawn[step]
        if self.proxies:
            items = self._sampler.items
            to_items = items.rule.relations(items.of_row[rows], np.arange(len(items)))
            to_batch = np.full((len(rows), len(rows)), EXCLUDED, np.int8)
            return np.concatenate([to_batch, to_items], axis=1)
        first = max(0, step - self.memory // self.batch_size)
        seen = np.concatenate([rows, drawn[first:step][::-1].ravel()])
        related = np.full((len(rows), len(rows) + self.memory), EXCLUDED, np.int8)
        related[:, : len(seen)] = self.relations(rows, seen)
        return related


def _require_fitting(
    sampling: Sampling, batches: Batches, hard_negatives: bool, memory: int, proxies: bool
) -> None:
    """Refuse what the way of drawing has no use for, rather than leave it out unsaid."""
    problems = []
    if sampling == "random-pairs":
        if batches != "uniform":
            problems.append(f"{batches} batches need batch-pairs; random-pairs are no batches")
        if memory:
            problems.append("a memory needs batch-pairs; random-pairs have no use for it")
        if proxies:
            problems.append("proxies need batch-pairs; random-pairs have no use for them")
    elif hard_negatives:
        problems.append("hard negatives need random-pairs; for batch-pairs take hard-items batches")
    if memory and proxies:
        problems.append("a memory and proxies exclude each other; choose one")
    if problems:
        raise InputError(problems)
