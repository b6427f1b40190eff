"""Measure how much re-ranking improves search, and the CPU time it takes.

Run it as ``python benchmarks/reranking.py --labeled-data test.json [--queries FILE]
[--keras-model FILE]``. Without `--queries`, each picture is searched for among the others. It is
then left out of its ranking, of the neighbours that re-rank it, and of the neighbours that
database-side augmentation averages. `--embeddings DIR` stores the vectors for the next run.
`--grid` measures many settings, one per row. The default settings were chosen from such a table, on
catalogues other than those of the published figures.

The figures are those of `siamese evaluate` over the whole re-ranked gallery. `items` is the
fraction of queries whose item comes first when items are ranked by the mean of their three best
pictures; ranked by their best picture, it would equal recall@1. `CPU ms` is the median CPU time of
single searches for 10 results in a BallTree, by picture and by item, without embedding the query.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from siamese.data.catalogue import Catalogue
from siamese.embedding.embed_catalogue import embed_catalogue
from siamese.embedding.embedder import Embedder
from siamese.embedding.store import EmbeddingStore
from siamese.evaluation.metrics import retrieval_metrics
from siamese.indexes import EVERYTHING, BallTreeIndex, LabelFilter
from siamese.indexes.gallery_augmentation import augment_gallery, expand_query
from siamese.search.ranking import BY_ITEM, rank_items
from siamese.search.reranking import Expansion, Nearest, Reciprocal, Reranker
from siamese.search.searcher import Searcher

TIMED_SEARCHES = 100


@dataclass(frozen=True)
class Augmentation:
    """Settings of `augment_gallery`."""

    neighbours: int
    alpha: float


@dataclass(frozen=True)
class Method:
    """Re-ranking method, one row of the table."""

    name: str
    reranker: Reranker
    augmentation: Augmentation | None = None


def default_methods() -> list[Method]:
    """Return the methods with the default settings of the package."""
    defaults = augment_gallery.__defaults__
    assert defaults is not None
    augmentation = Augmentation(*defaults)
    return [
        Method("none", Nearest()),
        Method("expansion", Expansion()),
        Method("reciprocal", Reciprocal()),
        Method("augmented gallery", Nearest(), augmentation),
        Method("augmented gallery, expansion", Expansion(), augmentation),
    ]


def generate_grid() -> Iterator[Method]:
    """Yield the settings from which the defaults were chosen."""
    yield Method("none", Nearest())
    for neighbours in (1, 2, 3, 5, 10):
        for alpha in (0, 3, 5, 8):
            expansion = Expansion(neighbours, alpha)
            yield Method(f"expansion {neighbours} {alpha}", expansion)
            augmentation = Augmentation(neighbours, alpha)
            yield Method(f"augmented gallery {neighbours} {alpha}", Nearest(), augmentation)
    for k1 in (5, 10, 20):
        for k2 in (0, 1, 2, 5):
            for own_share in (0.3, 0.6, 0.8, 0.9):
                reciprocal = Reciprocal(k1=k1, k2=k2, own_share=own_share)
                yield Method(f"reciprocal {k1} {k2} {own_share}", reciprocal)
    for candidates in (50, 200, 400):
        reciprocal = replace(Reciprocal(), candidates=candidates)
        yield Method(f"reciprocal, {candidates} candidates", reciprocal)


@dataclass(frozen=True)
class Data:
    """Queries and a gallery.

    Attributes
    ----------
    queries : array of shape (n, d)
        Embeddings of the queries.
    query_ids : array of shape (n,)
        Item ids of the queries.
    gallery : array of shape (m, d)
        Embeddings of the gallery.
    gallery_ids : array of shape (m,)
        Item ids of the gallery.
    own_rows : int array of shape (n,)
        Row of each query in the gallery, or -1.
    """

    queries: np.ndarray
    query_ids: np.ndarray
    gallery: np.ndarray
    gallery_ids: np.ndarray
    own_rows: np.ndarray


class Gallery:
    """Index in memory that can hide one row."""

    def __init__(self, vectors: np.ndarray, hidden_row: int = -1) -> None:
        self.data, self.hidden_row = vectors, hidden_row

    def query(
        self, X: np.ndarray, k: int, labels: LabelFilter = EVERYTHING
    ) -> tuple[np.ndarray, np.ndarray]:
        """Search like `BallTreeIndex.query`; rows of equal distance keep their order."""
        similarity = np.asarray(X, np.float32) @ self.data.T
        if self.hidden_row >= 0:
            similarity[:, self.hidden_row] = -np.inf
        k = min(k, len(self.data) - (self.hidden_row >= 0))
        rows = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
        cosine = np.take_along_axis(similarity, rows, axis=1).astype(np.float64)
        return np.sqrt(np.maximum(2 - 2 * cosine, 0)), rows

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Return vectors like `BallTreeIndex.vectors`."""
        return self.data[rows].astype(np.float64)


def generate_galleries(data: Data, augmentation: Augmentation | None) -> Iterator[Gallery]:
    """Yield the gallery of each query, which is hidden and does not augment other pictures."""
    if augmentation is None:
        for own_row in data.own_rows:
            yield Gallery(data.gallery, own_row)
        return
    neighbours, alpha = augmentation.neighbours, augmentation.alpha
    augmented = augment_gallery(data.gallery, neighbours, alpha)
    similarity = data.gallery @ data.gallery.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : neighbours + 1]
    for own_row in data.own_rows:
        affected, _ = np.nonzero(nearest[:, :neighbours] == own_row)
        original = augmented[affected]
        for row in affected:
            others = nearest[row][nearest[row] != own_row]
            augmented[row] = expand_query(data.gallery[row], data.gallery[others], alpha)
        yield Gallery(augmented, own_row)
        augmented[affected] = original


def measure(data: Data, method: Method) -> dict[str, float]:
    """Compute the ``recall@1``, ``map@r``, ``map`` and ``items`` of a method."""
    names, items = np.unique(data.gallery_ids, return_inverse=True)
    figures = []
    with closing(generate_galleries(data, method.augmentation)) as galleries:
        for query, item_id, gallery in zip(data.queries, data.query_ids, galleries, strict=True):
            (scores,), (rows,) = method.reranker.rank(gallery, query[None], len(data.gallery))
            hits = data.gallery_ids[rows] == item_id
            if not (relevant := hits.sum()):
                continue
            precision = np.cumsum(hits)[hits] / (np.flatnonzero(hits) + 1)
            sizes = np.bincount(items[rows], minlength=len(names))
            (first, *_), _ = rank_items(scores, items[rows], sizes, BY_ITEM["mean"])
            figures.append(
                (
                    hits[0],
                    (precision * (np.flatnonzero(hits) < relevant)).sum() / relevant,
                    precision.sum() / relevant,
                    hits[first],
                )
            )
    return dict(zip(("recall@1", "map@r", "map", "items"), np.mean(figures, axis=0), strict=True))


class VectorEmbedder:
    """Embedder that returns its input, because the queries are vectors already."""

    def __init__(self, facts: Any) -> None:
        self.facts = facts

    def embed(self, sources: Sequence[Any]) -> np.ndarray:
        """Return the vectors unchanged."""
        return np.asarray(sources)


def time_searches(data: Data, method: Method, facts: Any, by_item: str | None) -> float:
    """Measure the median CPU time of a search for 10 results, in milliseconds."""
    vectors = data.gallery
    if method.augmentation is not None:
        settings = method.augmentation
        vectors = augment_gallery(vectors, settings.neighbours, settings.alpha)
    metadata = [{"item_id": str(name), "filename": "", "labels": []} for name in data.gallery_ids]
    index = BallTreeIndex.build(vectors, metadata, facts)
    searcher = Searcher(VectorEmbedder(facts), index)  # type: ignore[arg-type]
    seconds = []
    for query in data.queries[: TIMED_SEARCHES + 1]:
        start = time.process_time()
        searcher.search([query], 10, rerank=method.reranker, by_item=by_item)
        seconds.append(time.process_time() - start)
    return 1000 * float(np.median(seconds[1:]))  # the first is a warm-up


def main() -> None:
    """Print the table, and exit with 1 if the plain ranking differs from `siamese evaluate`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labeled-data", type=Path, required=True)
    parser.add_argument("--queries", type=Path)
    parser.add_argument("--image-dir", type=Path)
    parser.add_argument("--keras-model", type=Path)
    parser.add_argument("--embeddings", type=Path, help="folder to store the vectors in")
    parser.add_argument("--grid", action="store_true", help="measure many settings, without times")
    arguments = parser.parse_args()
    model = arguments.keras_model
    embedder = Embedder.load(model) if model else Embedder.pretrained()

    def embed(path: Path) -> tuple[np.ndarray, np.ndarray, list[Path]]:
        catalogue = Catalogue.read(path, arguments.image_dir or arguments.labeled_data.parent)
        folder = arguments.embeddings
        store = EmbeddingStore(folder / path.stem) if folder else None
        embeddings = embed_catalogue(embedder, catalogue, store=store)
        ids = np.array([picture.item_id for picture in embeddings.pictures])
        return (
            embeddings.vectors,
            ids,
            [catalogue.path_of(picture).resolve() for picture in embeddings.pictures],
        )

    gallery, gallery_ids, files = embed(arguments.labeled_data)
    if arguments.queries is None:
        queries, query_ids, own_rows = gallery, gallery_ids, np.arange(len(gallery))
    else:
        queries, query_ids, query_files = embed(arguments.queries)
        rows_of_files = {file: row for row, file in enumerate(files)}
        own_rows = np.array([rows_of_files.get(file, -1) for file in query_files])
    data = Data(queries, query_ids, gallery, gallery_ids, own_rows)

    methods = list(generate_grid()) if arguments.grid else default_methods()
    times = [] if arguments.grid else ["CPU ms", "CPU ms by item"]
    table = Table("re-ranking", "recall@1", "MAP@R", "mAP", "items", *times)
    for column in table.columns[1:]:
        column.justify = "right"
    rows = [measure(data, method) for method in methods]
    for method, figures in zip(methods, rows, strict=True):
        cpu_times = [
            f"{time_searches(data, method, embedder.facts, by_item):.1f}"
            for by_item in (None, "mean")[: len(times)]
        ]
        table.add_row(method.name, *(f"{value:.3f}" for value in figures.values()), *cpu_times)
    print(f"{len(queries):,} queries, {len(gallery):,} pictures of {len(set(gallery_ids))} items")
    Console().print(table)

    expected = retrieval_metrics(
        queries, query_ids, gallery=gallery, gallery_item_ids=gallery_ids, own_rows=own_rows
    )
    differences = {name: rows[0][name] - expected[name] for name in ("recall@1", "map@r", "map")}
    if max(map(abs, differences.values())) > 1e-3:
        sys.exit(f"without re-ranking, these differ from siamese evaluate: {differences}")


if __name__ == "__main__":
    main()
