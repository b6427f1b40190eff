"""Training report, which compares a model before and after training."""

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
    """Comparison of the two models, and the pictures that could not be read."""

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

    Use a catalogue that `after` was not trained on; otherwise, its metrics are too optimistic.
    `store` is used for the embeddings of `after` alone.
    """
    require_writable(output / "report.html")
    embeddings_before = embed_catalogue(before, catalogue, batch_size=batch_size, executor=executor)
    embeddings_after = embed_catalogue(
        after,
        catalogue,
        store=store,
        batch_size=batch_size,
        drop_others=False,
        executor=executor,
    )
    if not embeddings_before.pictures:
        raise InputError(f"no picture in {catalogue.image_dir} can be read; run siamese check")
    comparison = compare_embeddings(embeddings_before, embeddings_after)
    write_picture(draw_collage(catalogue), output / "catalogue.png")
    write_picture(draw_neighbours(comparison, catalogue), output / "neighbours.png")
    with atomic_path(output / "metrics.json") as temporary:
        temporary.write_text(json.dumps(comparison.as_dict(), indent=2) + "\n")
    training_log = after.facts.path and Path(after.facts.path).with_name("training_log.csv")
    write_report_page(
        comparison,
        catalogue,
        output / "report.html",
        models=(before.facts.name, after.facts.name),
        skipped=embeddings_before.skipped,
        training_log=training_log or None,
    )
    return TrainingReport(comparison, embeddings_before.skipped)
