"""Milvus collections that hold an index: building, checking, reading and changing them."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from siamese.errors import GoneError, InputError
from siamese.indexes.milvus.connection import LOAD_SECONDS, Connection, is_milvus
from siamese.indexes.milvus.rows import (
    MAX_LABELS,
    MAX_TEXT_BYTES,
    MESSAGE_BYTES,
    MESSAGE_ROWS,
    Row,
    split_messages,
)
from siamese.indexes.place import COLLECTION, Place
from siamese.models.facts import ModelFacts
from siamese.utils.files import require_writable

FORMAT = 1  # version of the collection format
PROPERTY = "siamese"  # collection property with the format and `ModelFacts` as JSON
MAX_RESULTS = 16_384  # Milvus's limit on the results of one search or query
STALE_SECONDS = 86_400  # age at which an unused collection counts as abandoned


class Collection:
    """Open Milvus collection that holds an index.

    When a new build moves the alias to another collection, this object keeps referring to the old
    one, because the new one may have been built with a different model.

    Attributes
    ----------
    name : str
        Real name of the collection, not its alias.
    label : str
        Name of the index in messages.
    max_vectors : int
        Maximum number of vectors per message.
    """

    def __init__(self, connection: Connection, alias: str) -> None:
        self.connection = connection
        self.label = connection.name
        if alias != COLLECTION:
            self.label += f" (collection {alias})"
        description = connection.describe(alias)
        if description is None:
            raise InputError(
                f"{connection.name}: no collection {alias}; create it with `siamese index "
                "--backend milvus`, or change --collection"
            )
        self.name: str = description["collection_name"]
        self.model = self._read_model(description)
        self.max_vectors = max(1, MESSAGE_BYTES // (4 * self.model.embedding_size))
        connection.call("load_collection", self.name, timeout=LOAD_SECONDS)

    def _read_model(self, description: dict[str, Any]) -> ModelFacts:
        """Return the facts about the model; raise an `InputError` if this is not a valid index."""
        try:
            stored = json.loads(description["properties"][PROPERTY])
            number, facts = stored["format"], stored["model"]
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{self.label}: the collection was not created by siamese index; change "
                "--collection"
            ) from None
        if number != FORMAT:
            raise InputError(
                f"{self.label}: written by a newer version (format {number}, this version reads "
                f"{FORMAT}); update this package"
            )
        try:
            model = ModelFacts.from_dict(facts)
        except ValueError as error:
            raise InputError(f"{self.label}: {error}; index again") from None
        fields = {field["name"]: field["params"] for field in description["fields"]}
        if (
            fields.keys() != Row.__annotations__.keys()
            or int(fields["vector"]["dim"]) != model.embedding_size
        ):
            raise InputError(
                f"{self.label}: the fields of the collection are not those of an index; index again"
            )
        return model

    def call(self, method: str, **kwargs: Any) -> Any:
        """Call a method of `MilvusClient` on this collection; see `Connection.call`."""
        return self.connection.call(method, self.name, **kwargs)

    def count(self, expression: str) -> int:
        """Count the rows that match a filter expression."""
        (row,) = self.query(expression, ["count(*)"])
        return int(row["count(*)"])

    def query(self, expression: str, fields: list[str]) -> list[dict[str, Any]]:
        """Read fields of all rows that match a filter, including other clients' latest changes."""
        return list(
            self.call("query", filter=expression, output_fields=fields, consistency_level="Strong")
        )

    def walk(self, fields: list[str], expression: str = "") -> Iterator[list[dict[str, Any]]]:
        """Iterate over the rows that match a filter, in batches and by ascending key."""
        # Milvus Lite scans the whole collection for each batch, so its batches are large.
        size = MAX_RESULTS if self.connection.is_lite else 4000
        if "vector" in fields:
            size = min(size, self.max_vectors)
        rows = self.call(
            "query_iterator",
            filter=expression,
            output_fields=fields,
            batch_size=size,
            consistency_level="Strong",
        )
        while True:
            with self.connection.input_errors():
                batch = rows.next()
            if not batch:
                return
            yield batch

    def get(self, keys: ArrayLike, fields: list[str]) -> list[dict[str, Any]]:
        """Read fields of the rows with the given keys, in order; a missing row is an error."""
        keys = np.asarray(keys, np.intp)
        unique = np.unique(keys).tolist()
        by_key: dict[int, dict[str, Any]] = {}
        for chunk in chunks(unique, min(MESSAGE_ROWS, self.max_vectors)):
            rows = self.call("query", ids=chunk, output_fields=["id", *fields])
            by_key |= {row["id"]: row for row in rows}
        if missing := [key for key in unique if key not in by_key]:
            raise GoneError(
                f"{self.label}: {len(missing)} of {len(unique)} pictures have been removed, the "
                f"first is {missing[0]}; search again"
            )
        return [by_key[key] for key in keys.tolist()]

    def delete(self, keys: ArrayLike) -> None:
        """Delete the rows with the given keys, ignoring missing ones."""
        for chunk in chunks(np.asarray(keys, np.intp).tolist(), MESSAGE_ROWS):
            self.call("delete", ids=chunk)


def require_place(uri: Place, alias: str) -> None:
    """Check in advance that a collection can be created, or raise an `InputError`."""
    if not re.fullmatch(r"[A-Za-z_]\w{0,199}", alias, re.ASCII):
        raise InputError(
            f"--collection {alias!r}: invalid name; use at most 200 letters, digits and "
            "underscores, and do not start with a digit"
        )
    if is_milvus(uri):
        Connection(uri)
    else:
        require_writable(Path(uri))  # Milvus Lite would accept any folder, even one of photos


def replace_collection(
    connection: Connection, alias: str, rows: Iterable[Row], model: ModelFacts
) -> None:
    """Build a new collection while the old one stays in use, then move the alias to the new one."""
    current = connection.describe(alias)
    if current and current["collection_name"] == alias:
        raise InputError(
            f"{connection.name}: the collection {alias} was not created by siamese index; change "
            "--collection"
        )
    name = f"{alias}_{int(time.time()):x}_{secrets.token_hex(4)}"
    create_collection(connection, name, model)
    try:
        upsert(connection, name, rows)
        connection.call("flush", name, timeout=LOAD_SECONDS)
        connection.call("alter_alias" if current else "create_alias", name, alias)
    except BaseException:
        with suppress(InputError):  # so that the original error is reported
            connection.call("drop_collection", name, retry=False)
        raise
    for other in connection.call("list_collections"):
        match = re.fullmatch(re.escape(alias) + r"_([0-9a-f]+)_[0-9a-f]{8}", other)
        if not match or other == name:
            continue
        is_replaced = current and other == current["collection_name"]
        if is_replaced or time.time() - int(match[1], 16) > STALE_SECONDS:
            connection.call("drop_collection", other)


def create_collection(connection: Connection, name: str, model: ModelFacts) -> None:
    """Create and load an empty collection with the fields and indexes that `MilvusIndex` needs."""
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("item_id", DataType.VARCHAR, max_length=MAX_TEXT_BYTES)
    schema.add_field("filename", DataType.VARCHAR, max_length=MAX_TEXT_BYTES)
    schema.add_field(
        "labels",
        DataType.ARRAY,
        element_type=DataType.VARCHAR,
        max_length=MAX_TEXT_BYTES,
        max_capacity=MAX_LABELS,
    )
    schema.add_field("content", DataType.VARCHAR, max_length=64)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=model.embedding_size)

    indexes = MilvusClient.prepare_index_params()
    if connection.is_lite:
        # Milvus Lite scans all pictures whatever the index type, so exact search is no slower.
        # Other fields have no index, because a damaged index file would crash the process.
        indexes.add_index("vector", index_type="FLAT", metric_type="L2")
    else:
        for field in ("item_id", "filename", "labels"):
            indexes.add_index(field, index_type="INVERTED")
        graph = {"M": 16, "efConstruction": 200}
        indexes.add_index("vector", index_type="HNSW", metric_type="L2", params=graph)
    connection.call(
        "create_collection",
        name,
        schema=schema,
        properties={PROPERTY: json.dumps({"format": FORMAT, "model": model.as_dict()})},
        consistency_level="Session",  # clients see their own changes immediately
    )
    connection.call("create_index", name, indexes, sync=False)  # no rows to wait for
    connection.call("load_collection", name, timeout=LOAD_SECONDS)


def upsert(connection: Connection, collection: str, rows: Iterable[Row]) -> None:
    """Add rows to a collection, replacing existing rows with the same keys."""
    for message in split_messages(rows):
        connection.call("upsert", collection, message)


def chunks(sequence: Any, size: int) -> Iterator[Any]:
    """Split a sequence into slices of at most `size` elements."""
    return (sequence[start : start + size] for start in range(0, len(sequence), size))
