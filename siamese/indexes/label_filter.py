"""Which pictures a search may find, by their labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray


class LabelFilter(msgspec.Struct, frozen=True):
    """Keeps the pictures whose labels L are such that all three hold::

        any_of = ∅  or  L ∩ any_of ≠ ∅        all_of ⊆ L        L ∩ none_of = ∅

    Attributes
    ----------
    any_of, all_of, none_of : labels; with none at all, every picture is kept
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
        """Make one of any collections of labels."""
        return cls(frozenset(any_of), frozenset(all_of), frozenset(none_of))

    def __bool__(self) -> bool:
        return bool(self.any_of or self.all_of or self.none_of)


EVERYTHING = LabelFilter()


class LabelTable:
    """The labels of all rows of an index, as numbers, so that a filter is a few array operations.

    Parameters
    ----------
    names : the labels, each once
    codes : int (m,), the numbers in `names` of the first row's labels, the second's, …; none twice
        in a row
    lengths : int (n,), how many of them belong to each row
    """

    def __init__(
        self, names: Sequence[str], codes: NDArray[np.integer], lengths: NDArray[np.integer]
    ) -> None:
        self.names = list(names)
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self._codes = codes
        self._rows = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        self._count = len(lengths)
        self._kept: tuple[LabelFilter, NDArray[np.bool_]] | None = None

    @classmethod
    def from_labels(cls, labels: Iterable[Iterable[str]]) -> LabelTable:
        """Make one of the labels of each row."""
        numbers: dict[str, int] = {}
        codes: list[int] = []
        lengths: list[int] = []
        for of_row in labels:
            row = {numbers.setdefault(label, len(numbers)) for label in of_row}
            codes.extend(row)
            lengths.append(len(row))
        return cls(list(numbers), np.array(codes, np.intp), np.array(lengths, np.intp))

    def counts(self, here: NDArray[np.bool_] | None = None) -> dict[str, int]:
        """How many rows have each label, the most frequent first, then by name.

        Parameters
        ----------
        here : bool (n,), the rows that count; None for all
        """
        codes = self._codes if here is None else self._codes[here[self._rows]]
        counts = np.bincount(codes, minlength=len(self.names))
        order = sorted(range(len(self.names)), key=lambda code: (-counts[code], self.names[code]))
        return {self.names[code]: int(counts[code]) for code in order if counts[code]}

    def mask(self, labels: LabelFilter) -> NDArray[np.bool_]:
        """Whether each row is kept, bool (n,); not to be written to.

        The last answer is remembered: a search asks for the same one again and again.
        """
        last = self._kept  # once: another thread may put its own there meanwhile
        if last is not None and last[0] == labels:
            return last[1]
        kept = np.ones(self._count, np.bool_)
        if labels.any_of:
            kept &= self._hits(labels.any_of) > 0
        if labels.all_of:
            kept &= self._hits(labels.all_of) == len(labels.all_of)
        if labels.none_of:
            kept &= self._hits(labels.none_of) == 0
        self._kept = labels, kept
        return kept

    def _hits(self, labels: Iterable[str]) -> NDArray[np.intp]:
        """How many of some labels each row has."""
        wanted = np.zeros(len(self.names) + 1, np.bool_)  # one more: there may be no label at all
        wanted[[self._numbers[label] for label in labels if label in self._numbers]] = True
        return np.bincount(self._rows[wanted[self._codes]], minlength=self._count)
