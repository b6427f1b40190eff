"""The index command."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from siamese.cli.loading import load_embedder, model_context, read_catalogue
from siamese.cli.options import collection_option, embedding_options, format_examples, store_option
from siamese.cli.output import exit_if_skipped, print_json
from siamese.data.remote_files import Folder
from siamese.utils.text import pluralize

if TYPE_CHECKING:
    from siamese.embedding.executor import Executor
    from siamese.embedding.store import EmbeddingStore


@click.command(
    epilog=format_examples(
        "siamese index --labeled-data photos/items.json \\",
        "    --keras-model checkpoints/final_model.hdf5",
    )
)
@embedding_options
@store_option
@click.option(
    "--backend",
    type=click.Choice(["balltree", "faiss", "milvus"]),
    help="Library that stores and searches the index.  [default: the one that --output implies, "
    "or balltree]",
)
@click.option(
    "--output",
    help="Where to write: a file, a folder or the address of a Milvus server.  "
    "[default: search_index.pkl, .faiss or .milvus]",
)
@collection_option
@click.option(
    "--update", is_flag=True, help="Update the existing index with the changes of the catalogue."
)
@click.option(
    "--min-recall",
    type=click.FloatRange(0, 1),
    help="Minimum share of the true nearest neighbours that a FAISS index finds.  [default: 0.98]",
)
@click.option(
    "--augment-gallery",
    "augment",
    is_flag=True,
    help="Average each vector with its three nearest neighbours. This improves recall, but "
    "distances are then measured to the averages.",
)
def index(
    labeled_data: Path,
    image_dir: Folder | None,
    executor: Executor | None,
    batch_size: int,
    as_json: bool,
    store: EmbeddingStore | None,
    backend: str | None,
    output: str | None,
    collection: str,
    update: bool,
    min_recall: float | None,
    augment: bool,
    **model: Any,
) -> None:
    """Embed a catalogue and build a search index.

    The index is a pickled scikit-learn BallTree, a FAISS folder or a Milvus collection. Run the
    command again to continue an interrupted run or to add new pictures. Unusable pictures are
    skipped (exit code 3) and listed in a file next to the index.
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
        embedder = load_embedder(**model)
        result = index_catalogue(
            embedder, catalogue, plan, store=store, batch_size=batch_size, executor=executor
        )
    if as_json:
        changes = result.changes and result.changes._asdict()
        print_json({**asdict(result), "path": str(result.path), "changes": changes})
    else:
        if result.changes is not None:
            added, changed, removed = result.changes
            click.echo(f"{added:,} added, {changed:,} changed, {removed:,} removed")
        pictures = pluralize(result.pictures, "picture")
        click.echo(f"{result.path}: {pictures}, {result.embedding_size:,} dimensions")
    exit_if_skipped(result.skipped)
