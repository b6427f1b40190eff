"""Vectors of the pictures that a training has at hand, prepared, in memory."""

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
"""See `embed_pictures`."""

BATCH = 64
"""Pictures that are embedded at once."""


def embed_pictures(
    model: keras.Model, generator: PairGenerator, pictures: int | None = None
) -> np.ndarray:
    """What a model that is being trained answers to a generator's pictures, as they are.

    Parameters
    ----------
    model : of one picture
    pictures : n, the first so many; all where it is None

    Returns
    -------
    float32 (n, d)
    """
    count = len(generator.pictures) if pictures is None else pictures
    vectors = []
    with progress_bar("embedding", count) as bar:
        for start in range(0, count, BATCH):
            # Whole batches, the last one filled up: another shape would be compiled anew.
            rows = np.arange(start, start + BATCH) % count
            answers = model.predict_on_batch(generator.prepared(rows))
            vectors.append(np.asarray(answers, np.float32)[: count - start])
            bar.update(len(vectors[-1]))
    return np.concatenate(vectors)


class FrozenFeatures:
    """The pooled features of a model, before its projection, by what runs it fastest.

    While only the projection is trained, features stay what they are, so that all that is asked of
    the model afterwards is done with vectors.

    Parameters
    ----------
    model : an embedding model with a layer `pooling`; its precision becomes that of embedding
    """

    def __init__(self, model: keras.Model) -> None:
        extractor = keras.Model(model.input, model.get_layer(POOLING).output)
        self._embedder = Embedder.from_model(extractor, "the frozen backbone")
        self._of: dict[PairGenerator, np.ndarray] = {}

    def compute(self, generator: PairGenerator) -> np.ndarray:
        """Features of each of a generator's pictures: float32 (n, c)."""
        if generator not in self._of:
            rows = np.arange(len(generator.pictures))
            features = np.empty((len(rows), self._embedder.facts.embedding_size), np.float32)
            with progress_bar("embedding", len(rows)) as bar:
                for start in range(0, len(rows), BATCH):
                    some = rows[start : start + BATCH]
                    features[some] = self._embedder.embed_squares(
                        generator.squares(some), batch_size=BATCH
                    )
                    bar.update(len(some))
            self._of[generator] = features
        return self._of[generator]

    def embed(
        self, model: keras.Model, generator: PairGenerator, pictures: int | None = None
    ) -> np.ndarray:
        """The same as `embed_pictures`, of a model that has the frozen backbone."""
        rest = keras.Model(model.get_layer(POOLING).output, model.output)
        features = self.compute(generator)[:pictures]
        return np.asarray(rest.predict(features, verbose=0), np.float32)
