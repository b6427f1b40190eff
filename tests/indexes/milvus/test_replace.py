from __future__ import annotations

import time

import pytest

from siamese.errors import GoneError, InputError
from siamese.indexes.milvus import replace
from siamese.indexes.milvus.connection import Connection
from siamese.indexes.milvus.index import MilvusIndex
from tests.indexes.milvus.conftest import MODEL, pictures, unit


def test_a_new_collection_replaces_the_old_one_in_one_step(uri, monkeypatch):
    first = MilvusIndex.build(unit(30), pictures(30), MODEL, uri=uri, collection="swap")
    filled = replace.upsert

    def watched(connection, name, rows):
        filled(connection, name, rows)
        assert len(MilvusIndex.open(uri, "swap")) == 30  # it is still the old one

    monkeypatch.setattr(replace, "upsert", watched)
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

    monkeypatch.setattr(replace, "upsert", broken)
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

    monkeypatch.setattr(replace, "upsert", broken)
    monkeypatch.setattr(Connection, "call", away)
    with pytest.raises(InputError, match="the first thing that was wrong"):
        MilvusIndex.build(unit(3), pictures(3), MODEL, uri=tmp_path / "milvus")


def test_an_unfinished_collection_is_dropped_a_day_later(tmp_path, monkeypatch):
    uri = tmp_path / "milvus"
    kept = MilvusIndex.build(unit(3), pictures(3), MODEL, uri=uri, collection="pictures_2024")
    connection = Connection(uri)
    for age in (60, 2 * replace.STALE_SECONDS):
        replace.create_collection(
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
