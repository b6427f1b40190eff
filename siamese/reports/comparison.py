"""Compare two models on the same pictures: metrics, nearest pictures and confused items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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
    """One of the nearest pictures of a query.

    Attributes
    ----------
    picture : Picture
    distance : float
        Distance to the query.
    same_item : bool
        Whether it shows the query's item.
    """

    picture: Picture
    distance: float
    same_item: bool


@dataclass(frozen=True)
class ComparedQuery:
    """A picture with its nearest pictures before and after training."""

    picture: Picture
    before: list[Neighbour]
    after: list[Neighbour]


@dataclass(frozen=True)
class Confusion:
    """Two items that the trained model takes for each other.

    Attributes
    ----------
    picture, mistaken_for : Picture
        The closest of their mistakes: a query, and its nearest picture, which shows the other
        item.
    count : int
        Number of mistakes: pictures of either item whose nearest picture shows the other.
    pictures : int
        Number of pictures of the two items.
    """

    picture: Picture
    mistaken_for: Picture
    count: int
    pictures: int


@dataclass(frozen=True)
class Comparison:
    """Effect of training on retrieval.

    Attributes
    ----------
    before, after : dict of str to float or int
        Metrics of the two models. See `siamese.retrieval_metrics`.
    queries : list of ComparedQuery
        Random pictures.
    confusions : list of Confusion
        The most frequent confusions after training, in descending order.
    """

    before: dict[str, float | int]
    after: dict[str, float | int]
    queries: list[ComparedQuery]
    confusions: list[Confusion]

    def as_dict(self) -> dict[str, dict[str, float | int]]:
        """Return the metrics, as in `metrics.json`."""
        return {"before": self.before, "after": self.after}

    def tabulate(self) -> list[tuple[str, str, str, str]]:
        """Return a row per metric: its name, the values before and after, and the gain."""
        return [
            (
                metric,
                f"{self.before[metric]:.3f}",
                f"{self.after[metric]:.3f}",
                f"{self.after[metric] - self.before[metric]:+.3f}",
            )
            for metric in METRICS
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
    """Compare two embeddings of one catalogue, each picture among all the others.

    Parameters
    ----------
    before, after : Embeddings
        Embeddings of the same pictures by the two models.
    queries : int, default 12
        Number of random queries, each of another item with at least two pictures.
    k : int, default 6
        Number of nearest pictures per query.
    confusions : int, default 6
        Largest number of confusions.
    seed : int, default 0
        Seed of the random queries.

    Returns
    -------
    Comparison

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
    rows_of_item: dict[str, list[int]] = {}
    for row, item_id in enumerate(item_ids):
        rows_of_item.setdefault(item_id, []).append(row)
    pairable = [rows for rows in rows_of_item.values() if len(rows) > 1]
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(pairable))[:queries]
    rows = [int(rng.choice(pairable[item])) for item in chosen]
    neighbours = [
        _find_neighbours(pictures, embeddings.vectors, rows, k) for embeddings in (before, after)
    ]
    return Comparison(
        metrics_before,
        metrics_after,
        [
            ComparedQuery(pictures[row], near_before, near_after)
            for row, near_before, near_after in zip(rows, *neighbours, strict=True)
        ],
        _find_confusions(pictures, after.vectors, confusions),
    )


def _find_confusions(
    pictures: Sequence[Picture], vectors: np.ndarray, count: int
) -> list[Confusion]:
    """Find the pairs of items with the most mistakes.

    A picture without another one of its item makes no mistake: there is nothing right to find.
    """
    size = Counter(picture.item_id for picture in pictures)
    mistakes: dict[tuple[str, ...], list[tuple[float, int, int]]] = {}
    unit_vectors = UnitVectors(vectors, "the vectors")
    cosines, rows = nearest(unit_vectors, unit_vectors, 1, own=np.arange(len(vectors)))
    for row, (cosine, near) in enumerate(zip(cosines[:, 0], rows[:, 0].tolist(), strict=True)):
        item_id, other = pictures[row].item_id, pictures[near].item_id
        if item_id != other and size[item_id] > 1:
            pair = tuple(sorted((item_id, other)))
            mistakes.setdefault(pair, []).append((-float(cosine), row, near))
    by_count = sorted(mistakes.items(), key=lambda entry: (-len(entry[1]), min(entry[1])))
    confusions = []
    for pair, pair_mistakes in by_count[:count]:
        _, row, near = min(pair_mistakes)
        total = sum(size[item_id] for item_id in pair)
        confusions.append(Confusion(pictures[row], pictures[near], len(pair_mistakes), total))
    return confusions


def _find_neighbours(
    pictures: Sequence[Picture], vectors: np.ndarray, rows: Sequence[int], k: int
) -> list[list[Neighbour]]:
    """Find the k nearest other pictures of the pictures in some rows."""
    queries = UnitVectors(vectors[list(rows)], "the queries")
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
