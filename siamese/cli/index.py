"""The verbs that make something of a model: a SavedModel, embeddings, an index."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from siamese.cli.loading import (
    create_executor,
    load_embedder,
    model_context,
    open_store,
    read_catalogue,
)
from siamese.cli.options import (
    batch_size_option,
    collection_option,
    embedding_options,
    embeddings_option,
    executor_options,
    json_option,
    labeled_data_options,
)
from siamese.cli.output import exit_if_skipped, print_json
from siamese.data.remote_files import Folder

if TYPE_CHECKING:
    from siamese.embedding.executor import ExecutorName


@click.command()
@labeled_data_options
@embedding_options
@executor_options
@embeddings_option
@click.option(
    "--backend",
    type=click.Choice(["balltree", "faiss", "milvus"]),
    help="Search backend.  [default: what suits --output, or balltree]",
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
    executor_name: ExecutorName,
    ray_address: str | None,
    **model: Any,
) -> None:
    """Embed a catalogue and write a search index.

    A pickled scikit-learn BallTree, a folder of FAISS, or a collection of Milvus. Pictures that
    cannot be used are skipped (exit code 3) and listed beside the index. Stopped, or are there
    more pictures now? The same command embeds only what is new.
    """
    from siamese.indexes.build import index_catalogue, prepare_index

    catalogue = read_catalogue(labeled_data, image_dir)
    plan = prepare_index(
        output,
        backend,
        collection=collection,
        update=update,
        min_recall=min_recall,
        augment=augment,
    )
    with model_context():
        done = index_catalogue(
            load_embedder(**model),
            catalogue,
            plan,
            store=open_store(embeddings),
            batch_size=batch_size,
            executor=create_executor(executor_name, ray_address),
        )
    if as_json:
        changes = done.changes and done.changes._asdict()
        print_json({**asdict(done), "path": str(done.path), "changes": changes})
    else:
        print_index(done)
    exit_if_skipped(done.skipped)


def print_index(done: Any) -> None:
    """Say what is in an index, and what has changed in it."""
    if done.changes is not None:
        added, changed, removed = done.changes
        click.echo(f"{added:,} added, {changed:,} changed, {removed:,} removed")
    click.echo(f"{done.path}: {done.pictures:,} pictures, {done.embedding_size:,} dimensions")
