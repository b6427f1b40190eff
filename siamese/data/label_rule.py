"""The label rule: which two pictures make a positive pair, a negative pair, or none.

Labels are coarse (a colour, a shelf), so two items that share one may well look alike: calling
them different would teach the network a falsehood. Every place that makes pairs asks here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

POSITIVE, EXCLUDED, NEGATIVE = 1, 0, -1
NO_NEGATIVE_PAIR = (
    "no negative pair: every two items share a label, and such items are never treated as "
    "dissimilar; give finer labels or leave them out"
)
"""Said wherever the rule leaves nothing to push apart."""


class LabelRule:
    """The rule over n things, be they pictures or items; they are called by their numbers.

    i and j are a *compatible negative* when they are of different items that share no label.
    Things without labels share none.

    Parameters
    ----------
    item_ids : (n,) item of each thing
    labels : (n,) labels of its item
    """

    TRIES = 20
    """Random things tried before all the compatible ones are listed, which is slow and sure."""
    CELLS = 2**22
    """Most pairs that are looked at in one go when all are listed: 32 MB."""

    def __init__(self, item_ids: Sequence[Hashable], labels: Sequence[Iterable[Hashable]]) -> None:
        if len(item_ids) != len(labels):
            raise ValueError(f"{len(item_ids)} item ids but {len(labels)} sets of labels")
        self._item = codes(item_ids)
        self._has_label = _multi_hot(labels)

    def compatible_negative(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Pair by pair: is `one[k]` a compatible negative of `other[k]`? bool (k,)."""
        shared = self._has_label[one].multiply(self._has_label[other]).sum(axis=1)
        return (self._item[one] != self._item[other]) & (shared == 0)

    def compatible_negatives(self, ones: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Every one against every other: bool (a, b)."""
        shared = (self._has_label[ones] @ self._has_label[others].T).toarray()
        return (self._item[ones, None] != self._item[others]) & ~shared

    def relations(self, ones: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Every one against every other: int8 (a, b).

        ======  ==============================================
        ``+1``  of one item
        ``0``   excluded: of different items that share a label
        ``-1``  of different items without a common label
        ======  ==============================================
        """
        related = np.where(
            self.compatible_negatives(ones, others), np.int8(NEGATIVE), np.int8(EXCLUDED)
        )
        related[self._item[ones, None] == self._item[others]] = POSITIVE
        return related

    def random_negatives(self, ones: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A compatible negative of each, all of them equally likely: int (a,), -1 for none."""
        found = np.full(len(ones), -1)
        open_ = np.arange(len(ones))
        for _ in range(self.TRIES):
            if not len(open_):
                return found
            proposed = rng.integers(len(self._item), size=len(open_))
            fits = self.compatible_negative(ones[open_], proposed)
            found[open_[fits]] = proposed[fits]
            open_ = open_[~fits]
        # Whatever has the commonest label of one is none of its negatives. Where tries fail that
        # is nearly everything, so that few are left to look at.
        commonest = self._commonest(ones[open_])
        columns = self._has_label.tocsc()
        for label in np.unique(commonest):
            candidates = np.arange(len(self._item))
            if label >= 0:
                having = columns.indices[columns.indptr[label] : columns.indptr[label + 1]]
                candidates = np.delete(candidates, having)
            if not len(candidates):
                continue
            group = open_[commonest == label]
            most = max(1, self.CELLS // len(candidates))
            for start in range(0, len(group), most):
                block = group[start : start + most]
                fits = self.compatible_negatives(ones[block], candidates)
                count = fits.sum(axis=1)
                chosen = (rng.random(len(block)) * count).astype(int)
                place = (fits.cumsum(axis=1) == chosen[:, None] + 1).argmax(axis=1)
                found[block[count > 0]] = candidates[place[count > 0]]
        return found

    def labels_of(self) -> tuple[np.ndarray, np.ndarray, int]:
        """All labels as numbers, thing by thing.

        Returns
        -------
        labels : int (m,), one after the other
        ends : int (n,), where in `labels` those of each thing end
        count : how many different ones there are
        """
        return self._has_label.indices, self._has_label.indptr[1:], self._has_label.shape[1]

    def _commonest(self, ones: np.ndarray) -> np.ndarray:
        """The commonest label of each, -1 where it has none: labels are numbered by that."""
        starts, ends = self._has_label.indptr[ones], self._has_label.indptr[ones + 1]
        commonest = np.full(len(ones), -1)
        some = starts < ends
        commonest[some] = self._has_label.indices[starts[some]]
        return commonest


def relations(item_ids: Sequence[Hashable], labels: Sequence[Iterable[Hashable]]) -> np.ndarray:
    """Relation of every two rows of a batch.

    ======  =====================================================================
    ``+1``  same item, another row: a positive pair
    ``0``   excluded: the row itself, or different items that share a label
    ``-1``  different items without a common label: a negative pair
    ======  =====================================================================

    Items without labels share none.

    Parameters
    ----------
    item_ids : (n,) item of each row
    labels : (n,) labels of each row's item

    Returns
    -------
    int8 (n, n), symmetric
    """
    every = np.arange(len(item_ids))
    related = LabelRule(item_ids, labels).relations(every, every)
    np.fill_diagonal(related, EXCLUDED)
    return related


def codes(values: Iterable[Hashable]) -> np.ndarray:
    """Equal values, equal numbers, in the order in which they first appear: int (n,)."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(value, len(seen)) for value in values], np.intp)


def _multi_hot(labels: Sequence[Iterable[Hashable]]) -> Any:
    """Sparse bool (n, number of different labels), the commonest label first."""
    from scipy.sparse import csr_array

    # No sets: their order, and with it the numbers of labels, would be another in every process.
    sets = [list(dict.fromkeys(of_one)) for of_one in labels]
    counts = Counter(label for of_one in sets for label in of_one)
    column = {label: place for place, (label, _) in enumerate(counts.most_common())}
    columns = [place for of_one in sets for place in sorted(column[label] for label in of_one)]
    ends = np.cumsum([0, *map(len, sets)])
    return csr_array((np.ones(len(columns), bool), columns, ends), (len(sets), len(column)))
