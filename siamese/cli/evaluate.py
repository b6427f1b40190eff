"""The verbs that tell how good a model is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from siamese.cli.loading import (
    create_executor,
    load_embedder,
    model_context,
    open_store,
    read_checked_catalogue,
)
from siamese.cli.options import (
    batch_size_option,
    embedding_options,
    embeddings_option,
    executor_options,
    json_option,
    labeled_data_options,
    seed_option,
)
from siamese.cli.output import exit_if_skipped, print_json, print_table
from siamese.errors import InputError
from siamese.evaluation.summary import (
    describe_evaluation,
    tabulate_metrics,
    tabulate_weakest_labels,
)
from siamese.utils.files import require_writable

if TYPE_CHECKING:
    from siamese.data.remote_files import Folder
    from siamese.embedding.executor import ExecutorName
    from siamese.evaluation.evaluate import EvaluationResult

WEAKEST = 5
"""Labels that `evaluate` names; `--json` has them all."""


@click.command()
@labeled_data_options
@click.option(
    "--queries",
    type=click.Path(path_type=Path),
    help="Labelled data to search for in --labeled-data.  [default: leave one out]",
)
@click.option(
    "--calibrate",
    is_flag=True,
    help='Write the threshold of "we don\'t have this" beside --keras-model.',
)
@embeddings_option
@seed_option
@embedding_options
@executor_options
@batch_size_option
@json_option
def evaluate(
    labeled_data: Path,
    image_dir: Folder | None,
    queries: Path | None,
    calibrate: bool,
    embeddings: Path | None,
    seed: int,
    batch_size: int,
    as_json: bool,
    executor_name: ExecutorName,
    ray_address: str | None,
    **model: Any,
) -> None:
    """Measure how well pictures of one item are found.

    By recall@k, precision@10, MAP@R, mAP and nDCG@10, over the pictures and by item, with 95 %
    intervals from drawing the items anew; for each label; and by pairs of pictures.
    """
    keras_model = model["keras_model"]
    if calibrate and keras_model is None:
        raise InputError("--calibrate writes beside a checkpoint; give --keras-model too")
    gallery = read_checked_catalogue(labeled_data, image_dir)
    asked = read_checked_catalogue(queries, image_dir or labeled_data.parent) if queries else None
    with model_context():
        from siamese.evaluation.calibration import get_calibration_path
        from siamese.evaluation.evaluate import evaluate as run

        if calibrate:
            require_writable(get_calibration_path(keras_model))
        measured_on = f"{queries} in {labeled_data}" if queries else str(labeled_data)
        done = run(
            load_embedder(**model),
            gallery,
            asked,
            batch_size=batch_size,
            store=open_store(embeddings),
            executor=create_executor(executor_name, ray_address),
            seed=seed,
            measured_on=measured_on,
        )
        if calibrate:
            if done.calibration is None:
                raise InputError(
                    f"{measured_on}: --calibrate needs pictures of at least two items; give more"
                )
            done.calibration.write(get_calibration_path(keras_model))
    if as_json:
        print_json(done.as_dict())
    else:
        print_evaluation(done)
        if calibrate:
            click.echo(get_calibration_path(keras_model))
    exit_if_skipped(done.skipped)


def print_evaluation(result: EvaluationResult) -> None:
    """Print the metrics, the weakest labels, and a summary of the rest."""
    print_table(*tabulate_metrics(result))
    header, rows = tabulate_weakest_labels(result, WEAKEST)
    if rows:
        print_table(header, rows)
    for line in describe_evaluation(result):
        click.echo(line)
    if result.unanswerable:
        click.echo(
            f"{result.unanswerable:,} queries left out: no other picture of their item", err=True
        )
