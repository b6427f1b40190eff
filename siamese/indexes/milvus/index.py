"""The index that grows: a collection of Milvus, in a folder, on a server or on a cluster."""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamese.errors import GoneError, InputError
from siamese.indexes.index import IndexedPicture, Metadata
from siamese.indexes.label_filter import EVERYTHING, LabelFilter
from siamese.indexes.milvus.connection import LOAD_SECONDS, Connection, is_milvus
from siamese.indexes.milvus.rows import (
    MESSAGE,
    MOST_TEXT,
    ROWS,
    Row,
    expression_of,
    key_of,
    list_of,
    messages,
    metadata_in,
    quoted,
    refuse_collision,
    rows_of,
)
from siamese.indexes.place import COLLECTION
from siamese.indexes.validate import checked_parts, checked_queries
from siamese.models.facts import ModelFacts
from siamese.utils.files import require_writable
from siamese.vectors.nearest import TopK, query_blocks

FORMAT = 1
"""Of the collection; one with a higher number was made by a newer toolkit."""

MOST_RESULTS = 16_384
"""Of one search, as Milvus has it."""

COMPARED = 1_000_000
"""Most pictures that are fetched to be compared one by one."""

COUNTED = 1_000_000
"""Most pictures whose labels are counted."""

STALE_SECONDS = 86_400
"""Age from which a collection that was never finished is taken for that of a killed run."""

_PROPERTY = "siamese"
_FIELDS = ("id", "item_id", "filename", "labels", "content", "vector")
_BREADTH = {"HNSW": "ef", "DISKANN": "search_list"}  # by kind of Milvus' index: what to call it
_BROAD, _BROADEST = 128, 32_768  # how many pictures a search keeps in sight
_LITE_BYTES = 2**28  # of the differences between queries and vectors that it makes
_Found: TypeAlias = list[tuple[NDArray[np.float64], list[int]]]


class MilvusIndex:
    """Nearest neighbours found by Milvus; see `Index`.

    Made by `build` or `open`. A picture is a row of a collection with the fields ::

        id        int64, the primary key: see `key_of`
        item_id   varchar
        filename  varchar
        labels    array of varchar
        content   varchar, the hash of the file in hexadecimal digits, or empty
        vector    float_vector, with an index of metric L2, which Milvus answers squared

    The collection's property ``siamese`` is JSON: ``{"format": 1, "model": …}``. The name of the
    collection is an alias, so that a new one takes its place in one step. What is added or
    removed is there at once, for every process; `save` makes the server write it to its disk.

    Attributes
    ----------
    model : facts about the model whose vectors these are
    augmented : never; see `Index`
    name : what to call the index in a message: its address
    """

    augmented = False

    def __init__(self, connection: Connection, collection: str) -> None:
        self._connection = connection
        self._collection = collection
        self.name = connection.name
        if collection != COLLECTION:
            self.name += f" (collection {collection})"
        self.model: ModelFacts | None = self._verified()
        kind = connection.call("describe_index", collection, "vector")["index_type"]
        self._breadth = next((name for of, name in _BREADTH.items() if kind.startswith(of)), None)
        connection.call("load_collection", collection, timeout=LOAD_SECONDS)

    @classmethod
    def build(
        cls,
        vectors: ArrayLike,
        metadata: Sequence[Mapping[str, Any]],
        model: ModelFacts,
        contents: Sequence[bytes] | None = None,
        *,
        uri: str | os.PathLike[str],
        collection: str = COLLECTION,
    ) -> MilvusIndex:
        """Index vectors of length 1, in the place of what is there under the same name.

        It is filled under another name first: until it is complete, searches see the old one.

        Parameters
        ----------
        vectors : (n, d)
        metadata : (n,), the `Metadata` of each vector; a picture that is there twice counts once
        model : whose vectors they are
        contents : (n,), see `Entry.content`
        uri : see `Connection`
        collection : letters, digits and underscores

        Raises
        ------
        InputError
            If there is nothing to index, what is given does not fit together, or Milvus fails.
        """
        data = np.ascontiguousarray(vectors, np.float32)
        if not data.size:
            raise InputError("no picture to index")
        try:
            checked = checked_parts(data, list(metadata), model)
            rows = rows_of(data, checked, contents)
        except ValueError as error:
            raise InputError(f"nothing indexed: {error}") from None
        require_place(uri, collection)
        connection = Connection(uri)
        place = f"{collection}_{int(time.time()):x}_{secrets.token_hex(4)}"
        old = _behind_alias(connection, collection)
        _create(connection, place, data.shape[1], model)
        try:
            _upsert(connection, place, rows)
            connection.call("flush", place, timeout=LOAD_SECONDS)
            method = "create_alias" if old is None else "alter_alias"
            connection.call(method, place, collection)
        except BaseException:
            with suppress(InputError):
                connection.call("drop_collection", place, patient=False)
            raise
        _drop_stale(connection, collection, place, old)
        return cls(connection, collection)

    @classmethod
    def open(cls, uri: str | os.PathLike[str], collection: str = COLLECTION) -> MilvusIndex:
        """Open a collection that `build` made.

        Raises
        ------
        InputError
            If there is none, another toolkit made it, it is empty, or Milvus fails; see
            `Connection`.
        """
        index = cls(Connection(uri, must_exist=True), collection)
        # No index is made of nothing; but Lite takes some damage for an empty collection.
        if not len(index):
            raise InputError(
                f"{index.name}: holds no picture, though one was made with some; make it again"
            )
        return index

    def __len__(self) -> int:
        return self._count("")

    @property
    def embedding_size(self) -> int:
        """Dimensions of the vectors."""
        return self._size

    def query(
        self, X: ArrayLike, k: int = 10, labels: LabelFilter = EVERYTHING
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """See `Index.query`; where Milvus finds fewer than there are, it is asked to look wider.

        In the end, and for more than 16,384 results, the vectors are fetched and compared.

        Raises
        ------
        InputError
            As `Index.query`; also if more vectors than `COMPARED` would have to be fetched.
        """
        X = checked_queries(np.asarray(X, np.float32), k, self)
        expression = expression_of(labels)
        if not len(X):
            k = min(k, self._count(expression))
            return np.empty((0, k)), np.empty((0, k), np.intp)
        found = self._search(X, min(k, MOST_RESULTS), expression, _BROAD)
        if _fewest(found) < k:
            # Because there are no more, or because Milvus gives no more or has missed some.
            kept = self._count(expression)
            k = min(k, kept)
            if _fewest(found) < k <= MOST_RESULTS and self._breadth:
                found = self._search(X, k, expression, _BROADEST)
            if _fewest(found) < k:
                return self._compare_all(X, k, expression, kept)
        distances = np.array([near[:k] for near, _ in found], np.float64)
        rows = np.array([rows[:k] for _, rows in found], np.intp)
        return distances, rows

    def metadata_of(self, rows: ArrayLike) -> list[Metadata]:
        """See `Index.metadata_of`."""
        known = self._get(rows, ["item_id", "filename", "labels"])
        found = []
        for row in np.asarray(rows, np.intp).tolist():
            metadata = metadata_in(known[row])
            if key_of(metadata["item_id"], metadata["filename"]) != row:
                raise InputError(f"{self.name}: damaged: the picture {row} is not what it was")
            found.append(metadata)
        return found

    def vectors(self, rows: ArrayLike) -> NDArray[np.float32]:
        """See `Index.vectors`."""
        known = self._get(rows, ["vector"])
        found = [known[row]["vector"] for row in np.asarray(rows, np.intp).tolist()]
        return np.array(found, np.float32).reshape(-1, self._size)

    def find(self, *, item_id: str | None = None, filename: str | None = None) -> NDArray[np.intp]:
        """See `Index.find`."""
        conditions = {"item_id": item_id, "filename": filename}
        expression = " and ".join(
            f"{field} == {quoted(value)}"
            for field, value in conditions.items()
            if value is not None
        )
        found = self._query(expression, ["id"])
        return np.sort(np.array([row["id"] for row in found], np.intp))

    def item_sizes(self, item_ids: Sequence[str]) -> NDArray[np.intp]:
        """See `Index.item_sizes`."""
        sizes: Counter[str] = Counter()
        for some in _chunks(sorted(set(item_ids)), 100):
            expression = f"item_id in {list_of(some)}"
            sizes.update(row["item_id"] for row in self._query(expression, ["item_id"]))
        return np.array([sizes[item_id] for item_id in item_ids], np.intp)

    def label_counts(self) -> dict[str, int]:
        """See `Index.label_counts`; in a larger collection, of the first `COUNTED` pictures."""
        counts: Counter[str] = Counter()
        seen = 0
        for rows in self._walk(["labels"]):
            for row in rows:
                counts.update(set(row["labels"]))
            seen += len(rows)
            if seen >= COUNTED:
                break
        return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))

    def entries(self) -> Iterator[IndexedPicture]:
        """See `Index.entries`, by ascending row."""
        for rows in self._walk(["item_id", "filename", "labels", "content"]):
            for row in rows:
                content = bytes.fromhex(row["content"]) or None
                yield IndexedPicture(row["id"], metadata_in(row), content)

    def add(
        self,
        vectors: ArrayLike,
        metadata: Sequence[Mapping[str, Any]],
        contents: Sequence[bytes] | None = None,
    ) -> NDArray[np.intp]:
        """See `Index.add`; a picture that is there already is replaced.

        Where it fails in the middle, some are there and some are not: do the same again.
        """
        data = np.asarray(vectors, np.float32)
        try:
            checked = checked_parts(data, list(metadata), self.model)
            rows = rows_of(data, checked, contents)
            for some in _chunks(list(rows), ROWS):
                known = self._known(some, ["item_id", "filename"])
                for key, row in known.items():
                    refuse_collision(row, rows[key])
        except ValueError as error:
            raise InputError(f"{self.name}: nothing added: {error}") from None
        _upsert(self._connection, self._collection, rows)
        keys = [key_of(known["item_id"], known["filename"]) for known in checked]
        return np.array(keys, np.intp)

    def remove(self, rows: ArrayLike) -> None:
        """See `Index.remove`; what is not there any more is passed over."""
        for some in _chunks(np.asarray(rows, np.intp).tolist(), ROWS):
            self._connection.call("delete", self._collection, ids=some)

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """See `Index.save`: everything is there already; now it is on the server's disk too.

        Raises
        ------
        InputError
            If the path is another than its own, or Milvus fails.
        """
        if path is not None and os.fspath(path) not in (self._connection.uri, self.name):
            raise InputError(
                f"{self.name}: stays where it is; to have it elsewhere, index again "
                f"with --output {path}"
            )
        self._connection.call("flush", self._collection, timeout=LOAD_SECONDS)

    def _verified(self) -> ModelFacts:
        """The facts about the model of a collection that is found to be one of ours."""
        connection, collection = self._connection, self._collection
        if not connection.call("has_collection", collection):
            raise InputError(
                f"{connection.name}: there is no collection {collection}; make it with "
                "siamese index --backend milvus, or name another"
            )
        described = connection.call("describe_collection", collection)
        try:
            noted = json.loads(described["properties"][_PROPERTY])
            number, facts = noted["format"], noted["model"]
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{self.name}: no collection that siamese index has made") from None
        if number != FORMAT:
            raise InputError(
                f"{self.name}: made by a newer toolkit (format {number}, this one knows {FORMAT}); "
                "update this one"
            )
        fields = {field["name"]: field["params"] for field in described["fields"]}
        try:
            model = ModelFacts.from_dict(facts)
        except ValueError as error:
            raise InputError(f"{self.name}: {error}") from None
        self._size = model.embedding_size
        if set(fields) != set(_FIELDS) or int(fields["vector"]["dim"]) != self._size:
            raise InputError(
                f"{self.name}: its fields are not those that siamese index makes; index again"
            )
        # By its own name from here on: one that takes its place may be of another model.
        self._collection = described["collection_name"]
        return model

    def _count(self, expression: str) -> int:
        (row,) = self._query(expression, ["count(*)"])
        return int(row["count(*)"])

    def _query(self, expression: str, fields: list[str]) -> list[dict[str, Any]]:
        """Some fields of all that a filter keeps; also what another process has just added."""
        return list(
            self._connection.call(
                "query",
                self._collection,
                filter=expression,
                output_fields=fields,
                consistency_level="Strong",
            )
        )

    def _search(self, X: NDArray[np.float32], k: int, expression: str, breadth: int) -> _Found:
        """The distances and rows of the nearest, of each query as many as Milvus finds."""
        most = max(1, min(ROWS, MESSAGE // (16 * k), MESSAGE // (4 * self._size)))
        if self._connection.is_lite:
            # It subtracts every query from every vector at once.
            most = max(1, min(most, _LITE_BYTES // (4 * self._size * max(1, len(self)))))
        params = {self._breadth: max(breadth, 2 * k)} if self._breadth else {}
        found = []
        for some in _chunks(X, most):
            answers = self._connection.call(
                "search",
                self._collection,
                data=some,
                anns_field="vector",
                filter=expression,
                limit=k,
                search_params={"metric_type": "L2", "params": params},
            )
            for answer in answers:
                squared = np.array([hit["distance"] for hit in answer], np.float64)
                if not np.isfinite(squared).all():
                    raise InputError(f"{self.name}: damaged: a vector is not finite; index again")
                found.append((np.sqrt(np.maximum(squared, 0)), [hit["id"] for hit in answer]))
        return found

    def _compare_all(
        self, X: NDArray[np.float32], k: int, expression: str, kept: int
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """The nearest of all that a filter keeps, found without Milvus' index."""
        if kept > COMPARED:
            raise InputError(
                f"{self.name}: {k:,} results are asked for; Milvus finds at most "
                f"{MOST_RESULTS:,}, and {kept:,} pictures are too many to compare one by one"
            )
        blocks = query_blocks(len(X), k)
        tops = [TopK(len(X[block]), k, np.float64) for block in blocks]
        for batch in self._walk(["vector"], expression):
            keys = np.array([row["id"] for row in batch], np.intp)
            data = np.array([row["vector"] for row in batch], np.float64)
            for block, top in zip(blocks, tops, strict=True):
                top.add(X[block] @ data.T, keys)
        distances = np.concatenate([top.distances() for top in tops])
        rows = np.concatenate([top.rows for top in tops])
        is_found = rows[0] >= 0  # pictures may have been removed since they were counted
        return distances[:, is_found], rows[:, is_found]

    def _walk(self, fields: list[str], expression: str = "") -> Iterator[list[dict[str, Any]]]:
        # Lite goes through the whole collection for each batch.
        most = MOST_RESULTS if self._connection.is_lite else 4000
        if "vector" in fields:
            most = max(1, min(most, MESSAGE // (4 * self._size)))
        return self._connection.walk(self._collection, fields, expression, most)

    def _get(self, rows: ArrayLike, fields: list[str]) -> dict[int, dict[str, Any]]:
        """Some fields of some rows, by row; all of them must be there."""
        wanted = np.unique(np.asarray(rows, np.intp)).tolist()
        most = min(ROWS, max(1, MESSAGE // (4 * self._size)))
        known: dict[int, dict[str, Any]] = {}
        for some in _chunks(wanted, most):
            known |= self._known(some, fields)
        if missing := [row for row in wanted if row not in known]:
            raise GoneError(
                f"{self.name}: {len(missing)} of {len(wanted)} pictures are no longer there, "
                f"the first {missing[0]}; search again"
            )
        return known

    def _known(self, keys: list[int], fields: list[str]) -> dict[int, dict[str, Any]]:
        found = self._connection.call(
            "query", self._collection, ids=keys, output_fields=["id", *fields]
        )
        return {row["id"]: row for row in found}


def require_place(uri: str | os.PathLike[str], collection: str = COLLECTION) -> None:
    """Prove that a collection can be made somewhere, before the long work.

    Raises
    ------
    InputError
        It is no name of a collection, no server answers, or what lies there is something else.
    """
    if not re.fullmatch(r"[A-Za-z_]\w{0,199}", collection, re.ASCII):
        raise InputError(
            f"{collection!r}: no name of a collection; "
            "it has letters, digits and underscores, at most 200, and no digit first"
        )
    if is_milvus(uri):
        Connection(uri)
        return
    # Milvus Lite would settle in any folder, among the photos for one.
    require_writable(Path(uri))


def _create(connection: Connection, place: str, size: int, model: ModelFacts) -> None:
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("item_id", DataType.VARCHAR, max_length=MOST_TEXT)
    schema.add_field("filename", DataType.VARCHAR, max_length=MOST_TEXT)
    schema.add_field(
        "labels",
        DataType.ARRAY,
        element_type=DataType.VARCHAR,
        max_length=MOST_TEXT,
        max_capacity=MOST_TEXT,
    )
    schema.add_field("content", DataType.VARCHAR, max_length=64)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=size)

    indexes = MilvusClient.prepare_index_params()
    if connection.is_lite:
        # Exact: its search takes time for every picture in any case. And no others, because a
        # damaged file of theirs ends the process.
        indexes.add_index("vector", index_type="FLAT", metric_type="L2")
    else:
        for field in ("item_id", "filename", "labels"):
            indexes.add_index(field, index_type="INVERTED")
        indexes.add_index(
            "vector",
            index_type="HNSW",
            metric_type="L2",
            params={"M": 16, "efConstruction": 200},
        )
    connection.call(
        "create_collection",
        place,
        schema=schema,
        properties={_PROPERTY: json.dumps({"format": FORMAT, "model": model.as_dict()})},
        consistency_level="Session",  # one finds what oneself has added
    )
    connection.call("create_index", place, indexes, sync=False)  # there is nothing to wait for
    connection.call("load_collection", place, timeout=LOAD_SECONDS)


def _upsert(connection: Connection, place: str, rows: Mapping[int, Row]) -> None:
    for some in messages(rows.values()):
        connection.call("upsert", place, some)


def _behind_alias(connection: Connection, collection: str) -> str | None:
    """The collection that an alias stands for, None where there is no such alias.

    Raises
    ------
    InputError
        If the name is that of a collection, which an alias cannot take the place of.
    """
    if not connection.call("has_collection", collection):
        return None
    place: str = connection.call("describe_collection", collection)["collection_name"]
    if place == collection:
        raise InputError(
            f"{connection.name}: {collection} is a collection that siamese index has not made; "
            "choose another name"
        )
    return place


def _drop_stale(connection: Connection, collection: str, place: str, old: str | None) -> None:
    """Drop what a collection has replaced, and what killed runs have left of theirs."""
    for name in connection.call("list_collections"):
        made = re.fullmatch(re.escape(collection) + r"_([0-9a-f]+)_[0-9a-f]{8}", name)
        if name == place or not made:
            continue
        if name == old or time.time() - int(made[1], 16) > STALE_SECONDS:
            connection.call("drop_collection", name)


def _fewest(found: _Found) -> int:
    return min(len(rows) for _, rows in found)


def _chunks(sequence: Any, size: int) -> Iterator[Any]:
    for start in itertools.count(0, size):
        if start >= len(sequence):
            return
        yield sequence[start : start + size]
