"""Validation of FAISS files before FAISS, which trusts their contents, reads them.

Only the two index types of `siamese.indexes.faiss.layout` are accepted, and only if a search cannot
read outside the arrays in the file. Every error is a `ValueError`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

METRIC_L2 = 1
QUANTIZER_BITS = {0: 8, 4: 16}
"""Bits per number for the scalar quantizer types QT_8bit (0) and QT_fp16 (4)."""


def check_file(path: Path) -> None:
    """Raise a `ValueError` if FAISS cannot safely read and search a file."""
    if not path.stat().st_size:
        raise ValueError("the file of its vectors is empty")
    reader = _Reader(path)
    if reader.peek_type() == b"IxF2":
        _check_flat(reader)
    else:
        _check_graph(reader)


class _Reader:
    """Sequential reader of the fields of a file."""

    def __init__(self, path: Path) -> None:
        self._data = np.memmap(path, np.uint8, "r").view(np.ndarray)
        self._position = 0

    def peek_type(self) -> bytes:
        """Return the next four bytes, the type of an index, without consuming them."""
        return bytes(self._data[self._position : self._position + 4])

    def number(self, dtype: str) -> Any:
        return self.numbers(1, dtype)[0]

    def numbers(self, count: int, dtype: DTypeLike) -> NDArray[Any]:
        end = self._position + count * np.dtype(dtype).itemsize
        if end > len(self._data):
            raise ValueError("its vectors are cut off")
        numbers = self._data[self._position : end].view(dtype)
        self._position = end
        return numbers

    def sized_array(self, dtype: str) -> NDArray[Any]:
        """Read an array that is preceded by its length."""
        return self.numbers(int(self.number("<u8")), dtype)

    def header(self, type_name: bytes) -> tuple[int, int]:
        """Read the header of an index, and return the numbers of vectors and dimensions."""
        _require(self.peek_type() == type_name, "its vectors are of an unknown type")
        self.numbers(4, "u1")
        size, count = int(self.number("<i4")), int(self.number("<i8"))
        self.numbers(2, "<i8")
        is_trained, metric = self.number("u1"), self.number("<i4")
        _require(
            0 < size < 2**20 and 0 <= count < 2**31 and is_trained == 1 and metric == METRIC_L2,
            "its vectors are stored in an unknown way",
        )
        return count, size

    def require_end(self) -> None:
        _require(self._position == len(self._data), "its vectors are followed by other data")


def _require(condition: Any, problem: str) -> None:
    if not condition:
        raise ValueError(problem)


def _check_flat(reader: _Reader) -> None:
    count, size = reader.header(b"IxF2")
    numbers = reader.sized_array("<f4")
    _require(len(numbers) == count * size, "the number of its vectors is wrong")
    vectors = numbers.reshape(count, size)
    lengths = np.einsum("ij,ij->i", vectors, vectors)
    # Lengths are not checked for a graph, whose vectors may take up gigabytes.
    _require((np.abs(lengths - 1) < 1e-3).all(), "its vectors are not of length 1")
    reader.require_end()


def _check_graph(reader: _Reader) -> None:
    count, size = reader.header(b"IHNs")
    probabilities = reader.sized_array("<f8")
    offsets = reader.sized_array("<i4").astype(np.int64)
    levels = reader.sized_array("<i4")
    starts = reader.sized_array("<u8")
    links = reader.sized_array("<i4")
    entry, top_level, _, ef_search, _ = (int(number) for number in reader.numbers(5, "<i4"))
    _require(len(probabilities) < len(offsets), "the levels of its graph are inconsistent")
    _check_links(count, offsets, levels, starts, links, entry, top_level)
    _require(0 < ef_search < 2**20, "the efSearch of its graph is out of range")

    _require(reader.header(b"IxSQ") == (count, size), "its vectors do not match its graph")
    bits = QUANTIZER_BITS.get(int(reader.number("<i4")))
    reader.numbers(2, "<i4")
    quantizer_size, code_size = int(reader.number("<u8")), int(reader.number("<u8"))
    ranges = reader.sized_array("<f4")
    codes = reader.sized_array("u1")
    _require(
        bits is not None
        and quantizer_size == size
        and code_size == size * bits // 8
        and len(ranges) == (2 * size if bits == 8 else 0)
        and np.isfinite(ranges).all()
        and len(codes) == count * code_size,
        "its vectors are stored in an unknown way",
    )
    reader.require_end()


def _check_links(
    count: int,
    offsets: NDArray[np.int64],
    levels: NDArray[Any],
    starts: NDArray[Any],
    links: NDArray[Any],
    entry: int,
    top_level: int,
) -> None:
    """Check that every link on a level leads to a vector that is also on that level.

    Vector i is on levels 0 to ``levels[i] - 1``. Its links on level l are
    ``links[starts[i] + offsets[l] : starts[i] + offsets[l + 1]]``, where -1 means no link.
    """
    is_valid = (
        0 < count == len(levels) == len(starts) - 1
        and 1 < len(offsets) <= 64
        and offsets[0] == 0
        and (np.diff(offsets) > 0).all()
        and 0 <= top_level < len(offsets) - 1
        and levels.min() >= 1
        and levels.max() == top_level + 1
        and 0 <= entry < count
        and levels[entry] == top_level + 1
        and starts[0] == 0
        and starts[-1] == len(links)
        and (np.diff(starts) == offsets[levels].astype(np.uint64)).all()
        and links.min() >= -1
        and links.max() < count
    )
    for level in range(1, top_level + 1 if is_valid else 0):
        starts_above = starts[:-1][levels > level].astype(np.int64)
        targets = links[starts_above[:, None] + np.arange(offsets[level], offsets[level + 1])]
        is_valid = is_valid and (levels[targets[targets >= 0]] > level).all()
    _require(is_valid, "the links of its graph are inconsistent")
