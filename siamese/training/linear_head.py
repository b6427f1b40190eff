"""Training without a GPU: a projection learned in seconds, on features that are computed once.

The backbone stays as it is, so its features of a picture never change: they are computed in one
pass over the catalogue, and learning goes on with vectors. Two steps:

1. **Discriminants**, in closed form. With the covariance W within items (each item counts the
   same) and its mean eigenvalue w̄, features are whitened by (W + w̄ I)^(−1/2); of the whitened
   ones the projection keeps the directions in which the means of the items vary most. This is
   Fisher's linear discriminant analysis, with the shrinkage that few pictures an item call for.
2. A few epochs of the multi-similarity loss from there, by Adam.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from siamese.errors import InputError
from siamese.losses import MultiSimilarityLoss
from siamese.models.embedding_model import PROJECTION
from siamese.training.pair_generator import PairGenerator
from siamese.training.sampling import BatchSampler

EPOCHS, BATCH_SIZE = 3, 256
LEARNING_RATE = 1e-4
"""Ten times as much loses what the closed form has found; see docs/recipe.md."""
SHRINKAGE = 1.0
"""Added to the eigenvalues of the covariance within items, in parts of their mean."""


def train_head(
    model: keras.Model, generator: PairGenerator, features: np.ndarray, seed: int
) -> list[float]:
    """Train the projection of an embedding model alone.

    Parameters
    ----------
    model : with a layer `projection` behind a layer `pooling`
    generator : the pictures to learn from, of batch-pairs
    features : float32 (n, c), of its pictures, see `siamese.frozen_features`

    Returns
    -------
    The mean loss of each epoch.
    """
    items = [picture.item_id for picture in generator.pictures]
    projection = model.get_layer(PROJECTION)
    projection.set_weights(discriminants(features, items, projection.units))

    inputs = keras.Input(features.shape[1:])
    vectors = layers.UnitNormalization(dtype="float32")(projection(inputs))
    head = keras.Model(inputs, vectors)
    labels = [picture.labels for picture in generator.pictures]
    sampler = BatchSampler(items, labels, batch_size=BATCH_SIZE, pictures_per_item=4, seed=seed)
    steps = EPOCHS * sampler.steps
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    head.compile(keras.optimizers.Adam(rate), MultiSimilarityLoss())
    losses = []
    for epoch in range(EPOCHS):
        of_epoch = [
            float(head.train_on_batch(features[rows], generator.relations(rows)))
            for rows in sampler.draw(epoch)
        ]
        losses.append(float(np.mean(of_epoch)))
    return losses


def discriminants(
    features: np.ndarray, items: Sequence[object], size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights and bias of the linear discriminants: y = x · weights + bias.

    Parameters
    ----------
    features : float (n, c)
    items : (n,), item of each row
    size : d, directions that are kept; all c where there are fewer, and the others stay 0

    Returns
    -------
    weights : float32 (c, d), bias : float32 (d,); y has mean 0 and a mean length of 1

    Raises
    ------
    InputError
        If the features are all alike.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    centred = features - mean
    _, item, count = np.unique(
        np.asarray(items, dtype=str), return_inverse=True, return_counts=True
    )
    if np.abs(centred).max() <= 1e-6 * max(np.abs(mean).max(), 1e-6):
        raise InputError(
            "the features of all pictures are alike, so there is nothing for a head to learn; "
            "start from another model"
        )
    means = np.zeros((len(count), features.shape[1]))
    np.add.at(means, item, centred)
    means /= count[:, None]
    within = (centred - means[item]) / np.sqrt(count[item] * len(count))[:, None]
    variances, directions = np.linalg.eigh(within.T @ within)
    shrunk = np.maximum(variances, 0) + SHRINKAGE * variances.mean()
    whitening = directions / np.sqrt(np.maximum(shrunk, np.finfo(np.float32).tiny)) @ directions.T
    between = means @ whitening
    _, directions = np.linalg.eigh(between.T @ between)
    kept = whitening @ directions[:, ::-1][:, :size]
    weights = np.zeros((features.shape[1], size))
    weights[:, : kept.shape[1]] = kept / np.linalg.norm(centred @ kept, axis=1).mean()
    return weights.astype(np.float32), (-mean @ weights).astype(np.float32)
