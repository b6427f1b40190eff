"""Index of rows by item."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from siamese.data.label_rule import EXCLUDED, NO_NEGATIVE_PAIR, LabelRule, encode
from siamese.errors import InputError


class ItemIndex:
    """Index of n rows by item, with items numbered in order of first appearance.

    Parameters
    ----------
    item_ids : sequence of hashable, length n
        Item of each row.
    labels : sequence of iterables of hashable, length n
        Labels of each row's item.

    Attributes
    ----------
    ids : list of length c
        Item ids, in order of their numbers.
    item_of_row : int ndarray of shape (n,)
        Item number of each row.
    item_rows : list of c int ndarrays
        Rows of each item.
    rule : LabelRule
        Label rule for the items.
    has_positive, has_negative : bool ndarray of shape (n,)
        Whether each row can be the anchor of a positive or negative pair, respectively.

    Raises
    ------
    InputError
        If there is no positive pair, or no negative pair.
    """

    def __init__(self, item_ids: Sequence[Hashable], labels: Sequence[Iterable[Hashable]]) -> None:
        self.ids = list(dict.fromkeys(item_ids))
        self.item_of_row = encode(item_ids)
        sizes = np.bincount(self.item_of_row, minlength=len(self.ids))
        order = np.argsort(self.item_of_row, kind="stable")
        self.item_rows = np.split(order, np.cumsum(sizes)[:-1]) if len(order) else []
        self.has_positive = sizes[self.item_of_row] > 1
        if not self.has_positive.any():
            raise InputError(
                "no positive pair: no item has two usable pictures; give some items a second one"
            )
        if len(self.ids) < 2:
            raise InputError("no negative pair: there is a single item; add other items")
        item_labels = [labels[rows[0]] for rows in self.item_rows]
        self.rule = LabelRule(self.ids, item_labels)
        # Whether an item has a negative depends only on its labels, so check each set once.
        label_sets = encode(map(frozenset, item_labels))
        _, firsts = np.unique(label_sets, return_index=True)
        negatives = self.rule.draw_negatives(firsts, np.random.default_rng(0))
        self.has_negative = (negatives >= 0)[label_sets][self.item_of_row]
        if not self.has_negative.any():
            raise InputError(NO_NEGATIVE_PAIR)

    def __len__(self) -> int:
        return len(self.ids)

    def relations(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Compute the relation of each row with each column.

        Parameters
        ----------
        rows : int ndarray of shape (n,)
            Rows.
        columns : int ndarray of shape (m,)
            Rows to pair them with.

        Returns
        -------
        int8 ndarray of shape (n, m)
            See `siamese.data.label_rule.pairwise_relations`; 0 for a row with itself.
        """
        related = self.rule.relations(self.item_of_row[rows], self.item_of_row[columns])
        related[rows[:, None] == columns] = EXCLUDED
        return related
