from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from concurrent import futures

import numpy as np
import pytest

from siamese.errors import InputError
from siamese.indexes.milvus import collection as collection_module
from siamese.indexes.milvus import connection as connection_module
from siamese.indexes.milvus import rows as rows_module
from siamese.indexes.milvus.connection import is_milvus
from siamese.indexes.milvus.index import MilvusIndex
from siamese.indexes.update import update_index
from tests.conftest import ROOT
from tests.indexes.milvus.conftest import (
    MODEL,
    Server,
    count_calls,
    is_one_line,
    names,
    pictures,
    read_all,
    unit,
)


def update(index, wanted):
    """Update an index to hold `wanted`: content and vector by item and filename."""
    update_index(
        index,
        np.array([vector for _, vector in wanted.values()]),
        [
            {"item_id": item_id, "filename": filename, "labels": ["l"]}
            for item_id, filename in wanted
        ],
        [content for content, _ in wanted.values()],
    )
    index.save()


def wanted(count, first, changed):
    """Return a catalogue of pictures from `first` on; every third may have changed."""
    catalogue = {}
    for row, known in enumerate(pictures(count, first), first):
        content = bytes([changed and row % 3 == 0, row])
        vector = unit(1, seed=int.from_bytes(content, "big"))[0]
        catalogue[names(known)] = content * 8, vector
    return catalogue


@pytest.mark.long
@pytest.mark.parametrize(
    ("method", "nth", "moment"),
    [
        ("upsert", 2, "during"),
        ("upsert", 4, "before"),
        ("delete", 1, "before"),
        ("delete", 1, "after"),
        ("flush", 1, "during"),
    ],
)
def test_an_update_can_be_repeated_after_the_server_was_killed(
    tmp_path, monkeypatch, method, nth, moment
):
    server = Server(tmp_path / "milvus")
    try:
        before, after = wanted(90, 0, False), wanted(120, 30, True)
        index = MilvusIndex.build(unit(1), pictures(1), MODEL, uri=server.uri)
        update(index, before)
        monkeypatch.setattr(connection_module, "RETRY_SECONDS", 0)
        monkeypatch.setattr(connection_module, "CONNECT_SECONDS", 2)
        monkeypatch.setattr(rows_module, "MESSAGE_ROWS", 20)
        monkeypatch.setattr(collection_module, "MESSAGE_ROWS", 20)
        index = MilvusIndex.open(server.uri)
        call, left = index._collection.connection.call, [nth]

        def deadly(name, *args, **kwargs):
            left[0] -= name == method
            now = name == method and left[0] == 0
            if now and moment == "before":
                server.kill()
            if now and moment == "during":
                threading.Timer(0.002, server.kill).start()
            answer = call(name, *args, **kwargs)
            if now and moment == "after":
                server.kill()
            return answer

        monkeypatch.setattr(index._collection.connection, "call", deadly)
        with pytest.raises(InputError, match="no Milvus server answers") as caught:
            update(index, after)
            server.process.wait()  # killed after the last call
            len(index)
        assert is_one_line(caught) and left[0] <= 0
        server.process.wait()
        server.start()
        monkeypatch.setattr(connection_module, "CONNECT_SECONDS", 30)
        repeated = MilvusIndex.open(server.uri)
        update(repeated, after)
        assert read_all(repeated) == {
            (*name, ("l",), content, vector.tobytes()) for name, (content, vector) in after.items()
        }
        distances, _ = repeated.query(np.array([vector for _, vector in after.values()]), 1)
        np.testing.assert_allclose(distances, 0, atol=1e-6)
    finally:
        server.kill()


@pytest.mark.long
def test_an_update_continues_when_the_server_is_back(tmp_path, monkeypatch):
    server = Server(tmp_path / "milvus")
    try:
        after = wanted(90, 0, False)
        index = MilvusIndex.build(unit(1), pictures(1), MODEL, uri=server.uri)
        monkeypatch.setattr(rows_module, "MESSAGE_ROWS", 20)
        asked = count_calls(index, monkeypatch)
        counted, killed = index._collection.connection.call, []

        def deadly(name, *args, **kwargs):
            if name == "upsert" and asked["upsert"] == 2 and not killed:
                server.kill()
                killed.append(threading.Timer(1, server.start))
                killed[0].start()
            return counted(name, *args, **kwargs)

        monkeypatch.setattr(index._collection.connection, "call", deadly)
        update(index, after)
        assert killed and len(read_all(index)) == len(index) == 90
    finally:
        killed[0].join()
        server.kill()


def test_a_full_disk_is_one_line_and_the_call_can_be_repeated(tmp_path, monkeypatch):
    from milvus_lite.storage.wal import WAL

    index = MilvusIndex.build(unit(5), pictures(5), MODEL, uri=tmp_path / "milvus")

    def full(self, batch):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(WAL, "write_insert", full)
        with pytest.raises(InputError, match="the disk is full") as caught:
            index.add(unit(4), pictures(4, first=50))
        assert is_one_line(caught)
    index.add(unit(4), pictures(4, first=50))
    assert len(index) == 9


def test_a_missing_server_is_one_line(monkeypatch):
    monkeypatch.setattr(connection_module, "CONNECT_SECONDS", 0.5)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        for listens in (False, True):  # no server; a server that never answers
            if listens:
                mute.listen()
            uri = f"http://root:secret@127.0.0.1:{mute.getsockname()[1]}"
            with pytest.raises(InputError, match="no Milvus server answers") as caught:
                MilvusIndex.open(uri)
            assert is_one_line(caught) and "secret" not in str(caught.value)
    with pytest.raises(InputError, match="neither a Milvus Lite folder nor the address"):
        MilvusIndex.open("/no/such/folder")


def test_a_wrong_token_is_one_line(monkeypatch):
    import grpc

    class Keeper(grpc.ServerInterceptor):
        def intercept_service(self, proceed, details):
            def refuse(request, context):
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "auth check failure")

            return grpc.unary_unary_rpc_method_handler(refuse)

    door = grpc.server(futures.ThreadPoolExecutor(2), interceptors=[Keeper()])
    port = door.add_insecure_port("127.0.0.1:0")
    door.start()
    monkeypatch.setenv("MILVUS_TOKEN", "root:wrong")
    with pytest.raises(InputError, match="does not accept the token; set MILVUS_TOKEN") as caught:
        MilvusIndex.open(f"http://127.0.0.1:{port}")
    assert is_one_line(caught) and "wrong" not in str(caught.value)
    door.stop(None)


def test_milvus_is_recognised_by_its_address_or_folder(tmp_path, folder_of_100):
    for uri in ("http://host:19530", "HTTPS://a@b/db", "tcp://host", "unix:/run/milvus"):
        assert is_milvus(uri)
    assert is_milvus(folder_of_100)
    (tmp_path / "LOCK").touch()
    for path in ("search_index.pkl", "http", "ftp://host", tmp_path, tmp_path / "LOCK"):
        assert not is_milvus(path)


def test_recognising_milvus_imports_nothing_of_it():
    script = """
import sys
from siamese.indexes.milvus.index import MilvusIndex
from siamese.indexes.milvus.connection import is_milvus
assert is_milvus("http://host:19530") and not is_milvus("search_index.pkl")
assert not {"grpc", "pymilvus", "milvus_lite"} & set(sys.modules)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
