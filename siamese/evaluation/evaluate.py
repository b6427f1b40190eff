"""Evaluation of a model on a catalogue: retrieval, verification, calibration and duplicates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from siamese.embedding.embed_catalogue import Embeddings, embed_catalogue
from siamese.errors import InputError
from siamese.evaluation.bootstrap import CONFIDENCE, RESAMPLES, average_by_item, bootstrap_intervals
from siamese.evaluation.calibration import Calibration, calibrate_on_retrieval
from siamese.evaluation.duplicates import Duplicate, find_duplicates
from siamese.evaluation.metrics import METRICS, RetrievalResult, measure_retrieval
from siamese.evaluation.verification import evaluate_verification
from siamese.vectors.nearest import nearest
from siamese.vectors.unit_vectors import UnitVectors

if TYPE_CHECKING:
    from siamese.data.catalogue import Catalogue, Picture, Skipped
    from siamese.embedding.embedder import Embedder
    from siamese.embedding.executor import Executor
    from siamese.embedding.store import EmbeddingStore

Array: TypeAlias = NDArray[Any]

LABEL_RECALL = {"recall@1": 1, "recall@5": 5, "recall@10": 10}
"""Number of nearest pictures in which each label metric looks for one of the query's labels."""
PAIRS = 200_000
"""Maximum number of verification pairs. At most half are negative: enough for an FMR of 0.001."""


@dataclass(frozen=True)
class EvaluationResult:
    """Results of evaluating a model on a catalogue.

    Attributes
    ----------
    figures : dict of str to float or int
        Retrieval metrics, averaged over the queries. See `siamese.retrieval_metrics`.
    by_item : dict of str to float
        The same metrics, averaged first over each item's queries, then over the items.
    intervals : dict or None
        Confidence intervals ``[low, high]`` of the metrics in ``figures``, ``by_item`` and
        ``label_recall``, with ``confidence``, ``resamples`` and ``seed``. None for a single item.
    by_label : dict of str to dict
        For each label, the retrieval metrics averaged over its queries, and the numbers of its
        ``queries`` and ``items``.
    label_recall : dict of str to float or int, or None
        Recall@k of labels: the fraction of labelled queries that share a label with any of their k
        nearest pictures; and the number of labelled ``queries``. None if no query has labels.
    verification : dict of str to float or int, or None
        See `VerificationResult.as_dict`. None if there are no positive or no negative pairs.
    calibration : Calibration or None
        Distance beyond which a query's item is judged not to be in the gallery. None if there is
        only one item.
    duplicates : dict
        The ``pairs`` of a query and its duplicate in the gallery, the number of ``queries`` with a
        duplicate, and the number of pairs whose files have the ``same_bytes``.
    skipped : list of Skipped
        Pictures that could not be read.
    unanswerable : int
        Number of queries whose item has no other picture in the gallery. The retrieval metrics
        exclude these queries.
    model : dict
        Facts about the model; see `siamese.models.facts.ModelFacts`.
    """

    figures: dict[str, float | int]
    by_item: dict[str, float]
    intervals: dict[str, Any] | None
    by_label: dict[str, dict[str, float | int]]
    label_recall: dict[str, float | int] | None
    verification: dict[str, float | int] | None
    calibration: Calibration | None
    duplicates: dict[str, Any]
    skipped: list[Skipped]
    unanswerable: int
    model: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as plain containers that can be written as JSON."""
        return msgspec.to_builtins(self)


def evaluate(
    embedder: Embedder,
    catalogue: Catalogue,
    queries: Catalogue | None = None,
    *,
    batch_size: int = 32,
    store: EmbeddingStore | None = None,
    executor: Executor | None = None,
    seed: int = 0,
    measured_on: str | None = None,
) -> EvaluationResult:
    """Evaluate a model on a catalogue.

    Parameters
    ----------
    embedder : Embedder
        Model to evaluate.
    catalogue : Catalogue
        Gallery to search.
    queries : Catalogue, optional
        Query pictures. By default, each picture in `catalogue` is a query that searches all the
        others (leave-one-out). A file in both catalogues is excluded from its own ranking.
    batch_size : int, default 32
        Number of pictures that the model embeds at a time.
    store : EmbeddingStore, optional
        Store whose embeddings are reused, and to which new embeddings are added.
    executor : Executor, optional
        Executor that embeds the pictures. By default, they are embedded in this process.
    seed : int, default 0
        Random seed for the bootstrap and for sampling the verification pairs.
    measured_on : str, optional
        Name of the data, stored in the calibration. By default, the folder of the pictures.

    Returns
    -------
    EvaluationResult

    Raises
    ------
    InputError
        If no picture can be read, or no query has another picture of its item in the gallery.

    Examples
    --------
    >>> result = evaluate(embedder, Catalogue.read("test.json"))  # doctest: +SKIP
    >>> result.figures["map@r"]  # doctest: +SKIP
    0.483
    """
    embed = partial(_embed, embedder, batch_size=batch_size, store=store, executor=executor)
    gallery = embed(catalogue, "the catalogue")
    gallery_ids = [picture.item_id for picture in gallery.pictures]
    gallery_files = [catalogue.path_of(picture) for picture in gallery.pictures]
    gallery_vectors = UnitVectors(gallery.vectors, "gallery")
    if queries is None:
        embedded, files, skipped = gallery, gallery_files, gallery.skipped
        vectors, own = gallery_vectors, np.arange(len(files))
        retrieval = measure_retrieval(gallery.vectors, gallery_ids)
    else:
        embedded = embed(queries, "the queries")
        files = [queries.path_of(picture) for picture in embedded.pictures]
        skipped = [*embedded.skipped, *gallery.skipped]
        row_of_file = {file.resolve(): row for row, file in enumerate(gallery_files)}
        vectors = UnitVectors(embedded.vectors, "vectors")
        own = np.array([row_of_file.get(file.resolve(), -1) for file in files])
        retrieval = measure_retrieval(
            embedded.vectors,
            [picture.item_id for picture in embedded.pictures],
            gallery=gallery.vectors,
            gallery_item_ids=gallery_ids,
            own_rows=own,
        )
    cosines, rows = nearest(vectors, gallery_vectors, max(LABEL_RECALL.values()), own=own)
    has_relevant = retrieval.has_relevant
    metrics, items = retrieval.metrics[has_relevant], retrieval.items[has_relevant]
    labelled = np.flatnonzero([bool(picture.labels) for picture in embedded.pictures])
    is_found = _find_labels(embedded.pictures, gallery.pictures, labelled, rows)
    label_recall = None
    if len(labelled):
        label_recall = _to_dict(LABEL_RECALL, is_found.mean(axis=0)) | {"queries": len(labelled)}
    return EvaluationResult(
        figures=retrieval.mean_metrics(),
        by_item=_to_dict(METRICS, average_by_item(metrics, items)),
        intervals=_compute_intervals(metrics, items, is_found, retrieval.items[labelled], seed),
        by_label=_average_by_label(embedded.pictures, retrieval),
        label_recall=label_recall,
        verification=_verify(gallery, embedded, own, seed),
        calibration=_calibrate(
            retrieval,
            fingerprint=embedder.facts.fingerprint,
            measured_on=measured_on or str(catalogue.image_dir),
        ),
        duplicates=_name_duplicates(
            find_duplicates(files, gallery_files, cosines, rows),
            embedded.pictures,
            gallery.pictures,
        ),
        skipped=skipped,
        unanswerable=int((~has_relevant).sum()),
        model=embedder.facts.as_dict(),
    )


def _embed(embedder: Embedder, catalogue: Catalogue, role: str, **options: Any) -> Embeddings:
    embeddings = embed_catalogue(embedder, catalogue, drop_others=False, **options)
    if not embeddings.pictures:
        raise InputError(
            f"no picture of {role} in {catalogue.image_dir} can be read; run siamese check"
        )
    return embeddings


def _to_dict(names: Iterable[str], values: Array) -> dict[str, Any]:
    return dict(zip(names, values.tolist(), strict=True))


def _find_labels(
    queries: Sequence[Picture], gallery: Sequence[Picture], labelled: Array, rows: Array
) -> Array:
    """Return an array (n_labelled, n_metrics): 1 if any of the k nearest shares a query's label."""
    labels = [frozenset(picture.labels) for picture in gallery]
    shares_label = [
        [row >= 0 and not labels[row].isdisjoint(queries[query].labels) for row in rows[query]]
        for query in labelled
    ]
    is_found = [[any(shares[:k]) for k in LABEL_RECALL.values()] for shares in shares_label]
    return np.array(is_found, np.float32).reshape(len(labelled), len(LABEL_RECALL))


def _compute_intervals(
    metrics: Array, items: Array, is_found: Array, labelled_items: Array, seed: int
) -> dict[str, Any] | None:
    intervals = bootstrap_intervals(metrics, items, seed=seed)
    if intervals is None:
        return None
    by_query, by_item = intervals
    by_labelled = bootstrap_intervals(is_found, labelled_items, seed=seed)
    return {
        "confidence": CONFIDENCE,
        "resamples": RESAMPLES,
        "seed": seed,
        "figures": _to_dict(METRICS, by_query.T),
        "by_item": _to_dict(METRICS, by_item.T),
        "label_recall": by_labelled and _to_dict(LABEL_RECALL, by_labelled[0].T),
    }


def _average_by_label(
    queries: Sequence[Picture], retrieval: RetrievalResult
) -> dict[str, dict[str, float | int]]:
    """Average the metrics over the queries of each label, with labels in alphabetical order."""
    rows_of_label = defaultdict(list)
    for row in np.flatnonzero(retrieval.has_relevant).tolist():
        for label in set(queries[row].labels):
            rows_of_label[label].append(row)
    return {
        label: {
            **_to_dict(METRICS, retrieval.metrics[rows].mean(axis=0, dtype=np.float64)),
            "queries": len(rows),
            "items": len(np.unique(retrieval.items[rows])),
        }
        for label, rows in sorted(rows_of_label.items())
    }


def _verify(
    gallery: Embeddings, queries: Embeddings, own: Array, seed: int
) -> dict[str, float | int] | None:
    """Measure verification on all pictures; return None if either kind of pair is missing."""
    (new,) = np.nonzero(own < 0)  # queries that are not also in the gallery
    pictures = [*gallery.pictures, *(queries.pictures[row] for row in new)]
    vectors = gallery.vectors
    if len(new):  # otherwise, avoid copying a memory-mapped array
        vectors = np.concatenate([vectors, queries.vectors[new]])
    try:
        result = evaluate_verification(Embeddings(pictures, vectors, []), pairs=PAIRS, seed=seed)
    except InputError:
        return None
    return result.as_dict()


def _calibrate(retrieval: RetrievalResult, **names: str) -> Calibration | None:
    try:
        return calibrate_on_retrieval(retrieval, **names)
    except InputError:  # only one item
        return None


def _name_duplicates(
    duplicates: Sequence[Duplicate], queries: Sequence[Picture], gallery: Sequence[Picture]
) -> dict[str, Any]:
    """Count duplicates, and list them by filename."""
    return {
        "queries": len(duplicates),
        "same_bytes": sum(duplicate.same_bytes for duplicate in duplicates),
        "pairs": [
            {"query": queries[query].filename, "gallery": gallery[row].filename, "same_bytes": same}
            for query, row, same in duplicates
        ],
    }
