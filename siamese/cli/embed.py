"""The embed command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from siamese.cli.loading import (
    create_executor,
    load_embedder,
    model_context,
    read_checked_catalogue,
)
from siamese.cli.options import (
    batch_size_option,
    embedding_options,
    executor_options,
    json_option,
    labeled_data_options,
    output_type,
)
from siamese.cli.output import exit_if_skipped, print_json
from siamese.data.remote_files import Folder
from siamese.utils.text import pluralize

if TYPE_CHECKING:
    from siamese.embedding.executor import ExecutorName


@click.command()
@labeled_data_options
@embedding_options
@executor_options
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
    executor_name: ExecutorName,
    ray_address: str | None,
    **model: Any,
) -> None:
    """Embed a catalogue into a folder of Parquet files.

    `index`, `evaluate` and `report` take it as --embeddings. Pictures that cannot be used are
    skipped (exit code 3). Stopped, or are there more pictures now? The same command embeds only
    what is new.
    """
    from siamese.embedding.embed_catalogue import embed_into_store
    from siamese.embedding.store import EmbeddingStore

    catalogue = read_checked_catalogue(labeled_data, image_dir)
    store = EmbeddingStore(output)
    store.require_writable()
    with model_context():
        done = embed_into_store(
            load_embedder(**model),
            store,
            catalogue,
            batch_size=batch_size,
            executor=create_executor(executor_name, ray_address),
        )
    if as_json:
        print_json({"path": str(output), **done.as_dict()})
    else:
        click.echo(f"{output}: {pluralize(done.pictures, 'picture')}, {done.new:,} of them new")
        if done.runtime is not None:
            click.echo(
                f"{done.pictures_per_second:,.1f} pictures/s by {done.runtime} in {done.precision}"
            )
    exit_if_skipped(done.skipped)
