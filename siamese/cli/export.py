"""The export command."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from siamese.cli.loading import load_embedder, model_context
from siamese.cli.options import PATH, format_examples, json_option, model_options
from siamese.cli.output import print_json, print_table
from siamese.utils.files import require_writable


@click.command(
    epilog=format_examples("siamese export savedmodel --keras-model checkpoints/final_model.hdf5")
)
@click.argument("what", type=click.Choice(["savedmodel"]))
@model_options
@click.option(
    "--output",
    type=PATH,
    help="Folder to write the next version in.  [default: savedmodels/embedding_model]",
)
@json_option
def export(what: str, output: Path | None, as_json: bool, **model: Any) -> None:
    """Export a model as a SavedModel for TensorFlow Serving.

    Compares the outputs of the SavedModel and the Keras model, and exports nothing if they differ.
    """
    from siamese.embedding.savedmodel import SAVED_MODELS, export_savedmodel

    output = output or SAVED_MODELS
    require_writable(output / "next")
    with model_context(load_keras=True):
        result = export_savedmodel(load_embedder(**model), output)
    if as_json:
        print_json({"path": str(result.path), "parity": [asdict(row) for row in result.parity]})
        return
    print_table(
        ("output of", "compared with", "lowest cosine"),
        ((row.one, row.other, f"{row.cosine:.5f}") for row in result.parity),
    )
    click.echo(result.path)
