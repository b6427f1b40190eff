"""Small Milvus indexes, in a Milvus Lite folder or on a server of Milvus Lite."""

from __future__ import annotations

import importlib.util
import signal
import socket
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

from siamese.indexes.milvus.index import MilvusIndex
from siamese.models.facts import ModelFacts

if importlib.util.find_spec("milvus_lite") is None:  # as on Windows
    collect_ignore_glob = ["test_*.py"]

MODEL = ModelFacts("a model", "0123abcd", 8, 32, None)


def unit(count, size=8, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def pictures(count, first=0):
    return [
        {"item_id": f"item {row // 3}", "filename": f"ü/{row}.jpg", "labels": [f"l{row % 4}"]}
        for row in range(first, first + count)
    ]


def contents(count, seed=0):
    return [bytes([seed, row % 256]) * 8 for row in range(count)]


def is_one_line(error):
    return len(error.value.lines) == 1 and str(error.value).isprintable()


class Server:
    """Milvus Lite as a process of its own, which can be killed and started again."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        command = ["server", "--data-dir", self.folder, "--host", "127.0.0.1"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "milvus_lite", *command, "--port", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while True:
            assert self.process.poll() is None, "the server did not start"
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", self.port)):
                    return
            time.sleep(0.05)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("server") / "milvus")
    yield running
    running.kill()


@pytest.fixture(params=["folder", pytest.param("server", marks=pytest.mark.long)])
def uri(request, tmp_path):
    """Return where a Milvus is: a folder of its own, or a server with others in it."""
    if request.param == "folder":
        return str(tmp_path / "milvus")
    return request.getfixturevalue("server").uri


def read_all(index):
    """What is in an index, as a value to compare."""
    entries = list(index.entries())
    vectors = index.vectors([entry.row for entry in entries])
    return {
        (*names(entry.metadata), tuple(entry.metadata["labels"]), entry.content, vector.tobytes())
        for entry, vector in zip(entries, vectors, strict=True)
    }


def names(metadata):
    return metadata["item_id"], metadata["filename"]


def count_calls(index, monkeypatch):
    asked = Counter()
    call = index._collection.connection.call

    def counted(method, *args, **kwargs):
        asked[method] += 1
        return call(method, *args, **kwargs)

    monkeypatch.setattr(index._collection.connection, "call", counted)
    return asked


@pytest.fixture(scope="session")
def folder_of_100(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "milvus"
    MilvusIndex.build(unit(100), pictures(100), MODEL, uri=folder)
    return folder
