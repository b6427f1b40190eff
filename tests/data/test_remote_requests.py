from __future__ import annotations

import threading
import time

import pytest

from siamese.data import remote_files, remote_requests
from siamese.data.catalogue import Catalogue
from siamese.data.remote_files import RemoteFolder, as_folder
from siamese.embedding.embed_catalogue import embed_catalogue, embed_into_store
from siamese.embedding.store import EmbeddingStore
from siamese.errors import InputError, UnavailableError


def test_missing_driver_is_one_line(monkeypatch):
    def missing(url, **_):
        raise ImportError("Install s3fs to access S3", name="s3fs")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(InputError) as raised:
        RemoteFolder("s3://bucket/photos")
    assert raised.value.lines == [
        "s3://bucket/photos: needs s3fs, which is not installed; pip install "
        "'keras-image-similarity-training[remote]'"
    ]


def test_http_uses_the_proxy_of_the_environment(photos, server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(FileNotFoundError):
        (as_folder("http://pictures.invalid/x") / "a.png").read_bytes()
    assert any("pictures.invalid/x/a.png" in name for _, name in server.requests)


def test_missing_and_truncated_pictures_are_skipped(embedder, photos, server, tmp_path):
    catalogue = Catalogue.read(photos / "items.json", server.url)
    gone, cut = catalogue.pictures[3].filename, catalogue.pictures[9].filename
    (photos / gone).unlink()
    server.truncated.add(cut)
    store = EmbeddingStore(tmp_path / "store")
    done = embed_catalogue(embedder, catalogue, store=store)
    reasons = {one.filename: one.reason for one in done.skipped}
    assert reasons.keys() == {gone, cut}
    assert reasons[gone] == "file missing"
    assert reasons[cut].startswith("unreadable (no answer")
    server.truncated.clear()  # a failed transfer is tried again, and only that
    server.requests.clear()
    again = embed_catalogue(embedder, catalogue, store=store)
    assert [one.filename for one in again.skipped] == [gone]
    assert server.requests["GET", cut] == 1 and server.downloads - server.requests["GET", gone] == 1


def test_request_to_a_busy_server_is_repeated(embedder, photos, server):
    catalogue = Catalogue.read(photos / "items.json", server.url)
    for picture, status in zip(catalogue.pictures[:4], (500, 503, 429, 502), strict=True):
        server.failures[picture.filename] = [status] * 4  # HEAD, its GET, and both again
    assert embed_catalogue(embedder, catalogue).skipped == []


def test_refused_request_is_not_repeated(embedder, photos, server):
    catalogue = Catalogue.read(photos / "items.json", server.url)
    name = catalogue.pictures[0].filename
    server.failures[name] = [403] * 100
    (skipped,) = embed_catalogue(embedder, catalogue).skipped
    assert (skipped.filename, skipped.reason) == (name, "unreadable (permission denied)")
    assert sum(count for (_, requested), count in server.requests.items() if requested == name) <= 6


def test_run_ends_if_the_server_never_answers(embedder, photos, server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_requests, "MAX_UNANSWERED", 5)
    server.close()
    catalogue = Catalogue.read(photos / "items.json", server.url)
    with pytest.raises(UnavailableError, match=r"no answer to \d+ consecutive requests"):
        embed_into_store(embedder, EmbeddingStore(tmp_path / "store"), catalogue)


def test_slow_server_is_read_in_many_threads(embedder, photos, server, monkeypatch):
    catalogue = Catalogue.read(photos / "items.json", server.url)
    most, now, lock = 0, 0, threading.Lock()
    read_bytes = remote_files.RemoteFile.read_bytes

    def slow(self):
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return read_bytes(self)

    monkeypatch.setattr(remote_files.RemoteFile, "read_bytes", slow)
    embed_catalogue(embedder, catalogue)
    assert most > 8
