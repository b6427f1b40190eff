"""The verb that trains."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from siamese.cli.loading import model_context, read_checked_catalogue, reject_model_flags
from siamese.cli.options import PATH, json_option, labeled_data_options, training_model_options
from siamese.cli.output import exit_if_skipped, print_json
from siamese.cli.train_options import recipe_options
from siamese.data.remote_files import Folder
from siamese.training.recipe import Recipe
from siamese.utils.files import require_writable


@click.command()
@labeled_data_options
@click.option(
    "--output",
    type=PATH,
    default="checkpoints",
    show_default=True,
    help="Folder for the checkpoints.",
)
@click.option(
    "--held-out",
    "held_out_items",
    type=PATH,
    help="Labelled data to measure on each epoch.",
)
@click.option(
    "--resume", is_flag=True, help="Go on with the run in --output, after its last epoch."
)
@recipe_options
@training_model_options
@json_option
def train(
    labeled_data: Path,
    image_dir: Folder | None,
    output: Path,
    held_out_items: Path | None,
    resume: bool,
    keras_model: Path | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Train an embedding on a catalogue.

    The best model is final_model.hdf5 in --output. Starts from the pretrained default or from
    --backbone, or goes on training --keras-model. Items that share a label are never treated as
    dissimilar. Stopped? The same command with --resume.
    """
    catalogue = read_checked_catalogue(labeled_data, image_dir)
    folder = image_dir or labeled_data.parent
    others = read_checked_catalogue(held_out_items, folder) if held_out_items else None
    given = {name: value for name, value in flags.items() if value is not None}
    if keras_model is not None:
        fresh = ("backbone", "picture_size", "weights", "embedding_size", "pooling")
        reject_model_flags(**{name: flags[name] for name in fresh})
    require_writable(output / "final_model.hdf5")
    with model_context(load_keras=True):
        from siamese.training.resume import recorded_recipe
        from siamese.training.train import train as run

        recipe = replace(recorded_recipe(output), **given) if resume else Recipe(**given)
        done = run(catalogue, recipe, output, held_out=others, start=keras_model, resume=resume)
    if as_json:
        document = asdict(done)
        print_json({**document, "model": str(done.model)})
    else:
        click.echo(f"{done.model}: the model of epoch {done.best_epoch}")
    exit_if_skipped(done.skipped)
