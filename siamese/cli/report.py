"""The report command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from siamese.cli.loading import load_embedder, model_context, read_checked_catalogue
from siamese.cli.options import PATH, embedding_options, format_examples, store_option
from siamese.cli.output import exit_if_skipped, print_json, print_table
from siamese.data.remote_files import Folder
from siamese.errors import InputError
from siamese.utils.files import require_writable

if TYPE_CHECKING:
    from siamese.embedding.executor import Executor
    from siamese.embedding.store import EmbeddingStore


@click.command(
    epilog=format_examples(
        "siamese report --labeled-data photos/test.json \\",
        "    --keras-model checkpoints/final_model.hdf5",
    )
)
@embedding_options
@store_option
@click.option("--output", type=PATH, default="report", help="Folder to write.")
def report(
    labeled_data: Path,
    image_dir: Folder | None,
    executor: Executor | None,
    batch_size: int,
    as_json: bool,
    store: EmbeddingStore | None,
    output: Path,
    **model: Any,
) -> None:
    """Compare a model with the pretrained default.

    Evaluates both models on a catalogue, which should not contain training data, and writes
    report.html, neighbours.png, catalogue.png and metrics.json to --output.
    """
    catalogue = read_checked_catalogue(labeled_data, image_dir)
    if not (model["keras_model"] or model["backbone"]):
        raise InputError("no model to compare with the default; give --keras-model or --backbone")
    require_writable(output / "report.html")
    with model_context():
        from siamese.reports.training_report import write_training_report

        result = write_training_report(
            catalogue,
            load_embedder(None, runtime=model["runtime"], precision=model["precision"]),
            load_embedder(**model),
            output,
            batch_size=batch_size,
            store=store,
            executor=executor,
        )
    if as_json:
        print_json(result.comparison.as_dict())
    else:
        print_table(("metric", "before", "after", "gain"), result.comparison.tabulate())
        click.echo(output / "report.html")
    exit_if_skipped(result.skipped)
