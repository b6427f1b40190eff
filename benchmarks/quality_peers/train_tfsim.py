"""Train with TensorFlow Similarity, as its examples for digits and for birds do.

Sources, in tensorflow/similarity: examples/supervised_hello_world.ipynb (MNIST) and
examples/cars196.ipynb (which trains on photos of birds). Both use MultiSimilarityLoss with
the cosine distance and default parameters.
"""

from __future__ import annotations

# The first import, because it starts the clock.
from peer import read_task  # isort: skip

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tensorflow_similarity.layers import MetricEmbedding
from tensorflow_similarity.losses import MultiSimilarityLoss
from tensorflow_similarity.models import SimilarityModel
from tensorflow_similarity.samplers import MultiShotMemorySampler


def crop_and_flip(
    pictures: tf.Tensor, items: tf.Tensor, examples_per_class: int, is_warmup: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Apply the birds' `train_augmentation`: a square crop of 0.15 to 1 of the side, and a flip."""
    count, size = len(pictures), pictures.shape[1]
    side = tf.random.uniform((count, 1), 0.15, 1)
    start = tf.random.uniform((count, 2)) * (1 - side)
    boxes = tf.concat([start, start + side], axis=1)
    cropped = tf.image.crop_and_resize(pictures, boxes, tf.range(count), (size, size))
    return tf.image.random_flip_left_right(cropped), items


@dataclass(frozen=True)
class Recipe:
    """Settings in which the recipes differ."""

    items_per_batch: int
    pictures_per_item: int
    embedding_size: int
    frozen_batch_norm: bool
    augmenter: Callable[..., tuple[tf.Tensor, tf.Tensor]] | None


RECIPES = {
    "documented": Recipe(6, 6, 64, False, None),
    # The example's learning rate falls from 3e-5 over 240,000 pictures; this uses the digits' rate.
    "birds": Recipe(16, 5, 512, True, crop_and_flip),
}
LEARNING_RATE = 1e-4
"""Of Adam, from the example for digits."""


def main() -> None:
    """Train and embed."""
    task = read_task()
    recipe = RECIPES[task.recipe]
    tf.keras.utils.set_random_seed(task.seed)
    shape = task.pictures.shape[1:]
    backbone = tf.keras.applications.MobileNet(
        include_top=False, weights=str(task.weights), input_shape=shape, pooling="avg"
    )
    task.require_same_features(backbone.predict_on_batch)
    for layer in backbone.layers:
        if recipe.frozen_batch_norm and isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.trainable = False
    inputs = tf.keras.Input(shape)
    scaled = tf.keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    outputs = MetricEmbedding(recipe.embedding_size)(backbone(scaled))
    model = SimilarityModel(inputs, outputs)
    model.compile(tf.keras.optimizers.Adam(LEARNING_RATE), MultiSimilarityLoss(distance="cosine"))

    batch_size = recipe.items_per_batch * recipe.pictures_per_item
    steps = task.count_steps(batch_size)
    sampler = MultiShotMemorySampler(
        task.pictures,
        task.items,
        classes_per_batch=recipe.items_per_batch,
        examples_per_class_per_batch=recipe.pictures_per_item,
        steps_per_epoch=steps,
        augmenter=recipe.augmenter,
    )
    model.fit(sampler, epochs=1, verbose=2)

    def embed(pictures: np.ndarray) -> np.ndarray:
        return model.predict_on_batch((pictures + 1) * 127.5)

    task.write_answer(embed, steps * batch_size, ["tensorflow-similarity", "tensorflow"])


if __name__ == "__main__":
    main()
