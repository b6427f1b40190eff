"""The items of some rows: which rows are theirs, and which may be told apart."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from siamese.data.label_rule import EXCLUDED, NO_NEGATIVE_PAIR, LabelRule, encode
from siamese.errors import InputError


class ItemIndex:
    """The items of some rows, numbered in the order in which they first appear.

    Attributes
    ----------
    ids : the item ids, (m,)
    of_row : int (n,), the item of each row
    rows : the rows of each item, m times int (size,)
    rule : `LabelRule` over the m items
    with_sibling, with_negative : bool (n,), the rows that can anchor a positive, a negative pair

    Raises
    ------
    InputError
        If there is no positive pair, or no negative pair.
    """

    def __init__(self, item_ids: Sequence[Hashable], labels: Sequence[Iterable[Hashable]]) -> None:
        self.ids = list(dict.fromkeys(item_ids))
        self.of_row = encode(item_ids)
        sizes = np.bincount(self.of_row, minlength=len(self.ids))
        order = np.argsort(self.of_row, kind="stable")
        self.rows = np.split(order, np.cumsum(sizes)[:-1]) if len(order) else []
        self.with_sibling = sizes[self.of_row] > 1
        if not self.with_sibling.any():
            raise InputError(
                "no positive pair: no item has two usable pictures; give some items a second one"
            )
        if len(self.ids) < 2:
            raise InputError("no negative pair: there is a single item; add other items")
        of_item = [labels[rows[0]] for rows in self.rows]
        self.rule = LabelRule(self.ids, of_item)
        # Items with equal labels behave alike, so each set of labels is looked at once.
        alike = encode(map(frozenset, of_item))
        _, firsts = np.unique(alike, return_index=True)
        negatives = self.rule.draw_negatives(firsts, np.random.default_rng(0))
        self.with_negative = (negatives >= 0)[alike][self.of_row]
        if not self.with_negative.any():
            raise InputError(NO_NEGATIVE_PAIR)

    def __len__(self) -> int:
        return len(self.ids)

    def relations(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Of rows to other rows, as `siamese.data.label_rule.pairwise_relations`: int8 (n, m).

        The same row twice is no positive pair.
        """
        related = self.rule.relations(self.of_row[rows], self.of_row[others])
        related[rows[:, None] == others] = EXCLUDED
        return related
