"""Where the pictures of a query's item stand among all the others: ranks, with hardly any sorting.

The similarities of a block of queries to a block of the gallery are one matrix product. Only those
at least as high as the query's least similar relevant picture can stand before one of its relevant
pictures: these few are sorted and counted, all others are looked at once and forgotten. Where a
gallery is searched for its own pictures, a block serves both ways, because it is symmetric.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from siamese.utils.progress import progress
from siamese.utils.threads import cores, in_threads
from siamese.vectors.unit_vectors import UnitVectors, dots, recompute_exactly

Floats: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[Any]

BLOCK_ROWS = 2048
"""Queries, and pictures of the gallery, in one matrix product: 16 MB of similarities a thread."""
MOST_COLUMNS = 2**14
"""Pictures of the gallery in one matrix product where items are large, and queries then few."""
RELEVANT_AT_ONCE = 2**22
"""Relevant pictures of the queries of a block; fewer queries make a block where they are many."""
RELEVANT_KEPT = 2**24
"""Relevant pictures of all queries for which blocks serve both ways: 16 bytes each are kept."""
COSINE_BITS, PLACE_BITS = 32, 16


class RelevantRanks(NamedTuple):
    """How the gallery ranks for some queries.

    Attributes
    ----------
    rows : int (n,), which queries
    relevant : int (n,), R: how many relevant pictures each has
    ranks : int (ΣR,), of the relevant pictures, from 1; those of a query ascend and stand together
    nearest_relevant : float32 (n,), the cosine to the nearest relevant picture, -inf without one
    nearest_other : float32 (n,), the cosine to the nearest of another item, -inf without one
    """

    rows: Ints
    relevant: Ints
    ranks: Ints
    nearest_relevant: Floats
    nearest_other: Floats


def compute_relevant_ranks(
    queries: UnitVectors, query_items: Ints, gallery: UnitVectors, gallery_items: Ints, own: Ints
) -> Iterator[RelevantRanks]:
    """Rank the relevant pictures of every query, one block of queries after another.

    rank = 1 + |{more similar pictures}| + |{equally similar pictures in rows before it}|

    Parameters
    ----------
    queries, gallery : (n, d) and (m, d); one object for leave-one-out
    query_items, gallery_items : int (n,) and (m,), each item's number, from 0; a query's is -1
        where no picture of the gallery shows its item
    own : int (n,), the gallery row that each query leaves out, or -1
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    ranking = _Ranking(queries, query_items, gallery, gallery_items, own)
    # Products of one thread each, several at once: what numpy does between two products, which is
    # always in one thread, is then done by all of them too.
    with threadpool_limits(1, "blas"):
        both_ways = queries is gallery and ranking.relevant.sum() <= RELEVANT_KEPT
        yield from ranking.both_ways() if both_ways else ranking.one_way()


@dataclass
class _Block:
    """Some queries, and what is known of them so far.

    Attributes
    ----------
    start, stop : of the queries, in the order of their items
    edges : int (items + 1,), where the queries of an item begin, from 0, and the last ones end
    least : float32 (n,), the cosine to the least similar relevant picture, inf without one
    keys : int64 (ΣR,), as `_keys`, of the relevant pictures; ascending
    rows : int32 (ΣR,), the gallery rows of the same
    before : int32 (ΣR,), how many pictures of other items stand before each
    nearest_relevant, nearest_other : as in `RelevantRanks`
    """

    start: int
    stop: int
    edges: Ints
    least: Floats
    keys: Ints
    rows: Ints
    before: Ints
    nearest_relevant: Floats
    nearest_other: Floats

    def add(self, before: Ints, nearest_other: Floats) -> None:
        """Take in what was found in a part of the gallery."""
        self.before += before
        np.maximum(self.nearest_other, nearest_other, out=self.nearest_other)


class _Ranking:
    """Queries and gallery, both in the order of their items: those of an item are a slice."""

    def __init__(
        self,
        queries: UnitVectors,
        query_items: Ints,
        gallery: UnitVectors,
        gallery_items: Ints,
        own: Ints,
    ) -> None:
        self.queries, self.gallery = queries, gallery
        self.query_rows = np.argsort(query_items, kind="stable").astype(np.int32)
        self.gallery_rows = np.argsort(gallery_items, kind="stable").astype(np.int32)
        edges = np.concatenate([[0], np.cumsum(np.bincount(gallery_items)), [0]])
        items = query_items[self.query_rows]
        # The slice of a query's item; where the gallery does not have it, 0:0.
        self.begin, self.end = edges[items], edges[items + 1]
        place = np.full(len(gallery) + 1, -1, np.int32)
        place[self.gallery_rows] = np.arange(len(gallery))
        self.own = place[own[self.query_rows]]  # -1 takes the last, which is -1
        self.relevant = self.end - self.begin
        self.relevant -= (self.begin <= self.own) & (self.own < self.end)
        self.twin = _twins(gallery, gallery_items)[self.gallery_rows]

    def both_ways(self) -> Generator[RelevantRanks]:
        """Compare each block of pictures with itself and with every later one."""
        size = self._size(BLOCK_ROWS)
        blocks = [self._block(start, size) for start in range(0, len(self.queries), size)]

        def compare(pair: tuple[_Block, _Block]) -> list[tuple[Ints, Floats]]:
            one, other = pair
            cosines = self._cosines(one, other.start, other.stop)
            found = [self._found(one, cosines, other.start, other.stop)]
            if one is not other:
                found.append(self._found(other, cosines.T, one.start, one.stop))
            return found

        pairs = list(combinations_with_replacement(blocks, 2))
        with (
            progress("comparing", len(pairs), " blocks") as bar,
            closing(in_threads(compare, pairs, ahead=2 * cores())) as results,
        ):
            for pair, found in zip(pairs, results, strict=True):
                for block, of_block in zip(pair, found, strict=False):
                    block.add(*of_block)
                bar.update()
        for block in blocks:
            yield self._ranked(block)

    def one_way(self) -> Generator[RelevantRanks]:
        """Compare each block of queries with the whole gallery, a part at a time."""
        at_once = cores()
        # Large items are looked up in every part: that is little beside a wide one.
        width = min(max(BLOCK_ROWS, 8 * int(self.relevant.mean())), MOST_COLUMNS)
        size = min(self._size(max(1, BLOCK_ROWS**2 // width)), -(-len(self.queries) // at_once))

        def rank(start: int) -> RelevantRanks:
            block = self._block(start, size)
            for begin in range(0, len(self.gallery), width):
                end = min(begin + width, len(self.gallery))
                block.add(*self._found(block, self._cosines(block, begin, end), begin, end))
            return self._ranked(block)

        starts = range(0, len(self.queries), size)
        with (
            progress("comparing", len(self.queries)) as bar,
            closing(in_threads(rank, starts, ahead=2 * at_once)) as results,
        ):
            for block in results:
                yield block
                bar.update(len(block.rows))

    def _size(self, most: int) -> int:
        """How many queries make a block."""
        return max(1, min(most, RELEVANT_AT_ONCE // max(1, int(self.relevant.max()))))

    def _block(self, start: int, size: int) -> _Block:
        """Look up the relevant pictures of some queries."""
        stop = min(start + size, len(self.queries))
        begin, end, relevant = (of[start:stop] for of in (self.begin, self.end, self.relevant))
        edges = np.flatnonzero(np.diff(end, prepend=-1, append=-1))
        least = np.full(stop - start, np.inf, np.float32)
        nearest = np.full(stop - start, -np.inf, np.float32)
        places, cosines = [np.empty(0, int)], [np.empty(0, np.float32)]
        for first, last in pairwise(edges):
            count = relevant[first:last, None]
            if not count.any():
                continue
            there = slice(begin[first], end[first])
            similar = dots(
                self.queries.take(self.query_rows[start + first : start + last]),
                self.gallery.take(self.gallery_rows[there]),
            )
            (with_own,) = np.nonzero(count[:, 0] < similar.shape[1])
            similar[with_own, self.own[start + first + with_own] - there.start] = -np.inf
            # The most similar first, equal ones as their rows stand, the query's own last.
            order = np.argsort(-similar, axis=1, kind="stable")
            similar = np.take_along_axis(similar, order, axis=1)
            looked_for = np.arange(similar.shape[1]) < count
            places.append((there.start + order)[looked_for])
            cosines.append(similar[looked_for])
            some = np.flatnonzero(count[:, 0])
            nearest[first + some] = similar[some, 0]
            least[first + some] = similar[some, count[some, 0] - 1]
        return _Block(
            start,
            stop,
            edges,
            least,
            _keys(np.repeat(np.arange(stop - start), relevant), np.concatenate(cosines)),
            self.gallery_rows[np.concatenate(places)],
            np.zeros(relevant.sum(), np.int32),
            nearest,
            np.full(stop - start, -np.inf, np.float32),
        )

    def _cosines(self, block: _Block, begin: int, end: int) -> Floats:
        """Cosines of a block to a part of the gallery; -inf for its own items and own pictures."""
        ours = self.queries.take(self.query_rows[block.start : block.stop])
        theirs = self.gallery.take(self.gallery_rows[begin:end])
        cosines = ours @ theirs.T
        # An equal vector of another item must tie, but a matrix product may round equal columns
        # differently, by where they stand.
        recompute_exactly(cosines, ours, self.gallery, self.twin[begin:end])
        if self.queries is self.gallery:
            recompute_exactly(cosines.T, theirs, self.gallery, self.twin[block.start : block.stop])
        first = block.start + block.edges[:-1]
        there = (self.begin[first] < end) & (self.end[first] > begin)
        for item in np.flatnonzero(there):
            rows = slice(block.edges[item], block.edges[item + 1])
            columns = self.begin[first[item]], self.end[first[item]]
            cosines[rows, max(columns[0] - begin, 0) : columns[1] - begin] = -np.inf
        own = self.own[block.start : block.stop]
        (with_own,) = np.nonzero((begin <= own) & (own < end))
        cosines[with_own, own[with_own] - begin] = -np.inf
        return cosines

    def _found(self, block: _Block, cosines: Floats, begin: int, end: int) -> tuple[Ints, Floats]:
        """How many of a part of the gallery stand before each relevant picture; the nearest.

        Parameters
        ----------
        cosines : float32 (n, end - begin), row by row or column by column
        """
        # What is found is numbered as it lies in memory.
        (found,) = np.nonzero((cosines >= block.least[:, None]).ravel(order="K"))
        if cosines.flags.c_contiguous:
            query, column = np.divmod(found, cosines.shape[1])
        else:
            column, query = np.divmod(found, cosines.shape[0])
        rows = self.gallery_rows[begin:end]
        in_order = np.argsort(rows)
        place = np.empty(len(rows), np.int64)
        place[in_order] = np.arange(len(rows))
        keys = _keys(query, cosines.ravel(order="K")[found])
        keys += place[column]
        keys.sort()
        # Between two equal cosines the place decides: that of the first later row.
        relevant = block.keys + np.searchsorted(rows, block.rows, sorter=in_order)
        first = np.searchsorted(keys, np.arange(len(cosines)) << (COSINE_BITS + PLACE_BITS))
        before = np.searchsorted(keys, relevant)
        before -= np.repeat(first, self.relevant[block.start : block.stop])
        return before.astype(np.int32), cosines.max(axis=1)

    def _ranked(self, block: _Block) -> RelevantRanks:
        rows, relevant = (of[block.start : block.stop] for of in (self.query_rows, self.relevant))
        first = np.cumsum(relevant) - relevant
        among_relevant = np.arange(1, len(block.before) + 1) - np.repeat(first, relevant)
        return RelevantRanks(
            rows,
            relevant,
            among_relevant + block.before,
            block.nearest_relevant,
            block.nearest_other,
        )


def _keys(query: Ints, cosines: Floats) -> Ints:
    """Integers that sort by query, then by falling cosine, with room for a place behind.

    The bits of floats sort as integers do, but for the sign; 0 - 0.0 and 0 - -0.0 are the same.
    """
    bits = (np.float32(0) - cosines).view(np.int32)
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64) + 2 ** (COSINE_BITS - 1)
    keys += query << COSINE_BITS
    keys <<= PLACE_BITS
    return keys


def _twins(gallery: UnitVectors, items: Ints) -> Ints:
    """int32 (n,): for each row the first equal one, where they are of several items; else -1."""
    first = gallery.first_equal()
    across = np.unique(first[items != items[first]])
    return np.where(np.isin(first, across), first, -1).astype(np.int32)
