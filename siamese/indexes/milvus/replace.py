"""Build a collection while the current one is in use, then replace that in one step."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from siamese.errors import InputError
from siamese.indexes.milvus.collection import FORMAT, PROPERTY, upsert
from siamese.indexes.milvus.connection import LOAD_SECONDS, Connection, is_milvus
from siamese.indexes.milvus.rows import MAX_LABELS, MAX_TEXT_BYTES, Row
from siamese.indexes.place import Place
from siamese.models.facts import ModelFacts
from siamese.utils.files import require_writable

STALE_SECONDS = 86_400
"""Age of an unfinished collection from which its build counts as killed."""


def require_place(uri: Place, alias: str) -> None:
    """Check, before long work, that a collection can be created at a place.

    Raises
    ------
    InputError
        If the name is invalid, no server answers, or the path holds something else.
    """
    if not re.fullmatch(r"[A-Za-z_]\w{0,199}", alias, re.ASCII):
        raise InputError(
            f"--collection {alias!r}: invalid name; use at most 200 letters, digits and "
            "underscores, and do not start with a digit"
        )
    if is_milvus(uri):
        Connection(uri)
    else:
        require_writable(Path(uri))  # Milvus Lite would start in any folder, even among photos


def replace_collection(
    connection: Connection, alias: str, rows: Iterable[Row], model: ModelFacts
) -> None:
    """Create and fill a collection, and give it the name of the current one.

    The name is an alias. Until the new collection is complete, it refers to the current one.

    Parameters
    ----------
    connection : Connection
    alias : str
        Name of the collection.
    rows : iterable of Row
    model : ModelFacts
        Facts about the model that computed the vectors.

    Raises
    ------
    InputError
        If the name is that of a collection that is not an index, or Milvus fails.
    """
    name = f"{alias}_{int(time.time()):x}_{secrets.token_hex(4)}"
    current = resolve_alias(connection, alias)
    create_collection(connection, name, model)
    try:
        upsert(connection, name, rows)
        connection.call("flush", name, timeout=LOAD_SECONDS)
        connection.call("create_alias" if current is None else "alter_alias", name, alias)
    except BaseException:
        with suppress(InputError):  # report the first error
            connection.call("drop_collection", name, retry=False)
        raise
    _drop_replaced(connection, alias, name, current)


def resolve_alias(connection: Connection, alias: str) -> str | None:
    """Return the name of the collection that an alias refers to, or None.

    Raises
    ------
    InputError
        If it is not an alias but a collection.
    """
    if not connection.call("has_collection", alias):
        return None
    name: str = connection.call("describe_collection", alias)["collection_name"]
    if name == alias:
        raise InputError(
            f"{connection.name}: the collection {alias} was not created by siamese index; change "
            "--collection"
        )
    return name


def create_collection(connection: Connection, name: str, model: ModelFacts) -> None:
    """Create an empty collection with the fields and indexes of `MilvusIndex`, and load it."""
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
        # The exact index, because Lite's search time grows with every picture in any case. And no
        # others, because a damaged file of theirs ends the process.
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
        name,
        schema=schema,
        properties={PROPERTY: json.dumps({"format": FORMAT, "model": model.as_dict()})},
        consistency_level="Session",  # a client sees its own changes at once
    )
    connection.call("create_index", name, indexes, sync=False)  # it is empty, nothing to wait for
    connection.call("load_collection", name, timeout=LOAD_SECONDS)


def _drop_replaced(connection: Connection, alias: str, name: str, replaced: str | None) -> None:
    """Drop the replaced collection, and unfinished ones of killed builds."""
    for other in connection.call("list_collections"):
        match = re.fullmatch(re.escape(alias) + r"_([0-9a-f]+)_[0-9a-f]{8}", other)
        if other == name or not match:
            continue
        if other == replaced or time.time() - int(match[1], 16) > STALE_SECONDS:
            connection.call("drop_collection", other)
