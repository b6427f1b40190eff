"""Pages for people: one HTML file each, pictures inside, nothing asked of any other host."""

from __future__ import annotations

import base64
import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese.reports.canvas import thumbnail
from siamese.utils.files import atomic_path
from siamese.utils.templates import render

if TYPE_CHECKING:
    from siamese.data.catalogue import Catalogue, Skipped
    from siamese.data.remote_files import Folder, RemoteFile
    from siamese.reports.comparison import Comparison
    from siamese.search.searcher import QueryResult

MEANINGS = {
    "recall@1": "how often the most similar picture is of the same item",
    "recall@5": "how often one of the five most similar is",
    "recall@10": "how often one of the ten most similar is",
    "precision@10": "how much of the ten most similar is of the same item",
    "map@r": "how far all pictures of the item come before any other; the strictest of these",
    "map": "the same, more gently: what comes late counts a little too",
    "ndcg@10": "how high up in the first ten the item's pictures stand",
}


def write_results_page(
    found: Sequence[QueryResult], image_dir: Folder, path: str | os.PathLike[str]
) -> None:
    """Write the results of searches as a page: the queries and what looks most like them."""
    _write(
        path,
        "results.html",
        found=found,
        picture=lambda filename: _inline(image_dir / filename),
        query_picture=_inline,
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
    """Write what training brought as a page.

    Parameters
    ----------
    comparison : the figures, and the queries to show
    catalogue : that they are of
    models : the names of the two
    skipped : pictures that could not be used
    training_log : the CSV file of the training, for its curves
    """
    items: dict[str, list[Any]] = {}
    for picture in catalogue.pictures:
        items.setdefault(picture.item_id, []).append(picture)
    shown = list(items)[:: max(1, len(items) // 6)][:6]
    _write(
        path,
        "report.html",
        comparison=comparison,
        meanings=MEANINGS,
        models=models,
        items={item_id: items[item_id][:8] for item_id in shown},
        picture=lambda picture: _inline(catalogue.path_of(picture)),
        skipped=skipped,
        curves=_curves(training_log) if training_log and training_log.is_file() else [],
    )


def _write(path: str | os.PathLike[str], template: str, **content: Any) -> None:
    with atomic_path(path) as temporary:
        page = render("siamese.reports", template, **content)
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


def _inline(path: str | os.PathLike[str] | RemoteFile) -> str:
    buffer = io.BytesIO()
    thumbnail(path, 192).save(buffer, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _curves(training_log: Path) -> list[tuple[str, str]]:
    """Loss and retrieval by epoch: for each a title and a picture as SVG."""
    from cycler import cycler
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # not pyplot, whose backend belongs to the caller
    from matplotlib.ticker import MaxNLocator

    with training_log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    # The middle grey is legible on a light page and on a dark one.
    grey = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    style: Any = {
        **dict.fromkeys(grey, "#888"),
        "axes.prop_cycle": cycler(color=("#3b82f6", "#f97316")),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "svg.fonttype": "none",
    }
    drawn = []
    for title, names in (
        ("loss", {"loss": "training", "val_loss": "held-out items"}),
        ("retrieval on held-out items", {"val_recall@1": "recall@1", "val_map@r": "MAP@R"}),
    ):
        # Both stand on one page, so the names inside must differ.
        with rc_context({**style, "svg.hashsalt": title}):
            figure = Figure(figsize=(4.4, 2.9), layout="constrained")
            axis = figure.subplots()
            for name, label in names.items():
                points = [(int(row["epoch"]), float(row[name])) for row in rows if row.get(name)]
                if points:
                    axis.plot(*zip(*points, strict=True), marker="o", markersize=4, label=label)
            if not axis.lines:
                continue
            axis.legend(frameon=False)
            axis.set(title=title, xlabel="epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            text = io.StringIO()
            nameless = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            figure.savefig(text, format="svg", transparent=True, metadata=nameless)
        svg = text.getvalue()
        drawn.append((title, svg[svg.index("<svg") :]))
    return drawn
