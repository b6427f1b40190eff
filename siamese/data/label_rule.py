"""Label rule, which decides whether two pictures are a positive pair, a negative pair or neither.

Labels are coarse (such as a colour or a shelf), so two items with a common label may look alike,
and training must not treat them as dissimilar.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

POSITIVE, EXCLUDED, NEGATIVE = 1, 0, -1
NO_NEGATIVE_PAIR = (
    "no negative pair: every two items share a label, and such items are never treated as "
    "dissimilar; give finer labels or remove the labels"
)


class LabelRule:
    """Label rule for n pictures or items, given the item id and the labels of each.

    Two pictures are *negatives* of each other if they belong to different items without a common
    label. Methods take arrays of indices from 0 to n - 1.
    """

    MAX_TRIES = 20
    """Random draws per anchor before `draw_negatives` falls back to listing all its negatives."""
    MAX_PAIRS = 2**22
    """Maximum number of pairs that `draw_negatives` compares at once, which takes 32 MB."""

    def __init__(self, item_ids: Sequence[Hashable], labels: Sequence[Iterable[Hashable]]) -> None:
        if len(item_ids) != len(labels):
            raise ValueError(f"{len(item_ids)} item ids but {len(labels)} sets of labels")
        self._items = encode(item_ids)
        self._label_matrix = _multi_hot(labels)

    def are_negatives(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return a boolean array: entry i says whether first[i] and second[i] are negatives."""
        shared = self._label_matrix[first].multiply(self._label_matrix[second]).sum(axis=1)
        return (self._items[first] != self._items[second]) & (shared == 0)

    def negative_matrix(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return a boolean matrix: entry i, j says whether rows[i], columns[j] are negatives."""
        shared = (self._label_matrix[rows] @ self._label_matrix[columns].T).toarray()
        return (self._items[rows, None] != self._items[columns]) & ~shared

    def relations(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return an int8 matrix: 1 for the same item, -1 for negatives, 0 otherwise."""
        result = np.where(self.negative_matrix(rows, columns), np.int8(NEGATIVE), np.int8(EXCLUDED))
        result[self._items[rows, None] == self._items[columns]] = POSITIVE
        return result

    def draw_negatives(self, anchors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw a negative for each anchor, uniformly at random; -1 if an anchor has no negative."""
        drawn = np.full(len(anchors), -1)
        missing = np.arange(len(anchors))
        for _ in range(self.MAX_TRIES):
            if not len(missing):
                return drawn
            candidates = rng.integers(len(self._items), size=len(missing))
            accepted = self.are_negatives(anchors[missing], candidates)
            drawn[missing[accepted]] = candidates[accepted]
            missing = missing[~accepted]
        drawn[missing] = self._draw_from_all(anchors[missing], rng)
        return drawn

    def _draw_from_all(self, anchors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw like `draw_negatives`, but by listing all negatives of each anchor."""
        drawn = np.full(len(anchors), -1)
        matrix, by_label = self._label_matrix, self._label_matrix.tocsc()
        starts, ends = matrix.indptr[anchors], matrix.indptr[anchors + 1]
        commonest = np.where(starts < ends, np.append(matrix.indices, -1)[starts], -1)
        # A negative cannot have the anchor's commonest label. Because the random draws failed, most
        # pictures probably have that label, so excluding them leaves few candidates.
        for label in np.unique(commonest):
            candidates = np.arange(len(self._items))
            if label >= 0:
                labelled = by_label.indices[by_label.indptr[label] : by_label.indptr[label + 1]]
                candidates = np.delete(candidates, labelled)
            if not len(candidates):
                continue
            group = np.flatnonzero(commonest == label)
            block_size = max(1, self.MAX_PAIRS // len(candidates))
            for start in range(0, len(group), block_size):
                block = group[start : start + block_size]
                negatives = self.negative_matrix(anchors[block], candidates)
                counts = negatives.sum(axis=1)
                chosen = (rng.random(len(block)) * counts).astype(int)
                columns = (negatives.cumsum(axis=1) == chosen[:, None] + 1).argmax(axis=1)
                drawn[block[counts > 0]] = candidates[columns[counts > 0]]
        return drawn

    def label_codes(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Return the concatenated label codes, where each picture's codes end, and the label count.

        Codes number the labels from 0, the commonest label first.
        """
        matrix = self._label_matrix
        return matrix.indices, matrix.indptr[1:], matrix.shape[1]


def pairwise_relations(
    item_ids: Sequence[Hashable], labels: Sequence[Iterable[Hashable]]
) -> np.ndarray:
    """Compute the relation of every pair of pictures in a batch.

    Parameters
    ----------
    item_ids : sequence of hashable, length n
        Item id of each picture.
    labels : sequence of iterables of hashable, length n
        Labels of each picture's item.

    Returns
    -------
    int8 ndarray of shape (n, n)
        ======  ==========================================================================
        ``+1``  positive pair: different pictures of the same item
        ``0``   no pair: a picture and itself, or different items with a common label
        ``-1``  negative pair: different items without a common label
        ======  ==========================================================================

    Examples
    --------
    >>> pairwise_relations(["mug", "mug", "cup", "hat"], [["red"], ["red"], ["red"], ["wool"]])
    array([[ 0,  1,  0, -1],
           [ 1,  0,  0, -1],
           [ 0,  0,  0, -1],
           [-1, -1, -1,  0]], dtype=int8)
    """
    rows = np.arange(len(item_ids))
    result = LabelRule(item_ids, labels).relations(rows, rows)
    np.fill_diagonal(result, EXCLUDED)
    return result


def encode(values: Iterable[Hashable]) -> np.ndarray:
    """Encode values as integers, numbered from 0 in order of first appearance.

    Examples
    --------
    >>> encode(["mug", "cup", "mug"])
    array([0, 1, 0])
    """
    codes: dict[Hashable, int] = {}
    return np.array([codes.setdefault(value, len(codes)) for value in values], np.intp)


def _multi_hot(labels: Sequence[Iterable[Hashable]]) -> Any:
    """Return a sparse boolean matrix of pictures (rows) and labels (columns, commonest first)."""
    from scipy.sparse import csr_array

    # Not sets: their order, and therefore the labels' codes, would vary between processes.
    unique = [list(dict.fromkeys(row)) for row in labels]
    counts = Counter(label for row in unique for label in row)
    codes = {label: code for code, (label, _) in enumerate(counts.most_common())}
    columns = [code for row in unique for code in sorted(codes[label] for label in row)]
    ends = np.cumsum([0, *map(len, unique)])
    return csr_array((np.ones(len(columns), bool), columns, ends), (len(unique), len(codes)))
