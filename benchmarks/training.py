"""What do opening pictures and showing them in random views cost, beside the network's own work?

    python benchmarks/training.py --labeled-data train.json [--backbone MobileNet --weights FILE]

One model, two ways to feed it, turn about in one run: with one batch that lies in memory, and as
`siamese train` does, from a generator with a random view in front. Prints seconds a step (the
median over all rounds of a round's mean) and their ratio. The files are opened once before, as in
a training.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

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
@click.option("--steps", default=4, show_default=True, help="Steps a round of each way.")
def main(
    labeled_data: Path,
    image_dir: Path | None,
    backbone: str,
    weights: str,
    picture_size: int,
    rounds: int,
    steps: int,
) -> None:
    """Time a training step from memory and from files, and print the ratio."""
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
    model = embedding_model(backbone, picture_size, weights=weights)
    freeze_batch_norm(model)
    ways = {
        "one batch in memory": model,
        "files and random views": build_fitted_model(model, view=RandomView()),
    }
    schedule = WarmUpThenCosine(recipe.peak_learning_rate, steps=10**6)
    optimizer = keras.optimizers.Adam(schedule)
    for fitted in ways.values():
        fitted.compile(optimizer, make_loss(recipe), auto_scale_loss=False)

    pictures, relations = generator[0]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, fitted in ways.items():
            if name == "one batch in memory":
                begun = perf_counter()
                for _ in range(steps):
                    fitted.train_on_batch(pictures, relations)
                took = perf_counter() - begun
            else:
                clock = StepTimes(keras, steps)
                fitted.fit(
                    generator, epochs=1, verbose=0, shuffle=False, callbacks=[clock.callback]
                )
                took = clock.seconds
            if number:  # the first round compiles
                seconds[name].append(took / steps)
    print(describe_device())
    print(f"{backbone}, {picture_size} px, batches of {generator.batch_size}\n")
    memory, files = (float(np.median(times)) for times in seconds.values())
    print(f"{'':24}{'ms a step':>10}{'pictures/s':>12}")
    for name, time in zip(ways, (memory, files), strict=True):
        print(f"{name:24}{1000 * time:>10.0f}{generator.batch_size / time:>12.1f}")
    print(f"\nopening and views cost {100 * (files / memory - 1):.1f} % on top")


class StepTimes:
    """Seconds of some steps of an epoch, after the first one, which waits for the queue to fill."""

    def __init__(self, keras: object, steps: int) -> None:
        self.steps = steps
        self.begun = self.seconds = 0.0
        self.callback = keras.callbacks.LambdaCallback(  # type: ignore[attr-defined]
            on_train_batch_end=self.after
        )

    def after(self, batch: int, logs: object) -> None:
        """Note the time; end the epoch after the last step that counts."""
        if batch == 0:
            self.begun = perf_counter()
        elif batch == self.steps:
            self.seconds = perf_counter() - self.begun
            self.callback.model.stop_training = True


if __name__ == "__main__":
    main()
