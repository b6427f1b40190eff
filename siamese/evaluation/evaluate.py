"""A model and a catalogue → the table of figures, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from siamese.embedding.embed_catalogue import Embeddings, embed_catalogue
from siamese.errors import InputError
from siamese.evaluation import bootstrap
from siamese.evaluation.calibration import Calibration, calibrate_on_retrieval
from siamese.evaluation.duplicates import find_duplicates
from siamese.evaluation.metrics import METRICS, RetrievalResult, measure_retrieval
from siamese.evaluation.verification import measure_verification, sample_pair_distances
from siamese.vectors.nearest import nearest
from siamese.vectors.unit_vectors import UnitVectors

if TYPE_CHECKING:
    from siamese.data.catalogue import Catalogue, Picture, Skipped
    from siamese.data.remote_files import File
    from siamese.embedding.embedder import Embedder
    from siamese.embedding.executor import Executor
    from siamese.embedding.store import EmbeddingStore

LABEL_RECALL_AT = (1, 5, 10)
PAIRS = 200_000
"""Pairs for verification; half are negatives, enough to measure a rate of 1 in 1,000."""


@dataclass(frozen=True)
class EvaluationResult:
    """How well a model finds the pictures of a catalogue.

    Attributes
    ----------
    figures : as `siamese.retrieval_metrics` returns them
    by_item : the same figures, averaged so that every item counts the same
    intervals : low and high of every figure, as ``{"confidence", "resamples", "seed", "figures",
        "by_item", "label_recall"}``; None with fewer than two items
    by_label : figures of the queries whose item has a label, with `queries` and `items`
    label_recall : the share of the queries with labels for which one of the k nearest pictures,
        their own left out, has a common label, with `queries`; None without labels
    verification : as `siamese.evaluation.verification.VerificationResult.as_dict`; None without pairs of both kinds
    calibration : the threshold of "we don't have this"; None where all is of one item
    duplicates : how many `queries` have a duplicate in the gallery, `same_bytes` of them a file of
        equal bytes; and the `pairs`
    skipped : the pictures that could not be read
    unanswerable : queries with no other picture of their item to find, not in the figures
    model : the facts of the embedder
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
        """As plain containers, for JSON."""
        calibration = None if self.calibration is None else self.calibration.as_dict()
        return {**asdict(replace(self, calibration=None)), "calibration": calibration}


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
    """Measure retrieval: leave-one-out over a catalogue, or queries against it as a gallery.

    Parameters
    ----------
    embedder : what is measured
    catalogue : the pictures that are searched
    queries : the pictures that are searched for; by default those of `catalogue` itself. A file
        that is in both is left out of its own ranking.
    batch_size : pictures a forward pass
    store : embeddings that are there already; new ones are added to it
    executor : where to embed; by default in this process
    seed : of the intervals, and of the pairs that verification is measured on
    measured_on : what the calibration is to say of its data; by default the folder of the pictures

    Raises
    ------
    InputError
        If no picture can be read, or no query has another picture of its item to find.
    """
    gallery = _embedded(embedder, catalogue, batch_size, store, executor, "the catalogue")
    gallery_ids = [picture.item_id for picture in gallery.pictures]
    gallery_paths = [catalogue.path_of(picture) for picture in gallery.pictures]
    if queries is None:
        asked, paths, skipped = gallery, gallery_paths, gallery.skipped
        own = np.arange(len(paths))
        done = measure_retrieval(gallery.vectors, gallery_ids)
    else:
        asked = _embedded(embedder, queries, batch_size, store, executor, "the queries")
        paths = [queries.path_of(picture) for picture in asked.pictures]
        skipped = [*asked.skipped, *gallery.skipped]
        row_of = {path.resolve(): row for row, path in enumerate(gallery_paths)}
        own = np.array([row_of.get(path.resolve(), -1) for path in paths])
        done = measure_retrieval(
            asked.vectors,
            [picture.item_id for picture in asked.pictures],
            gallery=gallery.vectors,
            gallery_item_ids=gallery_ids,
            own_rows=own,
        )
    searched = UnitVectors(gallery.vectors, "gallery")
    for_queries = searched if queries is None else UnitVectors(asked.vectors, "vectors")
    cosines, rows = nearest(for_queries, searched, max(LABEL_RECALL_AT), own=own)

    has_relevant = done.has_relevant
    figures, items = done.metrics[has_relevant], done.items[has_relevant]
    _, by_item = bootstrap.average_metrics(figures, items)
    labelled, shared = _label_recalls(asked.pictures, gallery.pictures, rows)
    names = [f"recall@{k}" for k in LABEL_RECALL_AT]
    label_recall = None
    if len(labelled):
        label_recall = {**_named(names, shared.mean(axis=0)), "queries": len(labelled)}
    return EvaluationResult(
        figures=done.mean_metrics(),
        by_item=_named(list(METRICS), by_item),
        intervals=_intervals(figures, items, names, shared, done.items[labelled], seed),
        by_label=_by_label(asked.pictures, done),
        label_recall=label_recall,
        verification=_verification(gallery, asked, own, seed),
        calibration=_calibration(
            done, embedder.facts.fingerprint, measured_on or str(catalogue.image_dir)
        ),
        duplicates=_duplicates(
            asked.pictures, paths, gallery.pictures, gallery_paths, cosines, rows
        ),
        skipped=skipped,
        unanswerable=int((~has_relevant).sum()),
        model=embedder.facts.as_dict(),
    )


def _embedded(
    embedder: Embedder,
    catalogue: Catalogue,
    batch_size: int,
    store: EmbeddingStore | None,
    executor: Executor | None,
    what: str,
) -> Embeddings:
    embeddings = embed_catalogue(
        embedder,
        catalogue,
        store=store,
        batch_size=batch_size,
        drop_others=False,
        executor=executor,
    )
    if not embeddings.pictures:
        raise InputError(
            f"no picture of {what} in {catalogue.image_dir} can be read; run siamese check"
        )
    return embeddings


def _named(names: Sequence[str], values: NDArray[Any]) -> dict[str, Any]:
    return dict(zip(names, values.tolist(), strict=True))


def _intervals(
    figures: NDArray[np.float32],
    items: NDArray[Any],
    label_names: Sequence[str],
    shared: NDArray[np.float32],
    labelled_items: NDArray[Any],
    seed: int,
) -> dict[str, Any] | None:
    both = bootstrap.bootstrap_intervals(figures, items, seed=seed)
    if both is None:
        return None
    of_labels = bootstrap.bootstrap_intervals(shared, labelled_items, seed=seed)
    return {
        "confidence": bootstrap.CONFIDENCE,
        "resamples": bootstrap.RESAMPLES,
        "seed": seed,
        "figures": _named(list(METRICS), both[0].T),
        "by_item": _named(list(METRICS), both[1].T),
        "label_recall": None if of_labels is None else _named(label_names, of_labels[0].T),
    }


def _label_recalls(
    asked: Sequence[Picture], gallery: Sequence[Picture], rows: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """The queries with labels, and for each k whether one of the k nearest shares one."""
    labels = [frozenset(picture.labels) for picture in gallery]
    labelled = np.array([row for row, picture in enumerate(asked) if picture.labels], int)
    shares = np.array(
        [
            [row >= 0 and not labels[row].isdisjoint(asked[query].labels) for row in rows[query]]
            for query in labelled.tolist()
        ],
        bool,
    ).reshape(len(labelled), rows.shape[1])
    among = [shares[:, :k].any(axis=1) for k in LABEL_RECALL_AT]
    return labelled, np.stack(among, axis=1).astype(np.float32)


def _by_label(asked: Sequence[Picture], done: RetrievalResult) -> dict[str, dict[str, float | int]]:
    """The figures of each label's queries, in the order of the alphabet."""
    queries_of: dict[str, list[int]] = {}
    for query in np.flatnonzero(done.has_relevant).tolist():
        for label in dict.fromkeys(asked[query].labels):
            queries_of.setdefault(label, []).append(query)
    return {
        label: {
            **_named(list(METRICS), done.metrics[queries].mean(axis=0, dtype=np.float64)),
            "queries": len(queries),
            "items": len(np.unique(done.items[queries])),
        }
        for label, queries in sorted(queries_of.items())
    }


def _verification(
    gallery: Embeddings, asked: Embeddings, own: NDArray[Any], seed: int
) -> dict[str, float | int] | None:
    """Of the pairs among all pictures, those of the queries and of the gallery; a file once."""
    (new,) = np.nonzero(own < 0)
    pictures = [*gallery.pictures, *(asked.pictures[query] for query in new)]
    vectors = gallery.vectors
    if len(new):
        vectors = np.concatenate([vectors, asked.vectors[new]])
    try:
        distances, y = sample_pair_distances(
            vectors,
            [picture.item_id for picture in pictures],
            [picture.labels for picture in pictures],
            pairs=PAIRS,
            seed=seed,
        )
    except InputError:  # no pair of one of the kinds
        return None
    return measure_verification(distances, y).as_dict()


def _calibration(done: RetrievalResult, fingerprint: str, measured_on: str) -> Calibration | None:
    try:
        return calibrate_on_retrieval(done, fingerprint=fingerprint, measured_on=measured_on)
    except InputError:  # there is one item alone
        return None


def _duplicates(
    asked: Sequence[Picture],
    paths: Sequence[File],
    gallery: Sequence[Picture],
    gallery_paths: Sequence[File],
    cosines: NDArray[np.float32],
    rows: NDArray[Any],
) -> dict[str, Any]:
    found = find_duplicates(paths, gallery_paths, cosines, rows)
    return {
        "queries": len(found),
        "same_bytes": sum(one.same_bytes for one in found),
        "pairs": [
            {
                "query": asked[one.query].filename,
                "gallery": gallery[one.gallery].filename,
                "same_bytes": one.same_bytes,
            }
            for one in found
        ],
    }
