"""The evaluate command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from siamese.cli.loading import load_embedder, model_context, read_checked_catalogue
from siamese.cli.options import PATH, embedding_options, format_examples, seed_option, store_option
from siamese.cli.output import exit_if_skipped, print_json, print_table
from siamese.data.remote_files import Folder
from siamese.errors import InputError
from siamese.evaluation import summary
from siamese.utils.files import require_writable

if TYPE_CHECKING:
    from siamese.embedding.executor import Executor
    from siamese.embedding.store import EmbeddingStore
    from siamese.evaluation.evaluate import EvaluationResult


@click.command(
    epilog=format_examples(
        "siamese evaluate --labeled-data photos/test.json \\",
        "    --keras-model checkpoints/final_model.hdf5",
    )
)
@embedding_options
@store_option
@click.option(
    "--queries",
    type=PATH,
    help="JSON file of pictures to search for in --labeled-data.  [default: search for each "
    "picture among the others]",
)
@click.option(
    "--calibrate",
    is_flag=True,
    help="Write a distance threshold beside --keras-model. A query with no picture within this "
    "distance shows an unknown item.",
)
@seed_option
def evaluate(
    labeled_data: Path,
    image_dir: Folder | None,
    executor: Executor | None,
    batch_size: int,
    as_json: bool,
    store: EmbeddingStore | None,
    queries: Path | None,
    calibrate: bool,
    seed: int,
    **model: Any,
) -> None:
    """Measure how well a model finds pictures of the same item.

    Prints recall@k, precision@10, MAP@R, mAP and nDCG@10, averaged over pictures and over items,
    with 95 % bootstrap confidence intervals. Also prints the labels with the lowest MAP@R, and how
    well distances separate pairs of the same item from other pairs.
    """
    keras_model = model["keras_model"]
    if calibrate and keras_model is None:
        raise InputError("--calibrate: writes beside a checkpoint; give --keras-model too")
    gallery = read_checked_catalogue(labeled_data, image_dir)
    query_folder = image_dir or labeled_data.parent
    query_catalogue = read_checked_catalogue(queries, query_folder) if queries else None
    with model_context():
        from siamese.evaluation.calibration import get_calibration_path
        from siamese.evaluation.evaluate import evaluate as run_evaluation

        if calibrate:
            require_writable(get_calibration_path(keras_model))
        measured_on = f"{queries} in {labeled_data}" if queries else str(labeled_data)
        result = run_evaluation(
            load_embedder(**model),
            gallery,
            query_catalogue,
            batch_size=batch_size,
            store=store,
            executor=executor,
            seed=seed,
            measured_on=measured_on,
        )
        if calibrate:
            if result.calibration is None:
                raise InputError(
                    f"{measured_on}: --calibrate needs pictures of at least two items; add some"
                )
            result.calibration.write(get_calibration_path(keras_model))
    if as_json:
        print_json(result.as_dict())
    else:
        print_evaluation(result)
        if calibrate:
            click.echo(get_calibration_path(keras_model))
    exit_if_skipped(result.skipped)


def print_evaluation(result: EvaluationResult) -> None:
    """Print the metrics, the five labels with the lowest MAP@R, and the other results."""
    print_table(*summary.tabulate_metrics(result))
    header, rows = summary.tabulate_weakest_labels(result, 5)
    if rows:
        print_table(header, rows)
    for line in summary.describe_evaluation(result):
        click.echo(line)
    if count := result.unanswerable:
        click.echo(
            f"{count:,} queries left out: the gallery has no other picture of their item",
            err=True,
        )
