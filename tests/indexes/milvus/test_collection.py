from __future__ import annotations

import json

import pytest

from siamese.errors import InputError
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
