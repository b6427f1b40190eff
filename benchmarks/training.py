"""Measure how much time reading pictures and random views add to a training step.

The same model is trained in turns on one batch in memory and, as `siamese train` does, on files
with random views. A warm-up round reads the files first, so that they are in the page cache::

    python benchmarks/training.py --labeled-data train.json

It prints the time per step for both (the mean of a round, and the median over all rounds) and the
relative difference.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import click
import numpy as np

from siamese.utils.keras_import import import_keras


@click.command()
@click.option("--labeled-data", type=click.Path(path_type=Path), required=True)
@click.option("--image-dir", type=click.Path(path_type=Path))
@click.option("--backbone", default="EfficientNetLite0", show_default=True)
@click.option("--weights", default="imagenet", show_default=True)
@click.option("--picture-size", default=160, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option(
    "--steps", default=4, show_default=True, help="Steps per round, from memory and from files."
)
def main(
    labeled_data: Path,
    image_dir: Path | None,
    backbone: str,
    weights: str,
    picture_size: int,
    rounds: int,
    steps: int,
) -> None:
    """Time a training step from memory and from files and print the difference."""
    import_keras()
    import keras

    from siamese.data.catalogue import Catalogue
    from siamese.models.devices import describe_device
    from siamese.models.embedding_model import embedding_model
    from siamese.models.layer_walk import freeze_batch_norm
    from siamese.training.augmentation import RandomView
    from siamese.training.learning_rate import WarmUpThenCosine
    from siamese.training.objective import build_fitted_model, make_loss
    from siamese.training.pair_generator import PairGenerator
    from siamese.training.recipe import Recipe

    recipe = Recipe(backbone=backbone, weights=weights, picture_size=picture_size)
    catalogue = Catalogue.read(labeled_data, image_dir)
    generator = PairGenerator(catalogue, picture_size=picture_size, batch_size=recipe.batch_size)
    if len(generator) <= steps:
        raise click.UsageError(
            f"{labeled_data}: has {len(generator)} batches; give more pictures or fewer --steps"
        )
    model = embedding_model(backbone, picture_size, weights=weights)
    freeze_batch_norm(model)
    augmented_model = build_fitted_model(model, view=RandomView())
    optimizer = keras.optimizers.Adam(WarmUpThenCosine(recipe.peak_learning_rate, steps=10**6))
    optimizer.build(model.trainable_variables)
    for trained_model in (model, augmented_model):
        trained_model.compile(optimizer, make_loss(recipe), auto_scale_loss=False)

    pictures, relations = generator[0]
    memory_seconds, file_seconds = [], []
    for number in range(rounds + 1):
        start = perf_counter()
        for _ in range(steps):
            model.train_on_batch(pictures, relations)
        memory = (perf_counter() - start) / steps
        timer = StepTimer(keras, steps)
        augmented_model.fit(
            generator, epochs=1, verbose=0, shuffle=False, callbacks=[timer.callback]
        )
        if number:  # the first round compiles the models and reads the files
            memory_seconds.append(memory)
            file_seconds.append(timer.seconds / steps)
    print(describe_device())
    print(f"{backbone}, {picture_size} px, batches of {generator.batch_size}\n")
    memory, files = float(np.median(memory_seconds)), float(np.median(file_seconds))
    print(f"{'':24}{'ms/step':>10}{'pictures/s':>12}")
    for name, seconds in (("one batch in memory", memory), ("files and random views", files)):
        print(f"{name:24}{1000 * seconds:>10.0f}{generator.batch_size / seconds:>12.1f}")
    print(f"\nfiles and random views add {100 * (files / memory - 1):.1f} %")


class StepTimer:
    """Timer of the steps of an epoch after the first, which waits for the queue to fill.

    Parameters
    ----------
    keras : module
        The Keras module, which is imported late.
    steps : int
        Number of steps to time. The epoch ends after them.

    Attributes
    ----------
    callback : keras.callbacks.Callback
        Callback to give to `fit`.
    seconds : float
        Total time of these steps.
    """

    def __init__(self, keras: Any, steps: int) -> None:
        self.steps = steps
        self.seconds = 0.0
        self._started = 0.0
        self.callback = keras.callbacks.LambdaCallback(on_train_batch_end=self._end_step)

    def _end_step(self, batch: int, logs: object) -> None:
        if batch == 0:
            self._started = perf_counter()
        elif batch == self.steps:
            self.seconds = perf_counter() - self._started
            self.callback.model.stop_training = True


if __name__ == "__main__":
    main()
