"""The index that grows: a collection of Milvus, in a folder, on a server or on a cluster."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamese.errors import InputError
from siamese.indexes.index import IndexedPicture, Metadata
from siamese.indexes.label_filter import EVERYTHING, LabelFilter
from siamese.indexes.milvus.collection import (
    Collection,
    chunks,
    replace_collection,
    require_place,
    upsert,
)
from siamese.indexes.milvus.connection import LOAD_SECONDS, Connection
from siamese.indexes.milvus.rows import (
    MESSAGE_ROWS,
    check_same_picture,
    create_rows,
    picture_key,
    quote,
    quote_list,
    to_metadata,
)
from siamese.indexes.milvus.search import CollectionSearch
from siamese.indexes.place import COLLECTION, Place
from siamese.indexes.validate import check_queries
from siamese.models.facts import ModelFacts

MAX_COUNTED = 1_000_000  # largest number of pictures whose labels are counted


class MilvusIndex:
    """Index in a collection of Milvus; see `Index`.

    Created by `build` or `open`. A picture is a row of the collection, with the fields ::

        id        int64, the primary key, see `picture_key`
        item_id   varchar
        filename  varchar
        labels    array of varchar
        content   varchar, the hash of the file in hexadecimal digits, or empty
        vector    float_vector, with an index of metric L2, which Milvus returns squared

    The property ``siamese`` of the collection is JSON: ``{"format": 1, "model": …}``. The name of
    the collection is an alias, so that a new one can replace it in one step. All processes see a
    change at once; `save` waits until the server has written it to its disk.
    """

    augmented = False

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._search = CollectionSearch(collection)
        self.name = collection.label
        self.model: ModelFacts | None = collection.model

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
        """Build an index that replaces the collection of the same name when it is complete.

        See `Backend.build` for the arguments, and `Connection` for `uri`. If a picture occurs
        twice, the last one counts.
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
        """Open a collection that `build` created; see `Connection` for `uri`."""
        index = cls(Collection(Connection(uri, must_exist=True), collection))
        # Every index is built with pictures, but Milvus Lite opens some damaged collections as
        # empty ones.
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
        return self._search.query(check_queries(np.asarray(X, np.float32), k, self), k, labels)

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
        """Count the labels of the first `MAX_COUNTED` pictures; see `Index.label_counts`."""
        counts: Counter[str] = Counter()
        seen = 0
        for rows in self._collection.walk(["labels"]):
            for row in rows:
                counts.update(set(row["labels"]))
            seen += len(rows)
            if seen >= MAX_COUNTED:
                break
        return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))

    def entries(self) -> Iterator[IndexedPicture]:
        for rows in self._collection.walk(["item_id", "filename", "labels", "content"]):
            for row in rows:
                content = bytes.fromhex(row["content"]) or None
                yield IndexedPicture(row["id"], to_metadata(row), content)

    def add(
        self,
        vectors: ArrayLike,
        metadata: Sequence[Mapping[str, Any]],
        contents: Sequence[bytes] | None = None,
    ) -> NDArray[np.intp]:
        """Add pictures, or replace those that exist; see `Index.add`.

        After a failure some pictures may have been added; add all of them again.
        """
        collection = self._collection
        try:
            rows = create_rows(
                np.asarray(vectors, np.float32), metadata, contents, collection.model
            )
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
        """Wait until the server has written all changes to its disk."""
        if path is not None and os.fspath(path) not in (self._collection.connection.uri, self.name):
            raise InputError(
                f"{self.name}: a Milvus index cannot be copied to {path}; index again with "
                f"--output {path}"
            )
        self._collection.call("flush", timeout=LOAD_SECONDS)
