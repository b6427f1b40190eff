"""Two models on the same pictures: their figures, and whom each calls nearest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from siamese.catalogue import Picture
from siamese.embedding import Embeddings
from siamese.metrics import retrieval_metrics


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
class Comparison:
    """Figures as `siamese.retrieval_metrics` gives them, and a few queries drawn at random."""

    before: dict[str, float | int]
    after: dict[str, float | int]
    queries: list[Query]

    def as_dict(self) -> dict[str, dict[str, float | int]]:
        """The figures, as in `metrics.json`."""
        return {"before": self.before, "after": self.after}


def compare(
    before: Embeddings, after: Embeddings, *, queries: int = 12, k: int = 6, seed: int = 0
) -> Comparison:
    """Compare two embeddings of one catalogue, leave-one-out.

    Parameters
    ----------
    before, after : of the same pictures, by two models
    queries : how many are drawn, of as many items, among those with something to find
    k : neighbours of each

    Raises
    ------
    InputError
        If no picture has another one of its item.
    """
    pictures = before.pictures
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
            Query(
                pictures[row],
                _nearest(pictures, before.vectors, row, k),
                _nearest(pictures, after.vectors, row, k),
            )
            for row in rows
        ],
    )


def _nearest(pictures: list[Picture], vectors: np.ndarray, row: int, k: int) -> list[Neighbour]:
    distance = np.linalg.norm(vectors - vectors[row], axis=1)
    distance[row] = np.inf
    order = np.argsort(distance, kind="stable")[: min(k, len(pictures) - 1)]
    return [
        Neighbour(
            pictures[other],
            float(distance[other]),
            pictures[other].item_id == pictures[row].item_id,
        )
        for other in order
    ]
