"""Two models on the same pictures: their figures, and whom each calls nearest."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from siamese.data.catalogue import Picture
from siamese.embedding.embed_catalogue import Embeddings
from siamese.errors import InputError
from siamese.evaluation.metrics import retrieval_metrics
from siamese.vectors.nearest import nearest
from siamese.vectors.unit_vectors import UnitVectors


@dataclass(frozen=True)
class Neighbour:
    """A picture of a ranking, how far it is, and whether it shows the query's item."""

    picture: Picture
    distance: float
    same_item: bool


@dataclass(frozen=True)
class Query:
    """One picture, and its nearest ones before and after training."""

    picture: Picture
    before: list[Neighbour]
    after: list[Neighbour]


@dataclass(frozen=True)
class Confusion:
    """Two items that are taken for each other after training.

    Attributes
    ----------
    picture, mistaken_for : one of the mistakes: a query, and the other item's picture that is
        nearest to it
    count : how many pictures of either item have one of the other nearest
    pictures : how many pictures both items have
    """

    picture: Picture
    mistaken_for: Picture
    count: int
    pictures: int


@dataclass(frozen=True)
class Comparison:
    """What training changed.

    Attributes
    ----------
    before, after : figures, as `siamese.retrieval_metrics` gives them
    queries : a few, drawn at random
    confusions : the most frequent after training, the most frequent first
    """

    before: dict[str, float | int]
    after: dict[str, float | int]
    queries: list[Query]
    confusions: list[Confusion]

    def as_dict(self) -> dict[str, dict[str, float | int]]:
        """The figures, as in `metrics.json`."""
        return {"before": self.before, "after": self.after}


def compare_embeddings(
    before: Embeddings,
    after: Embeddings,
    *,
    queries: int = 12,
    k: int = 6,
    confusions: int = 6,
    seed: int = 0,
) -> Comparison:
    """Compare two embeddings of one catalogue, leave-one-out.

    Parameters
    ----------
    before, after : of the same pictures, by two models
    queries : how many are drawn, of as many items, among those with something to find
    k : neighbours of each
    confusions : how many pairs of items, at most
    seed : another seed, other queries

    Raises
    ------
    InputError
        If no picture has another one of its item, or the two are of different pictures.
    """
    pictures = before.pictures
    if after.pictures != pictures:
        raise InputError("before and after are of different pictures; embed one catalogue twice")
    item_ids = [picture.item_id for picture in pictures]
    rng = np.random.default_rng(seed)
    rows_of_item: dict[str, list[int]] = {}
    for row, item_id in enumerate(item_ids):
        rows_of_item.setdefault(item_id, []).append(row)
    pairable = [rows for rows in rows_of_item.values() if len(rows) > 1]
    drawn = rng.permutation(len(pairable))[:queries]
    rows = [int(rng.choice(pairable[item])) for item in drawn]
    return Comparison(
        retrieval_metrics(before.vectors, item_ids),
        retrieval_metrics(after.vectors, item_ids),
        [
            Query(pictures[row], *neighbours)
            for row, *neighbours in zip(
                rows,
                _neighbours(pictures, before.vectors, rows, k),
                _neighbours(pictures, after.vectors, rows, k),
                strict=True,
            )
        ],
        _confusions(pictures, after.vectors, confusions),
    )


def _confusions(pictures: list[Picture], vectors: np.ndarray, most: int) -> list[Confusion]:
    """The pairs of items with the most pictures whose nearest one is of the pair's other item.

    A picture alone of its item has nothing to find, and is no mistake.
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
    often = sorted(mistakes.items(), key=lambda entry: (-len(entry[1]), min(entry[1])))
    found = []
    for pair, made in often[:most]:
        _, row, near = min(made)  # the most similar of them, which is the plainest
        both = sum(size[item_id] for item_id in pair)
        found.append(Confusion(pictures[row], pictures[near], len(made), both))
    return found


def _neighbours(
    pictures: list[Picture], vectors: np.ndarray, rows: list[int], k: int
) -> list[list[Neighbour]]:
    """The k nearest other pictures of the pictures of some rows."""
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
