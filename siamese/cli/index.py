"""The verbs that make something of a model: a SavedModel, embeddings, an index."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from siamese.cli.ending import end
from siamese.cli.loading import (
    embedder,
    keras_at_work,
    model_at_work,
    read,
    read_usable,
    store,
)
from siamese.cli.options import (
    batch_size_option,
    collection_option,
    embedding_options,
    embeddings_option,
    engine_options,
    json_option,
    labeled_data_options,
    model_options,
    output_type,
)
from siamese.cli.output import print_json, print_table
from siamese.data.remote_files import Folder
from siamese.utils.files import require_writable
from siamese.utils.text import counted


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
    with keras_at_work():
        done = export_savedmodel(embedder(**model), output)
    if as_json:
        print_json({"path": str(done.path), "parity": [asdict(row) for row in done.parity]})
    else:
        print_export(done)


@click.command()
@labeled_data_options
@embedding_options
@engine_options
@click.option(
    "--output",
    type=output_type,
    default="embeddings",
    show_default=True,
    help="Folder to write to.",
)
@batch_size_option
@json_option
def embed(
    labeled_data: Path,
    image_dir: Folder | None,
    output: Path,
    batch_size: int,
    as_json: bool,
    **model: Any,
) -> None:
    """Embed a catalogue into a folder of Parquet files.

    `index`, `evaluate` and `report` take it as --embeddings. Pictures that cannot be used are
    skipped (exit code 3). Stopped, or are there more pictures now? The same command embeds only
    what is new.
    """
    from siamese.embedding.store import MANIFEST, EmbeddingStore

    catalogue = read_usable(labeled_data, image_dir)
    require_writable(output / MANIFEST)
    with model_at_work():
        done = embedder(**model).embed_into(
            EmbeddingStore(output), catalogue, batch_size=batch_size
        )
    if as_json:
        print_json({"path": str(output), **done.as_dict()})
    else:
        click.echo(f"{output}: {counted(done.pictures, 'picture')}, {done.new:,} of them new")
        if done.runtime is not None:
            click.echo(
                f"{done.pictures_per_second:,.1f} pictures/s by {done.runtime} in {done.precision}"
            )
    end(done.skipped)


@click.command()
@labeled_data_options
@embedding_options
@engine_options
@embeddings_option
@click.option(
    "--backend",
    type=click.Choice(["balltree", "faiss", "milvus"]),
    help="Engine that searches.  [default: what suits --output, or balltree]",
)
@click.option(
    "--output",
    help="File, folder or address of a Milvus server.  [default: search_index.pkl, .faiss or "
    ".milvus]",
)
@collection_option
@click.option(
    "--update", is_flag=True, help="Change only what is not as in the catalogue any more."
)
@click.option(
    "--min-recall",
    type=click.FloatRange(0, 1),
    help="faiss: share of the nearest pictures to be found at least.  [default: 0.98]",
)
@click.option(
    "--augment-gallery",
    "augment",
    is_flag=True,
    help="Mix each vector with its three nearest: more is found, distances are to the mean.",
)
@batch_size_option
@json_option
def index(
    labeled_data: Path,
    image_dir: Folder | None,
    embeddings: Path | None,
    backend: str | None,
    output: str | None,
    collection: str,
    update: bool,
    min_recall: float | None,
    augment: bool,
    batch_size: int,
    as_json: bool,
    **model: Any,
) -> None:
    """Embed a catalogue and write a search index.

    A pickled scikit-learn BallTree, a folder of FAISS, or a collection of Milvus. Pictures that
    cannot be used are skipped (exit code 3) and listed beside the index. Stopped, or are there
    more pictures now? The same command embeds only what is new.
    """
    from siamese.indexes.build import index_catalogue, prepare_index

    catalogue = read(labeled_data, image_dir)
    words: dict[str, Any] = {
        "backend": backend,
        "collection": collection,
        "update": update,
        "min_recall": min_recall,
        "augment": augment,
    }
    prepare_index(output, **words)
    with model_at_work():
        done = index_catalogue(
            embedder(**model),
            catalogue,
            output,
            batch_size=batch_size,
            store=store(embeddings),
            **words,
        )
    if as_json:
        changes = done.changes and done.changes._asdict()
        print_json({**asdict(done), "path": str(done.path), "changes": changes})
    else:
        print_indexed(done)
    end(done.skipped)


def print_export(done: Any) -> None:
    """Say how alike the ways to a vector are, and where the SavedModel lies."""
    print_table(
        ("one way", "the other", "least cosine"),
        ((row.one, row.other, f"{row.cosine:.5f}") for row in done.parity),
    )
    click.echo(done.path)


def print_indexed(done: Any) -> None:
    """Say what is in an index, and what has changed in it."""
    if done.changes is not None:
        added, changed, removed = done.changes
        click.echo(f"{added:,} added, {changed:,} changed, {removed:,} removed")
    click.echo(f"{done.path}: {done.pictures:,} pictures, {done.embedding_size:,} dimensions")
