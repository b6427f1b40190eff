"""Filters that select pictures by their labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray


class LabelFilter(msgspec.Struct, frozen=True):
    """Conditions on the labels of a picture.

    A filter matches the pictures whose set of labels L satisfies all three conditions::

        any_of = ∅  or  L ∩ any_of ≠ ∅        all_of ⊆ L        L ∩ none_of = ∅

    A filter without labels matches every picture, and its truth value is False.

    Attributes
    ----------
    any_of, all_of, none_of : frozenset of str

    Examples
    --------
    >>> bool(LabelFilter.from_lists(any_of=["red"])), bool(LabelFilter())
    (True, False)
    """

    any_of: frozenset[str] = frozenset()
    all_of: frozenset[str] = frozenset()
    none_of: frozenset[str] = frozenset()

    @classmethod
    def from_lists(
        cls,
        any_of: Iterable[str] = (),
        all_of: Iterable[str] = (),
        none_of: Iterable[str] = (),
    ) -> LabelFilter:
        """Create a filter from iterables of labels."""
        return cls(frozenset(any_of), frozenset(all_of), frozenset(none_of))

    def __bool__(self) -> bool:
        return bool(self.any_of or self.all_of or self.none_of)


EVERYTHING = LabelFilter()


class LabelTable:
    """Integer-coded labels of an index's rows, for filtering with array operations.

    A label's code is its position in `names`. `codes` concatenates the codes of each row's labels,
    row by row and without duplicates within a row; `lengths` is the number of labels of each row.
    """

    def __init__(
        self, names: Sequence[str], codes: NDArray[np.integer], lengths: NDArray[np.integer]
    ) -> None:
        self.names = list(names)
        self._code_of = {name: code for code, name in enumerate(self.names)}
        self._codes = codes
        self._rows = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        self._count = len(lengths)
        self._last_mask: tuple[LabelFilter, NDArray[np.bool_]] | None = None

    @classmethod
    def from_labels(cls, labels: Iterable[Iterable[str]]) -> LabelTable:
        """Create a table from an iterable with the labels of each row."""
        code_of: dict[str, int] = {}
        codes: list[int] = []
        lengths: list[int] = []
        for names in labels:
            row = {code_of.setdefault(name, len(code_of)) for name in names}
            codes.extend(row)
            lengths.append(len(row))
        return cls(list(code_of), np.array(codes, np.intp), np.array(lengths, np.intp))

    def counts(self, mask: NDArray[np.bool_] | None = None) -> dict[str, int]:
        """Count the rows with each label (only those in `mask`, if given), most frequent first."""
        codes = self._codes if mask is None else self._codes[mask[self._rows]]
        counts = np.bincount(codes, minlength=len(self.names))
        order = sorted(range(len(self.names)), key=lambda code: (-counts[code], self.names[code]))
        return {self.names[code]: int(counts[code]) for code in order if counts[code]}

    def mask(self, labels: LabelFilter) -> NDArray[np.bool_]:
        """Return a boolean mask, of shape (n,), of the rows that match a filter.

        Do not modify it: the last mask is cached, because one search may need it several times.
        """
        last = self._last_mask  # read once, because another thread may replace it
        if last is not None and last[0] == labels:
            return last[1]
        mask = np.ones(self._count, np.bool_)
        if labels.any_of:
            mask &= self._count_labels(labels.any_of) > 0
        if labels.all_of:
            mask &= self._count_labels(labels.all_of) == len(labels.all_of)
        if labels.none_of:
            mask &= self._count_labels(labels.none_of) == 0
        self._last_mask = labels, mask
        return mask

    def _count_labels(self, labels: Iterable[str]) -> NDArray[np.intp]:
        """Count how many of the given labels each row has."""
        is_counted = np.zeros(len(self.names) + 1, np.bool_)  # one extra, so that it is never empty
        is_counted[[self._code_of[label] for label in labels if label in self._code_of]] = True
        return np.bincount(self._rows[is_counted[self._codes]], minlength=self._count)
