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
from siamese.indexes.milvus.collection import Collection, chunks
from siamese.indexes.milvus.connection import Connection
from siamese.indexes.milvus.replace import replace_collection, require_place
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
from siamese.indexes.validate import check_pictures, check_queries
from siamese.models.facts import ModelFacts

MAX_COUNTED = 1_000_000
"""Largest number of pictures whose labels are counted."""


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
    the collection is an alias, so that a new one can replace it in one step. Every process sees at
    once what another adds or removes; `save` waits until the server has written it to its disk.

    Attributes
    ----------
    name : str
        Name of the index for messages: its address.
    model : ModelFacts
        Facts about the model that computed the vectors.
    augmented : bool
        Always False; see `Index`.
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
        """Build an index that replaces the collection of the same name.

        Searches use the old collection until the new one is complete.

        Parameters
        ----------
        vectors : array-like of shape (n, d)
            Vectors of length 1.
        metadata : sequence of n Metadata
            Of a picture that occurs twice, the last one counts.
        model : ModelFacts
            Facts about the model that computed the vectors.
        contents : sequence of n bytes, optional
            See `IndexedPicture`.
        uri : path or address
            See `Connection`.
        collection : str, default "pictures"
            Name of the collection: letters, digits and underscores.

        Returns
        -------
        MilvusIndex

        Raises
        ------
        InputError
            If there are no pictures, the arguments do not match, or Milvus fails.
        """
        data = np.ascontiguousarray(vectors, np.float32)
        if not data.size:
            raise InputError("no pictures to index")
        try:
            pictures = check_pictures(data, list(metadata), model)
            rows = create_rows(data, pictures, contents)
        except ValueError as error:
            raise InputError(f"nothing indexed: {error}") from None
        require_place(uri, collection)
        connection = Connection(uri)
        replace_collection(connection, collection, rows.values(), model)
        return cls(Collection(connection, collection))

    @classmethod
    def open(cls, uri: Place, collection: str = COLLECTION) -> MilvusIndex:
        """Open a collection that `build` created.

        Raises
        ------
        InputError
            If there is none, it is empty or not an index, or Milvus fails; see `Connection`.
        """
        index = cls(Collection(Connection(uri, must_exist=True), collection))
        # An index is never built without pictures, but Milvus Lite opens some damaged collections
        # as empty ones.
        if not len(index):
            raise InputError(f"{index.name}: the collection is empty; index again")
        return index

    def __len__(self) -> int:
        return self._collection.count("")

    @property
    def embedding_size(self) -> int:
        """Number of dimensions."""
        return self._collection.model.embedding_size

    def query(
        self, X: ArrayLike, k: int = 10, labels: LabelFilter = EVERYTHING
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the nearest neighbours; see `Index.query` and `CollectionSearch.query`."""
        return self._search.query(check_queries(np.asarray(X, np.float32), k, self), k, labels)

    def metadata_of(self, rows: ArrayLike) -> list[Metadata]:
        """Return the metadata of some rows; see `Index.metadata_of`."""
        by_key = self._collection.get(rows, ["item_id", "filename", "labels"])
        found = []
        for row in np.asarray(rows, np.intp).tolist():
            metadata = to_metadata(by_key[row])
            if picture_key(metadata["item_id"], metadata["filename"]) != row:
                raise InputError(
                    f"{self.name}: damaged (picture {row} has the item and filename of another); "
                    "index again"
                )
            found.append(metadata)
        return found

    def vectors(self, rows: ArrayLike) -> NDArray[np.float32]:
        """Return the vectors of some rows; see `Index.vectors`."""
        by_key = self._collection.get(rows, ["vector"])
        found = [by_key[row]["vector"] for row in np.asarray(rows, np.intp).tolist()]
        return np.array(found, np.float32).reshape(-1, self.embedding_size)

    def find(self, *, item_id: str | None = None, filename: str | None = None) -> NDArray[np.intp]:
        """Find rows by item and filename; see `Index.find`."""
        conditions = {"item_id": item_id, "filename": filename}
        expression = " and ".join(
            f"{field} == {quote(value)}" for field, value in conditions.items() if value is not None
        )
        found = self._collection.query(expression, ["id"])
        return np.sort(np.array([row["id"] for row in found], np.intp))

    def item_sizes(self, item_ids: Sequence[str]) -> NDArray[np.intp]:
        """Count the pictures of some items; see `Index.item_sizes`."""
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
        """Iterate over all pictures, by ascending row; see `Index.entries`."""
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
        data = np.asarray(vectors, np.float32)
        try:
            pictures = check_pictures(data, list(metadata), self.model)
            rows = create_rows(data, pictures, contents)
            for chunk in chunks(list(rows), MESSAGE_ROWS):
                existing = self._collection.get_existing(chunk, ["item_id", "filename"])
                for key, row in existing.items():
                    check_same_picture(row, rows[key])
        except ValueError as error:
            raise InputError(f"{self.name}: nothing added: {error}") from None
        self._collection.upsert(rows.values())
        keys = [picture_key(picture["item_id"], picture["filename"]) for picture in pictures]
        return np.array(keys, np.intp)

    def remove(self, rows: ArrayLike) -> None:
        """Remove the pictures of some rows, ignoring missing ones; see `Index.remove`."""
        self._collection.delete(rows)

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Wait until the server has written all changes to its disk; see `Index.save`.

        Raises
        ------
        InputError
            If the path is not that of the index, or Milvus fails.
        """
        if path is not None and os.fspath(path) not in (self._collection.connection.uri, self.name):
            raise InputError(
                f"{self.name}: a Milvus index cannot be copied to {path}; index again with "
                f"--output {path}"
            )
        self._collection.flush()
