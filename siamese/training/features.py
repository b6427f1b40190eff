"""Embeddings and pooled features of a generator's pictures, computed during training."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import keras
import numpy as np

from siamese.embedding.embedder import Embedder
from siamese.models.embedding_model import POOLING
from siamese.training.pair_generator import PairGenerator
from siamese.utils.progress import progress_bar

Embed: TypeAlias = Callable[[keras.Model, PairGenerator, int | None], np.ndarray]
"""Type of functions such as `embed_pictures`."""

BATCH = 64
"""Number of pictures to embed at once."""


def embed_pictures(
    model: keras.Model, generator: PairGenerator, count: int | None = None
) -> np.ndarray:
    """Embed the pictures of a generator, without augmentation.

    Parameters
    ----------
    model : keras.Model
        Embedding model.
    generator : PairGenerator
        Generator whose pictures to embed, in the order of its `pictures`.
    count : int, optional
        Number of pictures to embed, from the first; by default all.

    Returns
    -------
    float32 ndarray of shape (n, d)
    """
    count = len(generator.pictures) if count is None else count
    vectors = []
    with progress_bar("embedding", count) as bar:
        for start in range(0, count, BATCH):
            # Fill up the last batch, or TensorFlow would compile the model for another shape.
            rows = np.arange(start, start + BATCH) % count
            embedded = model.predict_on_batch(generator.prepared(rows))
            vectors.append(np.asarray(embedded, np.float32)[: count - start])
            bar.update(len(vectors[-1]))
    return np.concatenate(vectors)


class FrozenFeatures:
    """Cache of pooled features, which a frozen backbone computes once per picture.

    Parameters
    ----------
    model : keras.Model
        Embedding model with a layer ``pooling``. Its precision is changed to that for embedding.
    """

    def __init__(self, model: keras.Model) -> None:
        extractor = keras.Model(model.input, model.get_layer(POOLING).output)
        self._embedder = Embedder.from_model(extractor, "the frozen backbone")
        self._computed: dict[PairGenerator, np.ndarray] = {}

    def compute(self, generator: PairGenerator) -> np.ndarray:
        """Return the features of a generator's pictures, computing them on the first call.

        Returns
        -------
        float32 ndarray of shape (n, c)
        """
        if generator not in self._computed:
            rows = np.arange(len(generator.pictures))
            features = np.empty((len(rows), self._embedder.facts.embedding_size), np.float32)
            with progress_bar("embedding", len(rows)) as bar:
                for start in range(0, len(rows), BATCH):
                    batch = rows[start : start + BATCH]
                    features[batch] = self._embedder.embed_squares(
                        generator.squares(batch), batch_size=BATCH
                    )
                    bar.update(len(batch))
            self._computed[generator] = features
        return self._computed[generator]

    def embed(
        self, model: keras.Model, generator: PairGenerator, count: int | None = None
    ) -> np.ndarray:
        """Embed like `embed_pictures`, but from the features of the model's frozen backbone."""
        head = keras.Model(model.get_layer(POOLING).output, model.output)
        features = self.compute(generator)[:count]
        return np.asarray(head.predict(features, verbose=0), np.float32)
