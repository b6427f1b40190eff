"""Ranks of each query's relevant pictures in the gallery, computed without sorting the gallery.

A matrix product computes the cosines between a block of queries and a part of the gallery. Only
pictures at least as similar to a query as its least similar relevant picture can rank before a
relevant picture, and only these few are sorted and counted. If the queries are the gallery itself,
the cosines between two blocks are computed once, and counted for the queries of both blocks.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from siamese.utils.progress import progress_bar
from siamese.utils.threads import count_cores, map_in_threads
from siamese.vectors.unit_vectors import UnitVectors, recompute_exactly, reproducible_cosines

Floats: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[Any]

BLOCK_ROWS = 2048
"""Usual number of rows and columns of a matrix product, which takes 16 MB per thread."""
MAX_COLUMNS = 2**14
"""Maximum number of columns of a product; if items are large, it has more than `BLOCK_ROWS`."""
MAX_BLOCK_RELEVANT = 2**22
"""Maximum number of relevant pictures in a block, summed over its queries."""
MAX_SYMMETRIC_RELEVANT = 2**24
"""Maximum total of relevant pictures for which symmetry is used; each of them takes 16 bytes."""
COSINE_BITS, PLACE_BITS = 32, 16


class RelevantRanks(NamedTuple):
    """Ranks of the relevant pictures for a block of n queries."""

    rows: Ints  # (n,): rows of the queries
    relevant: Ints  # (n,): R, the number of relevant pictures
    ranks: Ints  # (sum of R,): from 1; those of the first query, ascending, then the second, …
    nearest_relevant: Floats  # (n,): cosine to the nearest relevant picture, or -inf
    nearest_other: Floats  # (n,): cosine to the nearest picture of another item, or -inf


def compute_relevant_ranks(
    queries: UnitVectors, query_items: Ints, gallery: UnitVectors, gallery_items: Ints, own: Ints
) -> Iterator[RelevantRanks]:
    """Yield the ranks of every query's relevant pictures, one block of queries at a time.

    rank = 1 + |{more similar pictures}| + |{equally similar pictures in earlier rows}|

    Gallery items are numbered from 0; the item of a query is -1 if the gallery does not have it.
    `own` holds the gallery row that each query's ranking excludes, or -1. For leave-one-out, pass
    the same object as `queries` and `gallery`. Blocks are in item order, not row order.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    ranking = _Ranking(queries, query_items, gallery, gallery_items, own)
    # Run one single-threaded product per core, so that NumPy's other work runs in parallel too.
    with threadpool_limits(1, "blas"):
        if queries is gallery and ranking.relevant.sum() <= MAX_SYMMETRIC_RELEVANT:
            yield from ranking.rank_symmetric()
        else:
            yield from ranking.rank_blocks()


@dataclass
class _Block:
    """Slice of the queries, which are sorted by item, and their counts so far."""

    queries: slice
    edges: Ints  # (n_items + 1,): first query of each item in the slice, and the slice's length
    least: Floats  # (n,): cosine to the least similar relevant picture, or inf
    keys: Ints  # (sum of R,): sort keys of the relevant pictures, ascending (see _make_keys)
    rows: Ints  # (sum of R,): gallery rows of the relevant pictures
    before: Ints  # (sum of R,): number of pictures of other items that rank before each
    nearest_relevant: Floats
    nearest_other: Floats

    def add(self, before: Ints, nearest_other: Floats) -> None:
        """Add the counts for a part of the gallery."""
        self.before += before
        np.maximum(self.nearest_other, nearest_other, out=self.nearest_other)


class _Ranking:
    """Queries and gallery, sorted by item so that each item's pictures are contiguous."""

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
        # Gallery slice of each query's item, or 0:0 if the gallery does not have the item.
        self.begin, self.end = edges[items], edges[items + 1]
        place = np.full(len(gallery) + 1, -1, np.int32)
        place[self.gallery_rows] = np.arange(len(gallery))
        self.own = place[own[self.query_rows]]  # -1 indexes the last entry, which is -1
        self.relevant = self.end - self.begin
        self.relevant -= (self.begin <= self.own) & (self.own < self.end)
        # For each row, the first row with an equal vector, or -1 if all such rows show one item.
        first = gallery.first_equal()
        across_items = np.unique(first[gallery_items != gallery_items[first]])
        twin = np.where(np.isin(first, across_items), first, -1).astype(np.int32)
        self.twin = twin[self.gallery_rows]

    def rank_symmetric(self) -> Generator[RelevantRanks]:
        """Yield ranks after comparing each block with itself and with every later block."""
        size = self._limit_block(BLOCK_ROWS)
        blocks = [self._make_block(start, size) for start in range(0, len(self.queries), size)]

        def compare(pair: tuple[_Block, _Block]) -> list[tuple[Ints, Floats]]:
            left, right = pair
            cosines = self._compute_cosines(left, right.queries)
            counts = [self._count_before(left, cosines, right.queries)]
            if left is not right:
                counts.append(self._count_before(right, cosines.T, left.queries))
            return counts

        pairs = list(combinations_with_replacement(blocks, 2))
        with (
            progress_bar("comparing", len(pairs), " blocks") as bar,
            closing(map_in_threads(compare, pairs, ahead=2 * count_cores())) as results,
        ):
            for pair, counts in zip(pairs, results, strict=True):
                for block, block_counts in zip(pair, counts, strict=False):
                    block.add(*block_counts)
                bar.update()
        for block in blocks:
            yield self._finish_block(block)

    def rank_blocks(self) -> Generator[RelevantRanks]:
        """Yield ranks while comparing each block of queries with the gallery, part by part."""
        threads = count_cores()
        # Each part costs time for every relevant picture; if there are many, use wider parts.
        width = min(max(BLOCK_ROWS, 8 * int(self.relevant.mean())), MAX_COLUMNS)
        size = self._limit_block(max(1, BLOCK_ROWS**2 // width))
        size = min(size, -(-len(self.queries) // threads))

        def rank(start: int) -> RelevantRanks:
            block = self._make_block(start, size)
            for begin in range(0, len(self.gallery), width):
                part = slice(begin, min(begin + width, len(self.gallery)))
                block.add(*self._count_before(block, self._compute_cosines(block, part), part))
            return self._finish_block(block)

        starts = range(0, len(self.queries), size)
        with (
            progress_bar("comparing", len(self.queries)) as bar,
            closing(map_in_threads(rank, starts, ahead=2 * threads)) as results,
        ):
            for ranks in results:
                yield ranks
                bar.update(len(ranks.rows))

    def _limit_block(self, most: int) -> int:
        """Return the number of queries per block: `most`, or fewer if items are large."""
        return max(1, min(most, MAX_BLOCK_RELEVANT // max(1, int(self.relevant.max()))))

    def _make_block(self, start: int, size: int) -> _Block:
        """Create a block of queries, and compute the cosines to their relevant pictures."""
        queries = slice(start, min(start + size, len(self.queries)))
        begin, end, relevant = self.begin[queries], self.end[queries], self.relevant[queries]
        edges = np.flatnonzero(np.diff(end, prepend=-1, append=-1))
        least = np.full(len(relevant), np.inf, np.float32)
        nearest = np.full(len(relevant), -np.inf, np.float32)
        places, cosines = [np.empty(0, int)], [np.empty(0, np.float32)]
        for first, last in pairwise(edges):
            count = relevant[first:last, None]
            if not count.any():
                continue
            item = slice(begin[first], end[first])
            similar = reproducible_cosines(
                self.queries.take(self.query_rows[start + first : start + last]),
                self.gallery.take(self.gallery_rows[item]),
            )
            (with_own,) = np.nonzero(count[:, 0] < similar.shape[1])
            similar[with_own, self.own[start + first + with_own] - item.start] = -np.inf
            # Sort by descending similarity, then by row; the query's own picture comes last.
            order = np.argsort(-similar, axis=1, kind="stable")
            similar = np.take_along_axis(similar, order, axis=1)
            is_relevant = np.arange(similar.shape[1]) < count
            places.append((item.start + order)[is_relevant])
            cosines.append(similar[is_relevant])
            found = np.flatnonzero(count[:, 0])
            nearest[first + found] = similar[found, 0]
            least[first + found] = similar[found, count[found, 0] - 1]
        keys = _make_keys(np.repeat(np.arange(len(relevant)), relevant), np.concatenate(cosines))
        rows = self.gallery_rows[np.concatenate(places)]
        before = np.zeros(len(rows), np.int32)
        nearest_other = np.full(len(relevant), -np.inf, np.float32)
        return _Block(queries, edges, least, keys, rows, before, nearest, nearest_other)

    def _compute_cosines(self, block: _Block, part: slice) -> Floats:
        """Compute a block's cosines to a part of the gallery, with -inf for the query's item."""
        query_vectors = self.queries.take(self.query_rows[block.queries])
        gallery_vectors = self.gallery.take(self.gallery_rows[part])
        cosines = query_vectors @ gallery_vectors.T
        # Equal vectors of different items must tie, but a matrix product may round equal columns
        # differently, depending on their position.
        recompute_exactly(cosines, query_vectors, self.gallery, self.twin[part])
        if self.queries is self.gallery:
            twin = self.twin[block.queries]
            recompute_exactly(cosines.T, gallery_vectors, self.gallery, twin)
        first = block.queries.start + block.edges[:-1]
        begin, end = self.begin[first], self.end[first]
        for item in np.flatnonzero((begin < part.stop) & (end > part.start)):
            rows = slice(block.edges[item], block.edges[item + 1])
            columns = slice(max(begin[item] - part.start, 0), end[item] - part.start)
            cosines[rows, columns] = -np.inf
        own = self.own[block.queries]
        (with_own,) = np.nonzero((part.start <= own) & (own < part.stop))
        cosines[with_own, own[with_own] - part.start] = -np.inf
        return cosines

    def _count_before(self, block: _Block, cosines: Floats, part: slice) -> tuple[Ints, Floats]:
        """Count the pictures in a part of the gallery that rank before each relevant picture.

        Also return each query's highest cosine. `cosines` must be contiguous in C or Fortran order.
        """
        # Search in memory order to avoid copying a transposed matrix.
        (found,) = np.nonzero((cosines >= block.least[:, None]).ravel(order="K"))
        if cosines.flags.c_contiguous:
            query, column = np.divmod(found, cosines.shape[1])
        else:
            column, query = np.divmod(found, cosines.shape[0])
        rows = self.gallery_rows[part]
        in_order = np.argsort(rows)
        place = np.empty(len(rows), np.int64)
        place[in_order] = np.arange(len(rows))
        keys = _make_keys(query, cosines.ravel(order="K")[found])
        keys += place[column]
        keys.sort()
        # Equal cosines rank by row, so add the place that the relevant row would have in the part.
        relevant = block.keys + np.searchsorted(rows, block.rows, sorter=in_order)
        first = np.searchsorted(keys, np.arange(len(cosines)) << (COSINE_BITS + PLACE_BITS))
        before = np.searchsorted(keys, relevant)
        before -= np.repeat(first, self.relevant[block.queries])
        return before.astype(np.int32), cosines.max(axis=1)

    def _finish_block(self, block: _Block) -> RelevantRanks:
        rows, relevant = self.query_rows[block.queries], self.relevant[block.queries]
        first = np.cumsum(relevant) - relevant
        among_relevant = np.arange(1, len(block.before) + 1) - np.repeat(first, relevant)
        ranks = among_relevant + block.before
        return RelevantRanks(rows, relevant, ranks, block.nearest_relevant, block.nearest_other)


def _make_keys(query: Ints, cosines: Floats) -> Ints:
    """Make keys that sort by query, then by descending cosine; the `PLACE_BITS` low bits are 0."""
    # Float bits sort like integers once those of negative floats are flipped; 0 - x is never -0.0.
    bits = (np.float32(0) - cosines).view(np.int32)
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64) + 2 ** (COSINE_BITS - 1)
    keys += query << COSINE_BITS
    keys <<= PLACE_BITS
    return keys
