"""Verification metrics, which measure how well distances separate positive from negative pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from siamese.data.label_rule import NEGATIVE, NO_NEGATIVE_PAIR, pairwise_relations
from siamese.errors import InputError

if TYPE_CHECKING:
    from siamese.data.catalogue import Picture
    from siamese.embedding.embed_catalogue import Embeddings

BLOCK_ROWS = 2000
"""Number of rows whose pairwise relations are computed at once, which takes 4 MB."""
BLOCKS = 8
"""Number of random blocks from which to sample negatives if one block cannot hold all rows."""


@dataclass(frozen=True, eq=False)
class VerificationResult:
    """Verification metrics of a set of positive and negative pairs."""

    distances: np.ndarray  # (n_pairs,)
    y: np.ndarray  # (n_pairs,): 1 for a positive pair, 0 for a negative pair
    threshold: float  # pairs no farther apart than this are judged to show the same item
    accuracy: float  # balanced accuracy at `threshold`, the highest at any threshold
    auc: float  # area under the ROC curve
    equal_error_rate: float  # false positive rate where it equals the false negative rate
    false_positive_rate: np.ndarray  # (n_points,): ROC curve, from (0, 0) to (1, 1)
    true_positive_rate: np.ndarray  # (n_points,)

    def false_non_match_rate(self, false_match_rate: float) -> float:
        """Return the lowest FNMR of all thresholds whose FMR is at most `false_match_rate`."""
        allowed = self.false_positive_rate <= false_match_rate
        return float(1 - self.true_positive_rate[allowed].max())

    def as_dict(self) -> dict[str, float | int]:
        """Return the metrics and the numbers of pairs as a dict that can be written as JSON."""
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
    """Measure verification on pairs of pictures sampled from an embedded catalogue.

    Parameters
    ----------
    embeddings : Embeddings
        Embedded catalogue.
    pairs : int, default 20000
        Maximum number of pairs: at most half are positive and at most half negative.
    seed : int, default 0
        Random seed for sampling the pairs.

    Raises
    ------
    InputError
        If there are no positive or no negative pairs, or a vector is not finite.
    """
    return measure_verification(*sample_pair_distances(embeddings, pairs=pairs, seed=seed))


def sample_pair_distances(
    embeddings: Embeddings, *, pairs: int = 20_000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Sample pairs; return their distances, and 1 for each positive and 0 for each negative pair.

    The distance of two unit vectors is ‖u - v‖ = √(2 - 2 cos(u, v)). At most half of `pairs` are
    positive (pictures of the same item), and at most half negative (pictures of two items without a
    common label). No pair occurs twice.
    """
    vectors, pictures = embeddings.vectors, embeddings.pictures
    if not np.isfinite(vectors).all():
        raise InputError("some vectors are not finite; the model that made them is broken")
    rng = np.random.default_rng(seed)
    positives = _sample_positives(pictures, pairs // 2, rng)
    negatives = _sample_negatives(pictures, pairs // 2, rng)
    y = np.repeat(np.array([1, 0], np.int8), [len(positives), len(negatives)])
    rows = np.concatenate([positives, negatives])
    distances = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        distances[block] = np.linalg.norm(vectors[rows[block, 0]] - vectors[rows[block, 1]], axis=1)
    return distances, y


def measure_verification(distances: ArrayLike, y: ArrayLike) -> VerificationResult:
    """Measure how well distances separate positive from negative pairs.

    `y` is 1 for a positive and 0 for a negative pair; there must be pairs of both kinds. With a
    threshold t, pairs with distance d ≤ t are judged to show the same item::

        TPR(t)            = fraction of the positives with d ≤ t
        FPR(t)            = fraction of the negatives with d ≤ t
        accuracy          = max over t of (TPR(t) + 1 - FPR(t)) / 2
        threshold         = t of that maximum, moved halfway to the next larger distance
        auc               = P(d⁺ < d⁻) + P(d⁺ = d⁻) / 2 for random positive and negative pairs
        equal_error_rate  = FPR(t) where FPR(t) = 1 - TPR(t), interpolated linearly

    References
    ----------
    ISO/IEC 19795-1, "Biometric performance testing and reporting", 2021 (FMR, FNMR).
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    distances, y = np.asarray(distances), np.asarray(y)
    if len(np.unique(y)) != 2:
        raise InputError("verification needs positive and negative pairs; all are of one kind")
    scores = -distances.astype(np.float64)
    false_positive, true_positive, thresholds = roc_curve(y, scores, drop_intermediate=False)
    accuracy = (true_positive + 1 - false_positive) / 2
    best = 1 + int(accuracy[1:].argmax())  # skip the first threshold, which accepts no pair
    following = min(best + 1, len(thresholds) - 1)
    return VerificationResult(
        distances=distances,
        y=y,
        threshold=float(-(thresholds[best] + thresholds[following]) / 2),
        accuracy=float(accuracy[best]),
        auc=float(roc_auc_score(y, scores)),
        equal_error_rate=float(np.interp(0, false_positive + true_positive - 1, false_positive)),
        false_positive_rate=false_positive,
        true_positive_rate=true_positive,
    )


def _sample_positives(
    pictures: Sequence[Picture], most: int, rng: np.random.Generator
) -> np.ndarray:
    """Sample distinct pairs of rows that show the same item, as integers of shape (n, 2)."""
    rows_of_item = defaultdict(list)
    for row, picture in enumerate(pictures):
        rows_of_item[picture.item_id].append(row)
    rows = np.array([row for item_rows in rows_of_item.values() for row in item_rows], int)
    # Pair each row with every earlier row of its item, in the order 01, 02, 12, 03, 13, 23, …
    earlier = np.array([n for item_rows in rows_of_item.values() for n in range(len(item_rows))])
    if not earlier.any():
        raise InputError("no positive pair: no item has two pictures; give some items a second one")
    ends = np.cumsum(earlier)
    total = int(ends[-1])
    number = np.arange(total) if total <= most else rng.choice(total, most, replace=False)
    second = np.searchsorted(ends, number, side="right")
    first = number - ends[second] + second
    return np.stack([rows[first], rows[second]], axis=1)


def _sample_negatives(
    pictures: Sequence[Picture], most: int, rng: np.random.Generator
) -> np.ndarray:
    """Sample distinct pairs of rows without a common item or label, as integers of shape (n, 2)."""
    total = len(pictures)
    blocks = BLOCKS if total > BLOCK_ROWS else 1
    found = np.empty(0, int)
    for _ in range(blocks):
        rows = np.sort(rng.permutation(total)[:BLOCK_ROWS])
        related = pairwise_relations(
            [pictures[row].item_id for row in rows], [pictures[row].labels for row in rows]
        )
        first, second = np.nonzero(np.triu(related == NEGATIVE))
        chosen = rng.choice(len(first), min(-(-most // blocks), len(first)), replace=False)
        found = np.union1d(found, rows[first[chosen]] * total + rows[second[chosen]])
    if not len(found):
        raise InputError(NO_NEGATIVE_PAIR)
    return np.stack(np.divmod(found[rng.permutation(len(found))[:most]], total), axis=1)
