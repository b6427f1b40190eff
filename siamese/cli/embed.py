"""The embed command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from siamese.cli.loading import load_embedder, model_context, read_checked_catalogue
from siamese.cli.options import PATH, embedding_options, format_examples
from siamese.cli.output import exit_if_skipped, print_json
from siamese.data.remote_files import Folder
from siamese.utils.text import pluralize

if TYPE_CHECKING:
    from siamese.embedding.executor import Executor


@click.command(epilog=format_examples("siamese embed --labeled-data photos/items.json"))
@embedding_options
@click.option("--output", type=PATH, default="embeddings", help="Folder to write.")
def embed(
    labeled_data: Path,
    image_dir: Folder | None,
    executor: Executor | None,
    batch_size: int,
    as_json: bool,
    output: Path,
    **model: Any,
) -> None:
    """Compute and store the embeddings of a catalogue.

    The commands index, evaluate and report can reuse the embeddings: give them the folder as
    --embeddings. Run this command again to continue an interrupted run or to add new pictures.
    Unusable pictures are skipped (exit code 3).
    """
    from siamese.embedding.embed_catalogue import embed_into_store
    from siamese.embedding.store import EmbeddingStore

    catalogue = read_checked_catalogue(labeled_data, image_dir)
    store = EmbeddingStore(output)
    store.require_writable()
    with model_context():
        embedder = load_embedder(**model)
        result = embed_into_store(
            embedder, store, catalogue, batch_size=batch_size, executor=executor
        )
    if as_json:
        print_json({"path": str(output), **result.as_dict()})
    else:
        click.echo(f"{output}: {pluralize(result.pictures, 'picture')}, {result.new:,} of them new")
        if result.runtime is not None:
            speed = f"{result.pictures_per_second:,.1f} pictures/s"
            click.echo(f"{speed} with {result.runtime} in {result.precision}")
    exit_if_skipped(result.skipped)
