"""The files that FAISS writes, looked through before FAISS reads them: it trusts what they say.

Of its many kinds only the two of `siamese.indexes.faiss.vectors` are let through, and of these only
what can be searched without leaving the file's own arrays. What is wrong is a `ValueError`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

L2 = 1
BITS_OF_KIND = {0: 8, 4: 16}
"""Of the scalar quantizers: QT_8bit and QT_fp16."""


def check_layout(path: Path) -> None:
    """Prove that a file is one that FAISS can read and search safely.

    Raises
    ------
    ValueError
        Saying what is not as it must be.
    """
    if not path.stat().st_size:
        raise ValueError("its vectors are an empty file")
    fields = _Fields(path)
    if fields.kind() == b"IxF2":
        _check_flat(fields)
    else:
        _check_graph(fields)


class _Fields:
    """The fields of a file, one after the other."""

    def __init__(self, path: Path) -> None:
        self._data = np.memmap(path, np.uint8, "r").view(np.ndarray)
        self._at = 0

    def kind(self) -> bytes:
        """The four letters at this place, which stay."""
        return bytes(self._data[self._at : self._at + 4])

    def one(self, dtype: str) -> Any:
        """A number."""
        return self.some(1, dtype)[0]

    def some(self, count: int, dtype: DTypeLike) -> NDArray[Any]:
        """So many numbers."""
        end = self._at + count * np.dtype(dtype).itemsize
        if end > len(self._data):
            raise ValueError("it ends too early")
        found = self._data[self._at : end].view(dtype)
        self._at = end
        return found

    def vector(self, dtype: str) -> NDArray[Any]:
        """How many numbers, and then these."""
        return self.some(int(self.one("<u8")), dtype)

    def expect(self, holds: Any, what: str) -> None:
        """A `ValueError` where something does not hold."""
        if not holds:
            raise ValueError(what)

    def end(self) -> None:
        """Nothing must follow."""
        self.expect(self._at == len(self._data), "something follows its vectors")


def _header(fields: _Fields, kind: bytes) -> tuple[int, int]:
    """The count and the size of vectors, after the letters of a kind."""
    fields.expect(fields.kind() == kind, "it is of an unknown kind")
    fields.some(4, "u1")
    size, count = int(fields.one("<i4")), int(fields.one("<i8"))
    fields.some(2, "<i8")
    trained, metric = fields.one("u1"), fields.one("<i4")
    fields.expect(
        0 < size < 2**20 and 0 <= count < 2**31 and trained == 1 and metric == L2,
        "its vectors are kept in an unknown way",
    )
    return count, size


def _check_flat(fields: _Fields) -> None:
    count, size = _header(fields, b"IxF2")
    numbers = fields.vector("<f4")
    fields.expect(len(numbers) == count * size, "its vectors do not fit to their number")
    vectors = numbers.reshape(count, size)
    lengths = np.einsum("ij,ij->i", vectors, vectors)
    # Of a graph's vectors, which may be gigabytes, only the number is looked at.
    fields.expect((np.abs(lengths - 1) < 1e-3).all(), "its vectors are not of length 1")
    fields.end()


def _check_graph(fields: _Fields) -> None:
    count, size = _header(fields, b"IHNs")
    shares = fields.vector("<f8")
    widths = fields.vector("<i4").astype(np.int64)
    levels = fields.vector("<i4")
    starts = fields.vector("<u8")
    links = fields.vector("<i4")
    entry, top, _, effort, _ = (int(number) for number in fields.some(5, "<i4"))
    _check_links(count, shares, widths, levels, starts, links, entry, top)
    fields.expect(0 < effort < 2**20, "its graph asks for an odd effort")

    fields.expect(_header(fields, b"IxSQ") == (count, size), "its vectors do not fit to its graph")
    bits = BITS_OF_KIND.get(int(fields.one("<i4")))
    fields.some(2, "<i4")
    sq_size, code_size = int(fields.one("<u8")), int(fields.one("<u8"))
    ranges = fields.vector("<f4")
    codes = fields.vector("u1")
    fields.expect(
        bits is not None
        and sq_size == size
        and code_size == size * bits // 8
        and len(ranges) == (2 * size if bits == 8 else 0)
        and np.isfinite(ranges).all()
        and len(codes) == count * code_size,
        "its vectors are kept in an unknown way",
    )
    fields.end()


def _check_links(
    count: int,
    shares: NDArray[Any],
    widths: NDArray[np.int64],
    levels: NDArray[Any],
    starts: NDArray[Any],
    links: NDArray[Any],
    entry: int,
    top: int,
) -> None:
    """Every link leads to a vector that has links on that level, or a `ValueError`.

    A vector i is on the levels 0 … levels[i] - 1; its links on level l are those from
    ``starts[i] + widths[l]`` to ``starts[i] + widths[l + 1]``, -1 for none.
    """
    fits = (
        0 < count == len(levels) == len(starts) - 1
        and 1 < len(widths) <= 64
        and len(shares) < len(widths)
        and widths[0] == 0
        and (np.diff(widths) > 0).all()
        and 0 <= top < len(widths) - 1
        and levels.min() >= 1
        and levels.max() == top + 1
        and 0 <= entry < count
        and levels[entry] == top + 1
        and starts[0] == 0
        and starts[-1] == len(links)
        and (np.diff(starts) == widths[levels].astype(np.uint64)).all()
        and links.min() >= -1
        and links.max() < count
    )
    for level in range(1, top + 1 if fits else 0):
        above = starts[:-1][levels > level].astype(np.int64)
        found = links[above[:, None] + np.arange(widths[level], widths[level + 1])]
        fits = fits and (levels[found[found >= 0]] > level).all()
    if not fits:
        raise ValueError("the links of its graph do not fit together")
