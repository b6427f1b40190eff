"""The train command."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from siamese.cli.loading import model_context, read_checked_catalogue, reject_model_flags
from siamese.cli.options import (
    PATH,
    format_examples,
    json_option,
    labeled_data_options,
    training_model_options,
)
from siamese.cli.output import exit_if_skipped, print_json
from siamese.cli.train_options import recipe_options
from siamese.data.remote_files import Folder
from siamese.training.recipe import Recipe
from siamese.utils.files import require_writable


@click.command(epilog=format_examples("siamese train --labeled-data photos/train.json"))
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
    help="Labelled data to measure retrieval on after each epoch.",
)
@click.option(
    "--resume", is_flag=True, help="Continue the run in --output after its last finished epoch."
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
    """Train an embedding model on a catalogue.

    Training starts from the pretrained default backbone, --backbone or --keras-model. The best
    model is written to final_model.hdf5 in --output. Items that share a label are never treated as
    dissimilar. To continue an interrupted run, repeat the command with --resume.
    """
    catalogue = read_checked_catalogue(labeled_data, image_dir)
    held_out = None
    if held_out_items is not None:
        held_out = read_checked_catalogue(held_out_items, image_dir or labeled_data.parent)
    given = {name: value for name, value in flags.items() if value is not None}
    if keras_model is not None:
        fresh = ("backbone", "picture_size", "weights", "embedding_size", "pooling")
        reject_model_flags(**{name: flags[name] for name in fresh})
    require_writable(output / "final_model.hdf5")
    with model_context(load_keras=True):
        from siamese.training.resume import recorded_recipe
        from siamese.training.train import train as run

        recipe = replace(recorded_recipe(output), **given) if resume else Recipe(**given)
        trained = run(
            catalogue, recipe, output, held_out=held_out, start=keras_model, resume=resume
        )
    if as_json:
        print_json({**asdict(trained), "model": str(trained.model)})
    else:
        click.echo(f"{trained.model}: the model of epoch {trained.best_epoch}")
    exit_if_skipped(trained.skipped)
