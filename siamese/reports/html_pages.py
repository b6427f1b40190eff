"""HTML pages for training reports and search results.

Each page is a single file that contains its pictures and loads nothing from the network.
"""

from __future__ import annotations

import base64
import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese.evaluation.metrics import METRICS
from siamese.reports.canvas import make_thumbnail
from siamese.reports.charts import render_training_curves
from siamese.reports.picture_grids import choose_examples
from siamese.utils.files import atomic_path
from siamese.utils.templates import render

if TYPE_CHECKING:
    from siamese.data.catalogue import Catalogue, Skipped
    from siamese.data.remote_files import Folder, RemoteFile
    from siamese.reports.comparison import Comparison
    from siamese.search.searcher import QueryResult


def write_results_page(
    results: Sequence[QueryResult], image_dir: Folder, path: str | os.PathLike[str]
) -> None:
    """Write search results as an HTML page that shows each query and its most similar pictures.

    `image_dir` is the folder of the indexed pictures.
    """
    _write_page(
        path,
        "results.html",
        results=results,
        data_url=lambda filename: _data_url(image_dir / filename),
        query_data_url=_data_url,
    )


def write_report_page(
    comparison: Comparison,
    catalogue: Catalogue,
    path: str | os.PathLike[str],
    *,
    models: tuple[str, str],
    skipped: Sequence[Skipped] = (),
    training_log: Path | None = None,
) -> None:
    """Write an HTML page that compares a model before and after training.

    `models` holds the names of the two models. If the CSV file `training_log` exists, the page
    shows training curves drawn from it.
    """
    _write_page(
        path,
        "report.html",
        comparison=comparison,
        metrics=METRICS,
        models=models,
        items=choose_examples(catalogue, items=6, pictures=8),
        data_url=lambda picture: _data_url(catalogue.path_of(picture)),
        skipped=skipped,
        curves=render_training_curves(_read_history(training_log)),
    )


def _write_page(path: str | os.PathLike[str], template: str, **content: Any) -> None:
    with atomic_path(path) as temporary:
        page = render("siamese.reports", template, **content)
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


def _data_url(path: str | os.PathLike[str] | RemoteFile) -> str:
    buffer = io.BytesIO()
    make_thumbnail(path, 192).save(buffer, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _read_history(training_log: Path | None) -> list[dict[str, float]]:
    """Read the rows of a training log, dropping empty fields; return [] if there is no file."""
    if training_log is None or not training_log.is_file():
        return []
    with training_log.open(newline="") as file:
        return [
            {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(file)
        ]
