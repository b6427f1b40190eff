"""Search a collection, even for more pictures than Milvus returns or finds at once."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from siamese.errors import InputError
from siamese.indexes.label_filter import LabelFilter
from siamese.indexes.milvus.collection import MAX_RESULTS, Collection, chunks
from siamese.indexes.milvus.rows import MESSAGE_BYTES, MESSAGE_ROWS, filter_expression
from siamese.vectors.nearest import TopK, query_blocks

MAX_COMPARED = 1_000_000  # pictures whose vectors are fetched to be compared one by one
WIDTH, MAX_WIDTH = 128, 32_768  # candidates in a search of an approximate index, at first, at most
_WIDTH_PARAMETERS = {"HNSW": "ef", "DISKANN": "search_list"}  # by type of the index
_LITE_BYTES = 2**28  # of the differences between queries and vectors, which Lite computes at once
_Neighbours: TypeAlias = list[tuple[NDArray[np.float64], list[int]]]


class CollectionSearch:
    """Searches a collection for nearest neighbours."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        index_type = collection.call("describe_index", index_name="vector")["index_type"]
        # Variants, such as HNSW_SQ, have the same parameter.
        self._width_parameter = _WIDTH_PARAMETERS.get(index_type.partition("_")[0])

    def query(
        self, X: NDArray[np.float32], k: int, labels: LabelFilter
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the nearest neighbours; see `Index.query`.

        If Milvus finds too few pictures, it searches again with more candidates. If these are
        still too few, or k is more than `MAX_RESULTS`, all vectors are fetched and compared.
        """
        collection = self._collection
        expression = filter_expression(labels)
        if not len(X):
            k = min(k, collection.count(expression))
            return np.empty((0, k)), np.empty((0, k), np.intp)
        found = self._search(X, min(k, MAX_RESULTS), expression, WIDTH)
        if _fewest(found) < k:
            count = collection.count(expression)
            k = min(k, count)
            if _fewest(found) < k <= MAX_RESULTS and self._width_parameter:
                found = self._search(X, k, expression, MAX_WIDTH)
            if _fewest(found) < k:
                return self._compare_all(X, k, expression, count)
        distances = np.array([near[:k] for near, _ in found], np.float64)
        keys = np.array([keys[:k] for _, keys in found], np.intp)
        return distances, keys

    def _search(self, X: NDArray[np.float32], k: int, expression: str, width: int) -> _Neighbours:
        """Return for each query the distances and keys of the pictures that Milvus finds."""
        collection = self._collection
        size = min(MESSAGE_ROWS, MESSAGE_BYTES // (16 * k), collection.max_vectors)
        if collection.connection.is_lite:
            difference_bytes = 4 * collection.model.embedding_size * max(1, collection.count(""))
            size = min(size, _LITE_BYTES // difference_bytes)
        parameters = {self._width_parameter: max(width, 2 * k)} if self._width_parameter else {}
        found = []
        for queries in chunks(X, max(1, size)):
            answers = collection.call(
                "search",
                data=queries,
                anns_field="vector",
                filter=expression,
                limit=k,
                output_fields=["id"],  # by default Milvus Lite returns all, even the vectors
                search_params={"metric_type": "L2", "params": parameters},
            )
            for answer in answers:
                squared = np.array([hit["distance"] for hit in answer], np.float64)
                if not np.isfinite(squared).all():
                    raise InputError(
                        f"{collection.label}: damaged (a vector is not finite); index again"
                    )
                found.append((np.sqrt(np.maximum(squared, 0)), [hit["id"] for hit in answer]))
        return found

    def _compare_all(
        self, X: NDArray[np.float32], k: int, expression: str, count: int
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the nearest of all pictures that match a filter, without an index of Milvus."""
        if count > MAX_COMPARED:
            raise InputError(
                f"{self._collection.label}: {k:,} results are too many: Milvus finds at most "
                f"{MAX_RESULTS:,}, and {count:,} pictures are too many to compare one by one; "
                "request fewer"
            )
        blocks = query_blocks(len(X), k)
        tops = [TopK(len(X[block]), k, np.float64) for block in blocks]
        for batch in self._collection.walk(["vector"], expression):
            keys = np.array([row["id"] for row in batch], np.intp)
            vectors = np.array([row["vector"] for row in batch], np.float64)
            for block, top in zip(blocks, tops, strict=True):
                top.add(X[block] @ vectors.T, keys)
        distances = np.concatenate([top.distances() for top in tops])
        keys = np.concatenate([top.rows for top in tops])
        is_found = keys[0] >= 0  # pictures may have been removed since they were counted
        return distances[:, is_found], keys[:, is_found]


def _fewest(found: _Neighbours) -> int:
    return min(len(keys) for _, keys in found)
