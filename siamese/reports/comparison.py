"""Comparison of two models on the same pictures: metrics, nearest pictures and confused items."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from siamese.data.catalogue import Picture
from siamese.embedding.embed_catalogue import Embeddings
from siamese.errors import InputError
from siamese.evaluation.metrics import METRICS, retrieval_metrics
from siamese.vectors.nearest import nearest
from siamese.vectors.unit_vectors import UnitVectors


@dataclass(frozen=True)
class Neighbour:
    """One of a query's nearest pictures, and whether it shows the query's item."""

    picture: Picture
    distance: float
    same_item: bool


@dataclass(frozen=True)
class ComparedQuery:
    """Query picture with its nearest pictures before and after training."""

    picture: Picture
    before: list[Neighbour]
    after: list[Neighbour]


@dataclass(frozen=True)
class Confusion:
    """Two items that the trained model confuses, with one of its mistakes as an example.

    A mistake is a picture of one item whose nearest picture shows the other item. The example is
    the mistake with the smallest distance.
    """

    picture: Picture
    mistaken_for: Picture
    count: int  # number of mistakes
    pictures: int  # total number of pictures of both items


@dataclass(frozen=True)
class Comparison:
    """Effect of training on retrieval."""

    before: dict[str, float | int]  # metrics, see siamese.retrieval_metrics
    after: dict[str, float | int]
    queries: list[ComparedQuery]  # a random sample
    confusions: list[Confusion]  # of the trained model, most frequent first

    def as_dict(self) -> dict[str, dict[str, float | int]]:
        """Return the metrics in the format of `metrics.json`."""
        return {"before": self.before, "after": self.after}

    def tabulate(self) -> list[tuple[str, str, str, str]]:
        """Return a row per metric: its name, its values before and after training, and the gain."""
        rows = [(metric, self.before[metric], self.after[metric]) for metric in METRICS]
        return [
            (metric, f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}")
            for metric, before, after in rows
        ]


def compare_embeddings(
    before: Embeddings,
    after: Embeddings,
    *,
    queries: int = 12,
    k: int = 6,
    confusions: int = 6,
    seed: int = 0,
) -> Comparison:
    """Compare two models' embeddings of a catalogue, searching for each picture among the others.

    Parameters
    ----------
    before, after : Embeddings
        Embeddings of the same pictures, by the model before and after training.
    queries : int, default 12
        Maximum number of random queries, each from a different item with at least two pictures.
    k : int, default 6
        Number of nearest pictures per query.
    confusions : int, default 6
        Maximum number of confusions.
    seed : int, default 0
        Random seed for choosing the queries.

    Raises
    ------
    InputError
        If no item has two pictures, or the embeddings have different pictures.
    """
    pictures = before.pictures
    if after.pictures != pictures:
        raise InputError(
            "before and after have different pictures; embed the same catalogue with both models"
        )
    item_ids = [picture.item_id for picture in pictures]
    metrics_before = retrieval_metrics(before.vectors, item_ids)
    metrics_after = retrieval_metrics(after.vectors, item_ids)
    rows_of_item = defaultdict(list)
    for row, item_id in enumerate(item_ids):
        rows_of_item[item_id].append(row)
    pairable = [rows for rows in rows_of_item.values() if len(rows) > 1]
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(pairable))[:queries]
    rows = [int(rng.choice(pairable[item])) for item in chosen]
    neighbours = [_find_neighbours(model, rows, k) for model in (before, after)]
    compared = [
        ComparedQuery(pictures[row], near_before, near_after)
        for row, near_before, near_after in zip(rows, *neighbours, strict=True)
    ]
    found = _find_confusions(after, confusions)
    return Comparison(metrics_before, metrics_after, compared, found)


def _find_confusions(model: Embeddings, count: int) -> list[Confusion]:
    """Find the pairs of items with the most mistakes.

    An item's only picture is never counted as a mistake, because it has no correct match.
    """
    pictures = model.pictures
    size = Counter(picture.item_id for picture in pictures)
    mistakes = defaultdict(list)
    vectors = UnitVectors(model.vectors, "the vectors")
    cosines, rows = nearest(vectors, vectors, 1, own=np.arange(len(vectors)))
    for row, (cosine, near) in enumerate(zip(cosines[:, 0], rows[:, 0].tolist(), strict=True)):
        item_id, other = pictures[row].item_id, pictures[near].item_id
        if item_id != other and size[item_id] > 1:
            pair = tuple(sorted((item_id, other)))
            mistakes[pair].append((-float(cosine), row, near))
    by_count = sorted(mistakes.items(), key=lambda entry: (-len(entry[1]), min(entry[1])))
    confusions = []
    for pair, pair_mistakes in by_count[:count]:
        _, row, near = min(pair_mistakes)
        total = sum(size[item_id] for item_id in pair)
        confusions.append(Confusion(pictures[row], pictures[near], len(pair_mistakes), total))
    return confusions


def _find_neighbours(model: Embeddings, rows: list[int], k: int) -> list[list[Neighbour]]:
    """Find the k nearest other pictures of the picture in each given row."""
    pictures, vectors = model.pictures, model.vectors
    queries = UnitVectors(vectors[rows], "the queries")
    _, near = nearest(queries, UnitVectors(vectors, "the vectors"), k, own=np.array(rows))
    return [
        [
            Neighbour(
                pictures[other],
                float(np.linalg.norm(vectors[other] - vectors[row])),
                pictures[other].item_id == pictures[row].item_id,
            )
            for other in others[others >= 0]
        ]
        for row, others in zip(rows, near, strict=True)
    ]
