"""Generator of training batches: pictures of a catalogue and the relations between them."""

from __future__ import annotations

import threading
from typing import Any

import keras
import numpy as np

from siamese.data.catalogue import Catalogue, Picture, Skipped
from siamese.data.images import to_network_input
from siamese.data.label_rule import EXCLUDED
from siamese.errors import InputError
from siamese.training.picture_cache import PictureCache
from siamese.training.recipe import Batches, Sampling
from siamese.training.sampling import BatchSampler, PairSampler


class PairGenerator(keras.utils.PyDataset):
    """Dataset of batches of pictures and their relations, redrawn every epoch.

    A positive pair is two pictures of the same item; a negative pair is two pictures of different
    items without a common label (see `siamese.data.label_rule`). Pictures are float32 RGB in
    [-1, 1], of side s. Depending on `sampling`, a batch is:

    - with ``"batch-pairs"``: ``(pictures, relations)`` of shapes (n, s, s, 3) and (n, n + m), for
      the embedding model and a loss over relations. Relations are int8: +1 for a positive pair,
      -1 for a negative pair, 0 for a pair to ignore. Column j < n is picture j of the batch.
    - with ``"random-pairs"``: ``((anchors, others), y)`` of shapes (n, s, s, 3) twice and (n,), for
      the two-input siamese network and the contrastive loss. y is 1 for a positive pair, 0 for a
      negative one; half of the pairs are positive.

    The m extra columns of relations are for the `memory`: the pictures of the previous m / n
    batches of this epoch, newest batch first, in the order of `CrossBatchMemory`. Slots that no
    batch has filled yet have relation 0, as does a picture with itself.

    Parameters
    ----------
    catalogue : Catalogue
        Catalogue to draw from. Pictures that cannot be read are skipped.
    picture_size : int
        Side length in pixels, s.
    sampling : {"batch-pairs", "random-pairs"}
        Use all pairs in a batch of several pictures of several items, or independent random pairs.
    batch_size : int, default 128
        Number of pictures or random pairs per batch, n; capped at the number of pictures.
    pictures_per_item : int, default 4
        Number of pictures per item in a batch.
    batches : {"uniform", "label-balanced", "hard-items"}
        How batches are filled; see `siamese.training.sampling.batch_sampler`. Batches of hard
        items are uniform until `set_embeddings` is called.
    memory : int, default 0
        Number of slots of a cross-batch memory, m; rounded down to whole batches, and capped at
        all batches of an epoch but one.
    redraw : bool, default True
        Whether to draw new batches every epoch; False suits validation.
    seed : int, default 0
        Determines every draw, together with the epoch and the embeddings.
    workers : int, default 2
        Number of threads that prepare batches in advance.

    Attributes
    ----------
    pictures : list of Picture
        The readable pictures. A row is an index into this list.
    skipped : list of Skipped
        The unreadable pictures, with reasons.
    epoch : int
        Current epoch, counted from 0.

    Raises
    ------
    InputError
        If the catalogue has no positive or no negative pair, or random-pairs are combined with
        `memory` or with batches other than uniform.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        picture_size: int,
        sampling: Sampling = "batch-pairs",
        batch_size: int = 128,
        pictures_per_item: int = 4,
        batches: Batches = "uniform",
        memory: int = 0,
        redraw: bool = True,
        seed: int = 0,
        workers: int = 2,
    ) -> None:
        super().__init__(workers=workers, max_queue_size=8)
        _require_fitting_choices(sampling, batches, memory)
        self.sampling = sampling
        self.redraw = redraw
        self.epoch = 0
        pictures = catalogue.pictures
        self._cache = PictureCache(
            [catalogue.path_of(picture) for picture in pictures], picture_size
        )
        broken = self._cache.broken
        self.skipped = [
            Skipped(pictures[row].item_id, pictures[row].filename, reason)
            for row, reason in broken.items()
        ]
        self._cache_rows = np.array([row for row in range(len(pictures)) if row not in broken], int)
        self.pictures: list[Picture] = [pictures[row] for row in self._cache_rows]
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
            self._sampler = PairSampler(items, labels, seed=seed)
            self.batch_size = min(batch_size, len(items))
        self.memory = min(memory // self.batch_size, len(self) - 1) * self.batch_size
        self.draws_by_embeddings = batches == "hard-items"
        self._vectors: np.ndarray | None = None
        self._drawn: tuple[int, np.ndarray | None, Any] = (-1, None, None)
        self._draw_lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of batches per epoch; an incomplete last batch of pairs is dropped."""
        if isinstance(self._sampler, BatchSampler):
            return self._sampler.steps
        return len(self.pictures) // self.batch_size

    def __getitem__(self, step: int) -> tuple[Any, np.ndarray]:
        drawn = self.draw()
        if self.sampling == "batch-pairs":
            return self.prepared(drawn[step]), self._targets(drawn, step)
        batch = slice(step * self.batch_size, (step + 1) * self.batch_size)
        pair = self.prepared(drawn.anchors[batch]), self.prepared(drawn.others[batch])
        return pair, drawn.y[batch]

    def on_epoch_end(self) -> None:
        if self.redraw:
            self.epoch += 1

    def set_embeddings(self, vectors: np.ndarray) -> None:
        """Set the embeddings used to draw hard-items batches; call this only between epochs.

        Parameters
        ----------
        vectors : float32 ndarray of shape (n, d)
            Unit-length embeddings of `pictures`.

        Raises
        ------
        InputError
            If `vectors` contains infinity or NaN.
        """
        if len(vectors) != len(self.pictures):
            raise ValueError(f"{len(vectors)} vectors, but {len(self.pictures)} pictures")
        if not np.isfinite(vectors).all():
            raise InputError("the embeddings are not finite; the model that made them is broken")
        self._vectors = np.asarray(vectors, np.float32)

    def draw(self) -> Any:
        """Return the current epoch's batches, drawing them on the first call in the epoch.

        Returns
        -------
        int ndarray of shape (steps, batch_size), or Pairs
            Rows of `pictures`.
        """
        with self._draw_lock:  # worker threads call this concurrently; only one draws
            epoch, vectors, drawn = self._drawn
            if epoch != self.epoch or vectors is not self._vectors:
                epoch, vectors = self.epoch, self._vectors
                embeddings = (vectors,) if self.draws_by_embeddings else ()
                drawn = self._sampler.draw(epoch, *embeddings)
                self._drawn = (epoch, vectors, drawn)
            return drawn

    def relations(self, rows: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
        """Return the relation of each pair: positive (+1), negative (-1) or ignored (0).

        Parameters
        ----------
        rows : int ndarray of shape (n,)
            Rows of `pictures`.
        columns : int ndarray of shape (m,), optional
            Rows of `pictures` to pair them with; by default the same rows.

        Returns
        -------
        int8 ndarray of shape (n, m)
            The relation of a picture with itself is 0.
        """
        return self._sampler.items.relations(rows, rows if columns is None else columns)

    def squares(self, rows: np.ndarray) -> np.ndarray:
        """Return the given rows of `pictures` as uint8 of shape (n, s, s, 3)."""
        return np.stack([self._cache[self._cache_rows[row]] for row in rows])

    def prepared(self, rows: np.ndarray) -> np.ndarray:
        """Return the given rows of `pictures` as float32 of shape (n, s, s, 3), in [-1, 1]."""
        return to_network_input(self.squares(rows))

    def _targets(self, drawn: np.ndarray, step: int) -> np.ndarray:
        """Return the relations of a batch with itself and the memory: int8 (n, n + m)."""
        rows = drawn[step]
        first = max(0, step - self.memory // self.batch_size)
        columns = np.concatenate([rows, drawn[first:step][::-1].ravel()])
        related = np.full((len(rows), len(rows) + self.memory), EXCLUDED, np.int8)
        related[:, : len(columns)] = self.relations(rows, columns)
        return related


def _require_fitting_choices(sampling: Sampling, batches: Batches, memory: int) -> None:
    """Raise `InputError` if `batches` or `memory` would have no effect with the sampling."""
    problems = []
    if sampling == "random-pairs":
        if batches != "uniform":
            problems.append(f"{batches} batches need batch-pairs, not random-pairs")
        if memory:
            problems.append("a memory needs batch-pairs, not random-pairs")
    if problems:
        raise InputError(problems)
