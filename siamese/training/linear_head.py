"""Training of the projection alone, in seconds, on features that are computed once.

The backbone is frozen, so a picture's features never change. Training takes two steps:

1. Initialise the projection with Fisher's linear discriminants, in closed form, with shrinkage
   because items have few pictures; see `linear_discriminants`.
2. Train it for a few epochs with Adam and the multi-similarity loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from keras import layers

from siamese.errors import InputError
from siamese.losses import MultiSimilarityLoss
from siamese.models.embedding_model import POOLING, PROJECTION
from siamese.training.pair_generator import PairGenerator
from siamese.training.sampling import BatchSampler

EPOCHS, BATCH_SIZE, PICTURES_PER_ITEM = 3, 256, 4
LEARNING_RATE = 1e-4
"""Initial rate. Ten times as high would undo the closed-form solution; see docs/recipe.md."""
SHRINKAGE = 1.0
"""Amount added to the eigenvalues of the within-item covariance, as a multiple of their mean."""


def require_head(model: keras.Model, checkpoint: Path) -> None:
    """Raise `InputError` if a checkpoint's embedding model has no projection to train."""
    if not {POOLING, PROJECTION} <= {layer.name for layer in model.layers}:
        raise InputError(
            f"{checkpoint}: has no layers named {POOLING} and {PROJECTION}, so there is no head to "
            "train; omit --layers, or start from a checkpoint trained with --embedding-size"
        )


def model_without_head(model: keras.Model) -> keras.Model:
    """Return the embedding model without its projection; the result shares the other layers."""
    features = model.get_layer(POOLING).output
    return keras.Model(model.input, layers.UnitNormalization(dtype="float32")(features))


def train_head(
    model: keras.Model, generator: PairGenerator, features: np.ndarray, seed: int
) -> list[float]:
    """Train the projection of an embedding model, in place.

    Parameters
    ----------
    model : keras.Model
        Embedding model whose layer ``pooling`` is followed by a layer ``projection``.
    generator : PairGenerator
        Generator of the training pictures, with batch-pairs.
    features : float32 ndarray of shape (n, c)
        Pooled features of the pictures; see `siamese.training.features.FrozenFeatures`.
    seed : int
        Determines the batches.

    Returns
    -------
    list of float
        Mean loss of each epoch.
    """
    items = [picture.item_id for picture in generator.pictures]
    projection = model.get_layer(PROJECTION)
    projection.set_weights(linear_discriminants(features, items, projection.units))

    inputs = keras.Input(features.shape[1:])
    vectors = layers.UnitNormalization(dtype="float32")(projection(inputs))
    head = keras.Model(inputs, vectors)
    labels = [picture.labels for picture in generator.pictures]
    sampler = BatchSampler(
        items, labels, batch_size=BATCH_SIZE, pictures_per_item=PICTURES_PER_ITEM, seed=seed
    )
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, EPOCHS * sampler.steps)
    head.compile(keras.optimizers.Adam(rate), MultiSimilarityLoss())
    epoch_losses = []
    for epoch in range(EPOCHS):
        losses = [
            float(head.train_on_batch(features[rows], generator.relations(rows)))
            for rows in sampler.draw(epoch)
        ]
        epoch_losses.append(float(np.mean(losses)))
    return epoch_losses


def linear_discriminants(
    features: np.ndarray, items: Sequence[object], size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Compute linear discriminants y = x · weights + bias.

    Let W be the within-item covariance, with the same weight for each item, and w̄ its mean
    eigenvalue. Features are whitened by (W + w̄ I)^(−1/2). The discriminants are the directions in
    which the whitened item means vary most. Over the features, y has mean 0 and mean norm 1.

    Parameters
    ----------
    features : float ndarray of shape (n, c)
        Features x, one row per picture.
    items : sequence of length n
        Item of each row.
    size : int
        Number of discriminants, d. If d > c, the last d − c components of y are 0.

    Returns
    -------
    weights : float32 ndarray of shape (c, d)
    bias : float32 ndarray of shape (d,)

    Raises
    ------
    InputError
        If the features of all pictures are equal.

    References
    ----------
    R. A. Fisher, "The Use of Multiple Measurements in Taxonomic Problems", Annals of Eugenics,
    1936.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    centred = features - mean
    _, item, count = np.unique(
        np.asarray(items, dtype=str), return_inverse=True, return_counts=True
    )
    if np.abs(centred).max() <= 1e-6 * max(np.abs(mean).max(), 1e-6):
        raise InputError(
            "the features of all pictures are equal, so there is nothing for a head to learn; "
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
    discriminants = whitening @ directions[:, ::-1][:, :size]
    weights = np.zeros((features.shape[1], size))
    weights[:, : discriminants.shape[1]] = (
        discriminants / np.linalg.norm(centred @ discriminants, axis=1).mean()
    )
    return weights.astype(np.float32), (-mean @ weights).astype(np.float32)
