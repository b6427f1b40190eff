"""The export command."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from siamese.cli.loading import load_embedder, model_context
from siamese.cli.options import json_option, model_options, output_type
from siamese.cli.output import print_json, print_table
from siamese.utils.files import require_writable


@click.command()
@click.argument("what", type=click.Choice(["savedmodel"]))
@model_options
@click.option("--output", type=output_type, help="Folder that gets the next version.")
@json_option
def export(what: str, output: Path | None, as_json: bool, **model: Any) -> None:
    """Write a SavedModel for TensorFlow Serving.

    Its answers are compared with Keras first; where they differ there is no export.
    """
    from siamese.embedding.savedmodel import SAVED_MODELS, export_savedmodel

    output = output or SAVED_MODELS
    require_writable(output / "next")
    with model_context(load_keras=True):
        done = export_savedmodel(load_embedder(**model), output)
    if as_json:
        print_json({"path": str(done.path), "parity": [asdict(row) for row in done.parity]})
    else:
        print_export(done)


def print_export(done: Any) -> None:
    """Say how alike the ways to a vector are, and where the SavedModel lies."""
    print_table(
        ("one way", "the other", "least cosine"),
        ((row.one, row.other, f"{row.cosine:.5f}") for row in done.parity),
    )
    click.echo(done.path)
