"""Are these two pictures of one item? A threshold on their distance says; how well, this tells."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siamese.data.label_rule import NEGATIVE, NO_NEGATIVE_PAIR, pairwise_relations
from siamese.errors import InputError

if TYPE_CHECKING:
    from siamese.embedding.embed_catalogue import Embeddings

BLOCK_ROWS = 2000
"""Rows whose relations to each other are looked at in one go: 4 MB, however many there are."""
BLOCKS = 8
"""Random blocks of rows that negatives are drawn from where one block does not hold all rows."""


@dataclass(frozen=True, eq=False)
class VerificationResult:
    """How well distances tell positive from negative pairs.

    Attributes
    ----------
    distances, y : (n,), the pairs: 1 for a positive one and 0 for a negative one
    threshold : the distance that separates best; up to it a pair counts as one item
    accuracy : balanced accuracy at the threshold
    auc : area under the ROC curve
    equal_error_rate : the false positive rate where it equals the false negative rate
    false_positive_rate, true_positive_rate : float64 (m,), the ROC curve, from (0, 0) to (1, 1)
    """

    distances: np.ndarray
    y: np.ndarray
    threshold: float
    accuracy: float
    auc: float
    equal_error_rate: float
    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray

    def false_non_match_rate(self, false_match_rate: float) -> float:
        """FNMR at FMR: the least share of the positives refused by a threshold that accepts no
        more than this share of the negatives.
        """
        kept = self.false_positive_rate <= false_match_rate
        return float(1 - self.true_positive_rate[kept].max())

    def as_dict(self) -> dict[str, float | int]:
        """The figures, without the pairs and the curve."""
        return {
            "auc": self.auc,
            "equal_error_rate": self.equal_error_rate,
            "fnmr@fmr=1e-2": self.false_non_match_rate(1e-2),
            "fnmr@fmr=1e-3": self.false_non_match_rate(1e-3),
            "accuracy": self.accuracy,
            "threshold": self.threshold,
            "positives": int((self.y == 1).sum()),
            "negatives": int((self.y == 0).sum()),
        }

    def __str__(self) -> str:
        return (
            f"balanced accuracy {self.accuracy:.3f} at distance {self.threshold:.2f}, area under "
            f"the ROC curve {self.auc:.3f}, equal error rate {self.equal_error_rate:.3f}"
        )


def evaluate_verification(
    embeddings: Embeddings, *, pairs: int = 20_000, seed: int = 0
) -> VerificationResult:
    """Draw pairs of a catalogue's pictures, as `sample_pair_distances` does, and `measure_verification` them."""
    pictures = embeddings.pictures
    distances, y = sample_pair_distances(
        embeddings.vectors,
        [picture.item_id for picture in pictures],
        [picture.labels for picture in pictures],
        pairs=pairs,
        seed=seed,
    )
    return measure_verification(distances, y)


def sample_pair_distances(
    vectors: np.ndarray,
    item_ids: Sequence[Hashable],
    labels: Sequence[Iterable[Hashable]],
    *,
    pairs: int = 20_000,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Distances of positive and of negative pairs: ‖v_i - v_j‖ = √(2 - 2 cos(v_i, v_j)).

    Up to half of the pairs are positives and up to half negatives, as `siamese.data.label_rule` has it;
    where there are more of a kind, they are drawn at random. No pair comes twice.

    Parameters
    ----------
    vectors : float32 (n, d), length 1
    item_ids : (n,) item of each row
    labels : (n,) labels of each row's item
    pairs : at most; both kinds together
    seed : another seed, other pairs

    Returns
    -------
    distances : float32 (m,)
    y : int8 (m,), 1 for a positive pair and 0 for a negative one

    Raises
    ------
    InputError
        If there is no positive or no negative pair, or a vector is not finite.
    """
    if len(vectors) != len(item_ids):
        raise InputError(f"{len(vectors)} vectors, but {len(item_ids)} item ids")
    if not np.isfinite(vectors).all():
        raise InputError("vectors that are not finite; the model that made them is broken")
    rng = np.random.default_rng(seed)
    positives = _positives(item_ids, pairs // 2, rng)
    negatives = _negatives(item_ids, labels, pairs // 2, rng)
    y = np.repeat(np.array([1, 0], np.int8), [len(positives), len(negatives)])
    both = np.concatenate([positives, negatives])
    distances = np.empty(len(both), np.float32)
    for start in range(0, len(both), BLOCK_ROWS):
        one, other = both[start : start + BLOCK_ROWS].T
        distances[start : start + len(one)] = np.linalg.norm(vectors[one] - vectors[other], axis=1)
    return distances, y


def measure_verification(distances: np.ndarray, y: np.ndarray) -> VerificationResult:
    """Say how well distances separate positive from negative pairs.

    A pair of distance d counts as one item when d ≤ t. Over all thresholds t::

        TPR(t)            share of the positives with d ≤ t
        FPR(t)            share of the negatives with d ≤ t
        accuracy          max over t of (TPR(t) + 1 - FPR(t)) / 2
        threshold         the t of that maximum, half-way to the next larger distance
        auc               P(d⁺ < d⁻) + P(d⁺ = d⁻) / 2, of a random positive and a random negative
        equal_error_rate  FPR(t) where FPR(t) = 1 - TPR(t), on the straight line between the two
                          thresholds next to it

    Parameters
    ----------
    distances : (n,)
    y : (n,), 1 for a positive pair and 0 for a negative one

    Raises
    ------
    InputError
        If there is no positive or no negative pair.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    if len(np.unique(y)) != 2:
        raise InputError("verification needs positive and negative pairs; all are of one kind")
    scores = -np.asarray(distances, np.float64)
    false_positive, true_positive, at = roc_curve(y, scores, drop_intermediate=False)
    accuracy = (true_positive + 1 - false_positive) / 2
    best = 1 + int(accuracy[1:].argmax())  # the first threshold accepts none, the last one all
    following = min(best + 1, len(at) - 1)
    return VerificationResult(
        distances=distances,
        y=y,
        threshold=float(-(at[best] + at[following]) / 2),
        accuracy=float(accuracy[best]),
        auc=float(roc_auc_score(y, scores)),
        equal_error_rate=float(np.interp(0, false_positive + true_positive - 1, false_positive)),
        false_positive_rate=false_positive,
        true_positive_rate=true_positive,
    )


def _positives(item_ids: Sequence[Hashable], most: int, rng: np.random.Generator) -> np.ndarray:
    """Pairs of rows of one item: int (m, 2), each pair once."""
    rows_of_item: dict[Hashable, list[int]] = {}
    for row, item_id in enumerate(item_ids):
        rows_of_item.setdefault(item_id, []).append(row)
    rows = np.array([row for of_item in rows_of_item.values() for row in of_item], int)
    sizes = np.array([len(of_item) for of_item in rows_of_item.values()], int)
    ends = np.cumsum(sizes * (sizes - 1) // 2)
    total = int(ends[-1]) if len(ends) else 0
    if not total:
        raise InputError("no positive pair: no item has two pictures; give some items a second one")
    # All pairs are numbered, item by item; within one in the order 01, 02, 12, 03, 13, 23, …
    number = np.arange(total) if total <= most else rng.choice(total, most, replace=False)
    item = np.searchsorted(ends, number, side="right")
    within = number - (ends - sizes * (sizes - 1) // 2)[item]
    second = ((1 + np.sqrt(1 + 8 * within)) / 2).astype(int)
    first = within - second * (second - 1) // 2
    start = (np.cumsum(sizes) - sizes)[item]
    return np.stack([rows[start + first], rows[start + second]], axis=1)


def _negatives(
    item_ids: Sequence[Hashable],
    labels: Sequence[Iterable[Hashable]],
    most: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Pairs of rows of different items without a common label: int (m, 2), each pair once."""
    total = len(item_ids)
    blocks = 1 if total <= BLOCK_ROWS else BLOCKS
    found = np.empty(0, int)
    for _ in range(blocks):
        rows = np.sort(rng.permutation(total)[:BLOCK_ROWS])
        related = pairwise_relations([item_ids[row] for row in rows], [labels[row] for row in rows])
        first, second = np.nonzero(np.triu(related == NEGATIVE))
        share = min(-(-most // blocks), len(first))
        drawn = rng.choice(len(first), share, replace=False) if share else np.empty(0, int)
        found = np.union1d(found, rows[first[drawn]] * total + rows[second[drawn]])
    if not len(found):
        raise InputError(NO_NEGATIVE_PAIR)
    return np.stack(np.divmod(found[rng.permutation(len(found))[:most]], total), axis=1)
