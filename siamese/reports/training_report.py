"""The folder of a report: page, pictures and figures of a model against the one it started from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from siamese.data.catalogue import Catalogue, Skipped
from siamese.embedding.embed_catalogue import embed_catalogue
from siamese.embedding.embedder import Embedder
from siamese.embedding.executor import Executor
from siamese.embedding.store import EmbeddingStore
from siamese.errors import InputError
from siamese.reports.canvas import write_picture
from siamese.reports.comparison import Comparison, compare_embeddings
from siamese.reports.html_pages import write_report_page
from siamese.reports.picture_grids import draw_collage, draw_neighbours
from siamese.utils.files import atomic_path, require_writable


@dataclass(frozen=True)
class TrainingReport:
    """What a report says, and which pictures are not in it."""

    comparison: Comparison
    skipped: list[Skipped]


def write_training_report(
    catalogue: Catalogue,
    before: Embedder,
    after: Embedder,
    output: Path,
    *,
    batch_size: int = 32,
    store: EmbeddingStore | None = None,
    executor: Executor | None = None,
) -> TrainingReport:
    """Write `report.html`, `neighbours.png`, `catalogue.png` and `metrics.json` to a folder.

    Parameters
    ----------
    catalogue : items that `after` was not trained on, or its figures flatter
    before, after : the two models
    store : embeddings by `after` that are there already; new ones are added to it
    executor : where to embed; by default in this process

    Raises
    ------
    InputError
        If the folder cannot be written to, or there is nothing to find in the catalogue.
    """
    require_writable(output / "report.html")
    embedded = [
        embed_catalogue(before, catalogue, batch_size=batch_size, executor=executor),
        embed_catalogue(
            after,
            catalogue,
            store=store,
            batch_size=batch_size,
            drop_others=False,
            executor=executor,
        ),
    ]
    if not embedded[0].pictures:
        raise InputError(f"no picture in {catalogue.image_dir} can be used; run siamese check")
    comparison = compare_embeddings(*embedded)
    skipped = embedded[0].skipped
    write_picture(draw_collage(catalogue), output / "catalogue.png")
    write_picture(draw_neighbours(comparison, catalogue), output / "neighbours.png")
    with atomic_path(output / "metrics.json") as temporary:
        temporary.write_text(json.dumps(comparison.as_dict(), indent=2) + "\n")
    write_report_page(
        comparison,
        catalogue,
        output / "report.html",
        models=(before.facts.name, after.facts.name),
        skipped=skipped,
        training_log=Path(after.facts.path).with_name("training_log.csv")
        if after.facts.path
        else None,
    )
    return TrainingReport(comparison, skipped)
