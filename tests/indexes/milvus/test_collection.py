from __future__ import annotations

import json
import time

import pytest

from siamese.errors import GoneError, InputError
from siamese.indexes.milvus import collection as collection_module
from siamese.indexes.milvus.connection import Connection
from siamese.indexes.milvus.index import MilvusIndex
from tests.indexes.milvus.conftest import MODEL, is_one_line, pictures, unit


def test_a_collection_that_is_not_an_index_is_one_line(tmp_path):
    folder = tmp_path / "milvus"
    MilvusIndex.build(unit(5), pictures(5), MODEL, uri=folder)
    connection = Connection(folder)
    with pytest.raises(InputError, match="no collection of_shoes"):
        MilvusIndex.open(folder, "of_shoes")
    with pytest.raises(InputError, match="invalid name"):
        MilvusIndex.build(unit(5), pictures(5), MODEL, uri=folder, collection="of shoes")

    connection.call("create_collection", "theirs", dimension=8)
    with pytest.raises(InputError, match="the collection was not created by siamese index"):
        MilvusIndex.open(folder, "theirs")
    with pytest.raises(InputError, match="the collection theirs was not created by siamese index"):
        MilvusIndex.build(unit(5), pictures(5), MODEL, uri=folder, collection="theirs")
    for noted, line in (
        ({"format": 2, "model": MODEL.as_dict()}, "written by a newer version"),
        ({"format": 1, "model": {}}, "the facts about its model are invalid"),
        (
            {"format": 1, "model": MODEL.as_dict() | {"embedding_size": 9}},
            "the fields of the collection are not those",
        ),
        ([], "the collection was not created by siamese index"),
    ):
        connection.call(
            "alter_collection_properties", "pictures", properties={"siamese": json.dumps(noted)}
        )
        with pytest.raises(InputError, match=line) as caught:
            MilvusIndex.open(folder)
        assert is_one_line(caught)


def test_a_new_collection_replaces_the_old_one_in_one_step(uri, monkeypatch):
    first = MilvusIndex.build(unit(30), pictures(30), MODEL, uri=uri, collection="swap")
    filled = collection_module.upsert

    def watched(connection, name, rows):
        filled(connection, name, rows)
        assert len(MilvusIndex.open(uri, "swap")) == 30  # it is still the old one

    monkeypatch.setattr(collection_module, "upsert", watched)
    second = MilvusIndex.build(unit(5), pictures(5), MODEL, uri=uri, collection="swap")
    assert len(second) == len(MilvusIndex.open(uri, "swap")) == 5
    assert len(collections(uri, "swap")) == 1
    # The old index fails, because the new one may be of another model.
    for ask in (lambda: first.query(unit(1), 1), lambda: len(first)):
        with pytest.raises(GoneError, match="has been replaced or dropped; open the index again"):
            ask()

    def broken(connection, name, rows):
        filled(connection, name, rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(collection_module, "upsert", broken)
    with pytest.raises(KeyboardInterrupt):
        MilvusIndex.build(unit(9), pictures(9), MODEL, uri=uri, collection="swap")
    assert len(second) == 5
    assert len(collections(uri, "swap")) == 1


def test_a_failed_build_reports_its_first_error(tmp_path, monkeypatch):
    def broken(connection, name, rows):
        raise InputError("the first thing that was wrong")

    call = Connection.call

    def away(self, method, *args, **kwargs):
        if method == "drop_collection":
            raise InputError("no Milvus answers there")
        return call(self, method, *args, **kwargs)

    monkeypatch.setattr(collection_module, "upsert", broken)
    monkeypatch.setattr(Connection, "call", away)
    with pytest.raises(InputError, match="the first thing that was wrong"):
        MilvusIndex.build(unit(3), pictures(3), MODEL, uri=tmp_path / "milvus")


def test_an_unfinished_collection_is_dropped_a_day_later(tmp_path, monkeypatch):
    uri = tmp_path / "milvus"
    kept = MilvusIndex.build(unit(3), pictures(3), MODEL, uri=uri, collection="pictures_2024")
    connection = Connection(uri)
    for age in (60, 2 * collection_module.STALE_SECONDS):
        collection_module.create_collection(
            connection, f"pictures_{int(time.time() - age):x}_0123abcd", MODEL
        )
    MilvusIndex.build(unit(3), pictures(3), MODEL, uri=uri)
    assert (
        len(collections(uri, "pictures")) == 3
    )  # the index, the unfinished one of a minute ago, and `kept`
    assert len(kept) == 3


def collections(uri, prefix):
    return [
        name for name in Connection(uri).call("list_collections") if name.startswith(f"{prefix}_")
    ]
