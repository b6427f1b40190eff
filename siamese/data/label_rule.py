"""Label rule: which two pictures make a positive pair, a negative pair, or no pair.

Labels are coarse (a colour, a shelf), so two items with a common label may look alike, and
training must not treat them as dissimilar. All code that makes pairs uses this module.
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
"""Error for labels that allow no negative pair."""


class LabelRule:
    """Label rule over n objects, which are pictures or items.

    Two objects are *negatives* of each other if they belong to different items and their items
    have no label in common. Methods refer to objects by their index.

    Parameters
    ----------
    item_ids : sequence of hashable, length n
        Item of each object.
    labels : sequence of iterables of hashable, length n
        Labels of each object's item.
    """

    MAX_TRIES = 20
    """Random draws per object before `draw_negatives` lists all its negatives, which is slow."""
    MAX_PAIRS = 2**22
    """Pairs that `draw_negatives` compares at once: 32 MB."""

    def __init__(self, item_ids: Sequence[Hashable], labels: Sequence[Iterable[Hashable]]) -> None:
        if len(item_ids) != len(labels):
            raise ValueError(f"{len(item_ids)} item ids but {len(labels)} sets of labels")
        self._items = encode(item_ids)
        self._label_matrix = _multi_hot(labels)

    def are_negatives(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Compare pairs of objects.

        Parameters
        ----------
        first, second : int ndarray of shape (k,)
            Objects.

        Returns
        -------
        bool ndarray of shape (k,)
            Whether ``first[i]`` and ``second[i]`` are negatives.
        """
        shared = self._label_matrix[first].multiply(self._label_matrix[second]).sum(axis=1)
        return (self._items[first] != self._items[second]) & (shared == 0)

    def negative_matrix(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Compare all pairs of two lists of objects.

        Parameters
        ----------
        rows : int ndarray of shape (a,)
            Objects.
        columns : int ndarray of shape (b,)
            Objects.

        Returns
        -------
        bool ndarray of shape (a, b)
            Whether ``rows[i]`` and ``columns[j]`` are negatives.
        """
        shared = (self._label_matrix[rows] @ self._label_matrix[columns].T).toarray()
        return (self._items[rows, None] != self._items[columns]) & ~shared

    def relations(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Compute the relations of all pairs of two lists of objects.

        Parameters
        ----------
        rows : int ndarray of shape (a,)
            Objects.
        columns : int ndarray of shape (b,)
            Objects.

        Returns
        -------
        int8 ndarray of shape (a, b)
            ======  ==============================================
            ``+1``  same item
            ``0``   excluded: different items with a common label
            ``-1``  different items without a common label
            ======  ==============================================
        """
        result = np.where(self.negative_matrix(rows, columns), np.int8(NEGATIVE), np.int8(EXCLUDED))
        result[self._items[rows, None] == self._items[columns]] = POSITIVE
        return result

    def draw_negatives(self, anchors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw a negative of each anchor, all its negatives being equally likely.

        Parameters
        ----------
        anchors : int ndarray of shape (a,)
            Objects.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        int ndarray of shape (a,)
            The negatives; -1 for an anchor that has none.
        """
        drawn = np.full(len(anchors), -1)
        missing = np.arange(len(anchors))
        for _ in range(self.MAX_TRIES):
            if not len(missing):
                return drawn
            candidates = rng.integers(len(self._items), size=len(missing))
            accepted = self.are_negatives(anchors[missing], candidates)
            drawn[missing[accepted]] = candidates[accepted]
            missing = missing[~accepted]
        self._draw_from_all(anchors, missing, rng, drawn)
        return drawn

    def _draw_from_all(
        self,
        anchors: np.ndarray,
        missing: np.ndarray,
        rng: np.random.Generator,
        drawn: np.ndarray,
    ) -> None:
        """Draw the negatives of the `missing` anchors into `drawn`, by listing all candidates."""
        # No object with an anchor's commonest label is its negative. Where random draws failed,
        # nearly all objects have that label, so few candidates remain.
        commonest = self._commonest_labels(anchors[missing])
        by_label = self._label_matrix.tocsc()
        for label in np.unique(commonest):
            candidates = np.arange(len(self._items))
            if label >= 0:
                labelled = by_label.indices[by_label.indptr[label] : by_label.indptr[label + 1]]
                candidates = np.delete(candidates, labelled)
            if not len(candidates):
                continue
            group = missing[commonest == label]
            block_size = max(1, self.MAX_PAIRS // len(candidates))
            for start in range(0, len(group), block_size):
                block = group[start : start + block_size]
                negatives = self.negative_matrix(anchors[block], candidates)
                counts = negatives.sum(axis=1)
                chosen = (rng.random(len(block)) * counts).astype(int)
                columns = (negatives.cumsum(axis=1) == chosen[:, None] + 1).argmax(axis=1)
                drawn[block[counts > 0]] = candidates[columns[counts > 0]]

    def label_codes(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Return the labels of all objects as numbers, the commonest label being 0.

        Returns
        -------
        codes : int ndarray of shape (m,)
            Labels of the first object, then of the second, and so on.
        ends : int ndarray of shape (n,)
            End of each object's labels in `codes`.
        count : int
            Number of different labels.
        """
        matrix = self._label_matrix
        return matrix.indices, matrix.indptr[1:], matrix.shape[1]

    def _commonest_labels(self, objects: np.ndarray) -> np.ndarray:
        """Return the commonest label of each object as its number; -1 if it has no label."""
        starts, ends = self._label_matrix.indptr[objects], self._label_matrix.indptr[objects + 1]
        commonest = np.full(len(objects), -1)
        has_label = starts < ends
        commonest[has_label] = self._label_matrix.indices[starts[has_label]]
        return commonest


def pairwise_relations(
    item_ids: Sequence[Hashable], labels: Sequence[Iterable[Hashable]]
) -> np.ndarray:
    """Compute the relations of all pairs of rows of a batch.

    Parameters
    ----------
    item_ids : sequence of hashable, length n
        Item of each row.
    labels : sequence of iterables of hashable, length n
        Labels of each row's item; items without labels have none in common.

    Returns
    -------
    int8 ndarray of shape (n, n)
        Symmetric.

        ======  ==========================================================================
        ``+1``  same item, different rows: a positive pair
        ``0``   excluded: a row and itself, or two different items with a common label
        ``-1``  different items without a common label: a negative pair
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
    """Replace values by integers: equal values by equal ones, in order of first appearance.

    Parameters
    ----------
    values : iterable of hashable
        The n values.

    Returns
    -------
    int ndarray of shape (n,)
        The integers, from 0.

    Examples
    --------
    >>> encode(["mug", "cup", "mug"])
    array([0, 1, 0])
    """
    codes: dict[Hashable, int] = {}
    return np.array([codes.setdefault(value, len(codes)) for value in values], np.intp)


def _multi_hot(labels: Sequence[Iterable[Hashable]]) -> Any:
    """Return a sparse bool matrix of shape (n, number of labels), the commonest label first."""
    from scipy.sparse import csr_array

    # No sets: their order, and with it the numbers of labels, would differ between processes.
    unique = [list(dict.fromkeys(row)) for row in labels]
    counts = Counter(label for row in unique for label in row)
    codes = {label: code for code, (label, _) in enumerate(counts.most_common())}
    columns = [code for row in unique for code in sorted(codes[label] for label in row)]
    ends = np.cumsum([0, *map(len, unique)])
    return csr_array((np.ones(len(columns), bool), columns, ends), (len(unique), len(codes)))
