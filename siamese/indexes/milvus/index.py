"""Index for growing galleries: a Milvus collection, in a folder or on a server or cluster."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamese.errors import InputError
from siamese.indexes.index import IndexedPicture, Metadata
from siamese.indexes.label_filter import EVERYTHING, LabelFilter
from siamese.indexes.milvus.collection import (
    MAX_RESULTS,
    Collection,
    chunks,
    replace_collection,
    require_place,
    upsert,
)
from siamese.indexes.milvus.connection import LOAD_SECONDS, Connection
from siamese.indexes.milvus.rows import (
    MESSAGE_BYTES,
    MESSAGE_ROWS,
    check_same_picture,
    create_rows,
    filter_expression,
    picture_key,
    quote,
    quote_list,
    to_metadata,
)
from siamese.indexes.place import COLLECTION, Place
from siamese.indexes.validate import check_queries
from siamese.models.facts import ModelFacts
from siamese.vectors.nearest import TopK, query_blocks

MAX_COUNTED = 1_000_000  # maximum number of pictures whose labels are counted
MAX_COMPARED = 1_000_000  # maximum number of vectors to fetch and compare without Milvus
WIDTH, MAX_WIDTH = 128, 32_768  # candidates per query of a graph search: default and maximum
_WIDTH_PARAMETERS = {"HNSW": "ef", "DISKANN": "search_list"}  # parameter name, by index type
_LITE_BYTES = 2**28  # largest (queries, pictures, dimensions) array that Milvus Lite may compute
_Neighbours: TypeAlias = list[tuple[NDArray[np.float64], list[int]]]


class MilvusIndex:
    """Index in a Milvus collection; see `Index`.

    Create one with `build` or `open`. A picture is stored as a `Row`; its row number, as returned
    by `query`, is its `picture_key`. The collection has an alias, which a rebuild moves to a new
    collection in one step. Changes are applied at once; `save` waits until they are on disk.
    """

    augmented = False

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self.name = collection.label
        self.model: ModelFacts | None = collection.model
        index_type = collection.call("describe_index", index_name="vector")["index_type"]
        # Variants such as HNSW_SQ have the parameter of HNSW.
        self._width_parameter = _WIDTH_PARAMETERS.get(index_type.partition("_")[0])

    @classmethod
    def build(
        cls,
        vectors: ArrayLike,
        metadata: Sequence[Mapping[str, Any]],
        model: ModelFacts,
        contents: Sequence[bytes] | None = None,
        *,
        uri: Place,
        collection: str = COLLECTION,
    ) -> MilvusIndex:
        """Build an index; once complete, it replaces any index in the collection of this name.

        See `Backend.build` for the arguments, and `Connection` for `uri`. If a picture occurs
        twice, the last occurrence is used.
        """
        data = np.ascontiguousarray(vectors, np.float32)
        if not data.size:
            raise InputError("no pictures to index")
        try:
            rows = create_rows(data, metadata, contents, model)
        except ValueError as error:
            raise InputError(f"nothing indexed: {error}") from None
        require_place(uri, collection)
        connection = Connection(uri)
        replace_collection(connection, collection, rows.values(), model)
        return cls(Collection(connection, collection))

    @classmethod
    def open(cls, uri: Place, collection: str = COLLECTION) -> MilvusIndex:
        """Open the index in a collection that `build` created; see `Connection` for `uri`."""
        index = cls(Collection(Connection(uri, must_exist=True), collection))
        # Milvus Lite opens some damaged collections as if they were empty.
        if not len(index):
            raise InputError(f"{index.name}: the collection is empty; index again")
        return index

    def __len__(self) -> int:
        return self._collection.count("")

    @property
    def embedding_size(self) -> int:
        return self._collection.model.embedding_size

    def query(
        self, X: ArrayLike, k: int = 10, labels: LabelFilter = EVERYTHING
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the nearest neighbours; see `Index.query`.

        If a graph search finds too few pictures, it is repeated with more candidates. If there are
        still too few, or k > `MAX_RESULTS`, all matching vectors are fetched and compared.
        """
        queries = check_queries(np.asarray(X, np.float32), k, self)
        expression = filter_expression(labels)
        if not len(queries):
            k = min(k, self._collection.count(expression))
            return np.empty((0, k)), np.empty((0, k), np.intp)
        found = self._search(queries, min(k, MAX_RESULTS), expression, WIDTH)
        if _fewest(found) < k:
            count = self._collection.count(expression)
            k = min(k, count)
            if _fewest(found) < k <= MAX_RESULTS and self._width_parameter:
                found = self._search(queries, k, expression, MAX_WIDTH)
            if _fewest(found) < k:
                return self._compare_all(queries, k, expression, count)
        distances = np.array([near[:k] for near, _ in found], np.float64)
        keys = np.array([keys[:k] for _, keys in found], np.intp)
        return distances, keys

    def _search(self, X: NDArray[np.float32], k: int, expression: str, width: int) -> _Neighbours:
        """Search with Milvus, and return the distances and keys of the pictures for each query."""
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
                output_fields=["id"],  # by default, Milvus Lite returns all fields, even the vector
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
        """Find the nearest matching pictures by fetching and comparing all matching vectors."""
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
        is_found = keys[0] >= 0  # pictures may have been removed since the count
        return distances[:, is_found], keys[:, is_found]

    def metadata_of(self, rows: ArrayLike) -> list[Metadata]:
        found = self._collection.get(rows, ["item_id", "filename", "labels"])
        for row in found:
            if picture_key(row["item_id"], row["filename"]) != row["id"]:
                raise InputError(
                    f"{self.name}: damaged (picture {row['id']} has the item and filename of "
                    "another); index again"
                )
        return [to_metadata(row) for row in found]

    def vectors(self, rows: ArrayLike) -> NDArray[np.float32]:
        found = [row["vector"] for row in self._collection.get(rows, ["vector"])]
        return np.array(found, np.float32).reshape(-1, self.embedding_size)

    def find(self, *, item_id: str | None = None, filename: str | None = None) -> NDArray[np.intp]:
        conditions = {"item_id": item_id, "filename": filename}
        expression = " and ".join(
            f"{field} == {quote(value)}" for field, value in conditions.items() if value is not None
        )
        found = self._collection.query(expression, ["id"])
        return np.sort(np.array([row["id"] for row in found], np.intp))

    def item_sizes(self, item_ids: Sequence[str]) -> NDArray[np.intp]:
        sizes: Counter[str] = Counter()
        for chunk in chunks(sorted(set(item_ids)), 100):
            rows = self._collection.query(f"item_id in {quote_list(chunk)}", ["item_id"])
            sizes.update(row["item_id"] for row in rows)
        return np.array([sizes[item_id] for item_id in item_ids], np.intp)

    def label_counts(self) -> dict[str, int]:
        """Count the labels of at most `MAX_COUNTED` pictures; see `Index.label_counts`."""
        counts: Counter[str] = Counter()
        rows = chain.from_iterable(self._collection.walk(["labels"]))
        for row in islice(rows, MAX_COUNTED):
            counts.update(set(row["labels"]))
        return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))

    def entries(self) -> Iterator[IndexedPicture]:
        fields = ["item_id", "filename", "labels", "content"]
        for row in chain.from_iterable(self._collection.walk(fields)):
            content = bytes.fromhex(row["content"]) or None
            yield IndexedPicture(row["id"], to_metadata(row), content)

    def add(
        self,
        vectors: ArrayLike,
        metadata: Sequence[Mapping[str, Any]],
        contents: Sequence[bytes] | None = None,
    ) -> NDArray[np.intp]:
        """Add pictures, replacing any that are already in the index; see `Index.add`.

        A call that fails may have added some of the pictures; repeat it.
        """
        collection = self._collection
        data = np.asarray(vectors, np.float32)
        try:
            rows = create_rows(data, metadata, contents, collection.model)
            for chunk in chunks(list(rows), MESSAGE_ROWS):
                fields = ["id", "item_id", "filename"]
                for row in collection.call("query", ids=chunk, output_fields=fields):
                    check_same_picture(row, rows[row["id"]])
        except ValueError as error:
            raise InputError(f"{self.name}: nothing added: {error}") from None
        upsert(collection.connection, collection.name, rows.values())
        keys = [picture_key(picture["item_id"], picture["filename"]) for picture in metadata]
        return np.array(keys, np.intp)

    def remove(self, rows: ArrayLike) -> None:
        self._collection.delete(rows)

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Wait until the server has written all changes to disk; another `path` is an error."""
        if path is not None and os.fspath(path) not in (self._collection.connection.uri, self.name):
            raise InputError(
                f"{self.name}: a Milvus index cannot be copied to {path}; index again with "
                f"--output {path}"
            )
        self._collection.call("flush", timeout=LOAD_SECONDS)


def _fewest(found: _Neighbours) -> int:
    return min(len(keys) for _, keys in found)
