"""The collection of an index: open and check it, read and change its rows."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from siamese.errors import GoneError, InputError
from siamese.indexes.milvus.connection import LOAD_SECONDS, Connection
from siamese.indexes.milvus.rows import MESSAGE_BYTES, MESSAGE_ROWS, Row, split_messages
from siamese.indexes.place import COLLECTION
from siamese.models.facts import ModelFacts

FORMAT = 1
"""Version of the format of a collection."""

PROPERTY = "siamese"
"""Name of the property of a collection that holds its format and `ModelFacts` as JSON."""

MAX_RESULTS = 16_384
"""Largest number of results of one search or query, a limit of Milvus."""

_FIELDS = frozenset({"id", "item_id", "filename", "labels", "content", "vector"})


class Collection:
    """An open collection of Milvus.

    Parameters
    ----------
    connection : Connection
    alias : str
        Name of the collection.

    Attributes
    ----------
    connection : Connection
    name : str
        The real name of the collection, to which the alias refers. Another collection that takes
        over the alias may be of another model.
    label : str
        Name of the index for messages.
    model : ModelFacts
        Facts about the model that computed the vectors.

    Raises
    ------
    InputError
        If there is no such collection, or it is not one of an index.
    """

    def __init__(self, connection: Connection, alias: str) -> None:
        self.connection = connection
        self.label = connection.name
        if alias != COLLECTION:
            self.label += f" (collection {alias})"
        if not connection.call("has_collection", alias):
            raise InputError(
                f"{connection.name}: no collection {alias}; create it with `siamese index "
                "--backend milvus`, or change --collection"
            )
        description = connection.call("describe_collection", alias)
        self.name: str = description["collection_name"]
        self.model = self._read_model(description)
        connection.call("load_collection", self.name, timeout=LOAD_SECONDS)

    def _read_model(self, description: dict[str, Any]) -> ModelFacts:
        """Check that the collection is one of an index, and return the facts about its model."""
        try:
            noted = json.loads(description["properties"][PROPERTY])
            number, facts = noted["format"], noted["model"]
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
        if fields.keys() != _FIELDS or int(fields["vector"]["dim"]) != model.embedding_size:
            raise InputError(
                f"{self.label}: the fields of the collection are not those of an index; index again"
            )
        return model

    def call(self, method: str, **kwargs: Any) -> Any:
        """Call a method of `MilvusClient` for this collection; see `Connection.call`."""
        return self.connection.call(method, self.name, **kwargs)

    def count(self, expression: str) -> int:
        """Count the rows that a filter keeps."""
        (row,) = self.query(expression, ["count(*)"])
        return int(row["count(*)"])

    def query(self, expression: str, fields: list[str]) -> list[dict[str, Any]]:
        """Read fields of all rows that a filter keeps, with the latest changes of others."""
        return list(
            self.call("query", filter=expression, output_fields=fields, consistency_level="Strong")
        )

    def walk(self, fields: list[str], expression: str = "") -> Iterator[list[dict[str, Any]]]:
        """Iterate over fields of the rows that a filter keeps, in batches, by ascending key."""
        # Milvus Lite scans the whole collection for each batch.
        size = MAX_RESULTS if self.connection.is_lite else 4000
        if "vector" in fields:
            size = max(1, min(size, MESSAGE_BYTES // (4 * self.model.embedding_size)))
        return self.connection.walk(self.name, fields, expression, size)

    def get(self, keys: ArrayLike, fields: list[str]) -> dict[int, dict[str, Any]]:
        """Read fields of some rows, by key.

        Raises
        ------
        GoneError
            If one of them has been removed.
        """
        unique = np.unique(np.asarray(keys, np.intp)).tolist()
        size = min(MESSAGE_ROWS, max(1, MESSAGE_BYTES // (4 * self.model.embedding_size)))
        rows: dict[int, dict[str, Any]] = {}
        for chunk in chunks(unique, size):
            rows |= self.get_existing(chunk, fields)
        if missing := [key for key in unique if key not in rows]:
            raise GoneError(
                f"{self.label}: {len(missing)} of {len(unique)} pictures have been removed, the "
                f"first is {missing[0]}; search again"
            )
        return rows

    def get_existing(self, keys: list[int], fields: list[str]) -> dict[int, dict[str, Any]]:
        """Read fields of those rows that exist, by key; at most `MESSAGE_ROWS` at once."""
        rows = self.call("query", ids=keys, output_fields=["id", *fields])
        return {row["id"]: row for row in rows}

    def upsert(self, rows: Iterable[Row]) -> None:
        """Add rows, or replace those with the same keys."""
        upsert(self.connection, self.name, rows)

    def delete(self, keys: ArrayLike) -> None:
        """Delete rows; a missing one is ignored."""
        for chunk in chunks(np.asarray(keys, np.intp).tolist(), MESSAGE_ROWS):
            self.call("delete", ids=chunk)

    def flush(self) -> None:
        """Wait until the server has written all changes to its disk."""
        self.call("flush", timeout=LOAD_SECONDS)


def upsert(connection: Connection, collection: str, rows: Iterable[Row]) -> None:
    """Add rows to a collection, or replace those with the same keys."""
    for message in split_messages(rows):
        connection.call("upsert", collection, message)


def chunks(sequence: Any, size: int) -> Iterator[Any]:
    """Divide a sequence into slices of at most `size`."""
    for start in itertools.count(0, size):
        if start >= len(sequence):
            return
        yield sequence[start : start + size]
