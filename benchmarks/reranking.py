"""What re-ranking at search time brings and what it costs, on a catalogue and a model.

Run it as ``python benchmarks/reranking.py --labeled-data test.json [--queries FILE]
[--keras-model FILE]``. Without `--queries` each picture is searched for among
the others; it is then nowhere: not in its ranking, not among the neighbours that re-rank it, and
not in the pictures that database-side augmentation mixes. `--embeddings DIR` keeps the vectors
for the next run. With `--grid` there is a row for each of many settings: how the default ones were
chosen, on catalogues that were not measured on afterwards.

The figures are those of `siamese evaluate`, over the whole gallery in its new order. `items` is
the share of queries whose item is first when items are ranked by the mean of their three best
pictures; by their best picture it is recall@1 itself. Milliseconds of CPU are the median of single
searches for 10 results in a BallTree, by picture and by item, without embedding the query.
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
from siamese.search.ranking import BY_ITEM
from siamese.search.reranking.reranker import (
    Expansion,
    Nearest,
    Reciprocal,
    Reranker,
    item_order,
)
from siamese.search.searcher import Searcher

TIMED = 100
"""Searches that the milliseconds are the median of."""


@dataclass(frozen=True)
class Augmentation:
    """Settings of `augment_gallery`."""

    neighbours: int
    alpha: float


@dataclass(frozen=True)
class Method:
    """What a row of the table measures."""

    name: str
    ranking: Reranker
    augmentation: Augmentation | None = None


def default_methods() -> list[Method]:
    """The methods with the settings of the package."""
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


def grid() -> Iterator[Method]:
    """The settings among which the default ones were chosen."""
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
    """Queries and a gallery; `own[i]` is the row of query i in the gallery, -1 for none."""

    queries: np.ndarray
    query_ids: np.ndarray
    gallery: np.ndarray
    gallery_ids: np.ndarray
    own: np.ndarray


class Gallery:
    """An index of the vectors in memory, from which one row may be missing."""

    def __init__(self, vectors: np.ndarray, missing: int = -1) -> None:
        self.data, self.missing = vectors, missing

    def query(
        self, X: np.ndarray, k: int, labels: LabelFilter = EVERYTHING
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `BallTreeIndex.query`, in the order of rows where equally far."""
        similarity = np.asarray(X, np.float32) @ self.data.T
        if self.missing >= 0:
            similarity[:, self.missing] = -np.inf
        k = min(k, len(self.data) - (self.missing >= 0))
        rows = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
        cosine = np.take_along_axis(similarity, rows, axis=1).astype(np.float64)
        return np.sqrt(np.maximum(2 - 2 * cosine, 0)), rows

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """As `BallTreeIndex.vectors`."""
        return self.data[rows].astype(np.float64)


def galleries(data: Data, augmentation: Augmentation | None) -> Iterator[Gallery]:
    """The gallery as each query finds it: without that query, and not augmented with it."""
    if augmentation is None:
        for own in data.own:
            yield Gallery(data.gallery, own)
        return
    neighbours, alpha = augmentation.neighbours, augmentation.alpha
    augmented = augment_gallery(data.gallery, neighbours, alpha)
    similarity = data.gallery @ data.gallery.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : neighbours + 1]
    for own in data.own:
        mixed, _ = np.nonzero(nearest[:, :neighbours] == own)
        kept = augmented[mixed]
        for row in mixed:
            others = nearest[row][nearest[row] != own]
            augmented[row] = expand_query(data.gallery[row], data.gallery[others], alpha)
        yield Gallery(augmented, own)
        augmented[mixed] = kept


def measured(data: Data, method: Method) -> dict[str, float]:
    """The figures of a method: ``recall@1``, ``map@r``, ``map`` and ``items``."""
    names, items = np.unique(data.gallery_ids, return_inverse=True)
    figures = []
    with closing(galleries(data, method.augmentation)) as searched:
        for query, item_id, gallery in zip(data.queries, data.query_ids, searched, strict=True):
            (scores,), (rows,) = method.ranking.rank(gallery, query[None], len(data.gallery))
            hits = data.gallery_ids[rows] == item_id
            if not (relevant := hits.sum()):
                continue
            precision = np.cumsum(hits)[hits] / (np.flatnonzero(hits) + 1)
            sizes = np.bincount(items[rows], minlength=len(names))
            (first, *_), _ = item_order(scores, items[rows], sizes, BY_ITEM["mean"])
            figures.append(
                (
                    hits[0],
                    (precision * (np.flatnonzero(hits) < relevant)).sum() / relevant,
                    precision.sum() / relevant,
                    hits[first],
                )
            )
    return dict(zip(("recall@1", "map@r", "map", "items"), np.mean(figures, axis=0), strict=True))


class Given:
    """An embedder of pictures that are vectors already."""

    def __init__(self, facts: Any) -> None:
        self.facts = facts

    def embed(self, sources: Sequence[Any]) -> np.ndarray:
        """The sources themselves."""
        return np.asarray(sources)


def milliseconds(data: Data, method: Method, facts: Any, by_item: str | None) -> float:
    """The median CPU time of a search for 10 results."""
    vectors = data.gallery
    if method.augmentation is not None:
        settings = method.augmentation
        vectors = augment_gallery(vectors, settings.neighbours, settings.alpha)
    metadata = [{"item_id": str(name), "filename": "", "labels": []} for name in data.gallery_ids]
    index = BallTreeIndex.build(vectors, metadata, facts)
    searcher = Searcher(Given(facts), index)  # type: ignore[arg-type]
    seconds = []
    for query in data.queries[: TIMED + 1]:
        start = time.process_time()
        searcher.search([query], 10, rerank=method.ranking, by_item=by_item)
        seconds.append(time.process_time() - start)
    return 1000 * float(np.median(seconds[1:]))  # the first one warms up


def main() -> None:
    """Measure and print the table; exit with 1 if the plain ranking is not that of `evaluate`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labeled-data", type=Path, required=True)
    parser.add_argument("--queries", type=Path)
    parser.add_argument("--image-dir", type=Path)
    parser.add_argument("--keras-model", type=Path)
    parser.add_argument("--embeddings", type=Path, help="folder to keep the vectors in")
    parser.add_argument("--grid", action="store_true", help="many settings, without times")
    arguments = parser.parse_args()
    model = arguments.keras_model
    embedder = Embedder.load(model) if model else Embedder.pretrained()

    def embedded(path: Path) -> tuple[np.ndarray, np.ndarray, list[Path]]:
        catalogue = Catalogue.read(path, arguments.image_dir or arguments.labeled_data.parent)
        keep = arguments.embeddings
        store = EmbeddingStore(keep / path.stem) if keep else None
        done = embed_catalogue(embedder, catalogue, store=store)
        ids = np.array([picture.item_id for picture in done.pictures])
        return (
            done.vectors,
            ids,
            [catalogue.path_of(picture).resolve() for picture in done.pictures],
        )

    gallery, gallery_ids, files = embedded(arguments.labeled_data)
    if arguments.queries is None:
        queries, query_ids, own = gallery, gallery_ids, np.arange(len(gallery))
    else:
        queries, query_ids, asked = embedded(arguments.queries)
        row_of = {file: row for row, file in enumerate(files)}
        own = np.array([row_of.get(file, -1) for file in asked])
    data = Data(queries, query_ids, gallery, gallery_ids, own)

    methods = list(grid()) if arguments.grid else default_methods()
    times = [] if arguments.grid else ["CPU ms", "CPU ms by item"]
    table = Table("re-ranking", "recall@1", "MAP@R", "mAP", "items", *times)
    for column in table.columns[1:]:
        column.justify = "right"
    rows = [measured(data, method) for method in methods]
    for method, figures in zip(methods, rows, strict=True):
        spent = [
            f"{milliseconds(data, method, embedder.facts, by_item):.1f}"
            for by_item in (None, "mean")[: len(times)]
        ]
        table.add_row(method.name, *(f"{value:.3f}" for value in figures.values()), *spent)
    print(f"{len(queries):,} queries, {len(gallery):,} pictures of {len(set(gallery_ids))} items")
    Console().print(table)

    expected = retrieval_metrics(
        queries, query_ids, gallery=gallery, gallery_item_ids=gallery_ids, own_rows=own
    )
    off = {name: rows[0][name] - expected[name] for name in ("recall@1", "map@r", "map")}
    if max(map(abs, off.values())) > 1e-3:
        sys.exit(f"without re-ranking, these differ from siamese evaluate: {off}")


if __name__ == "__main__":
    main()
