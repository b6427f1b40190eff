"""Fixtures of remote pictures: a real HTTP server, and a filesystem in memory."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import fsspec
import pytest

from siamese.data import remote_requests
from siamese.data.remote_files import get_remote_folder
from siamese.embedding.embedder import Embedder


class BusyServer(ThreadingHTTPServer):
    request_queue_size = 128  # with the default of 5, further clients wait for a second


class Server:
    """HTTP server of a folder, which counts requests and fails on demand.

    Attributes
    ----------
    requests : Counter
        Number of requests by method and filename.
    sends_versions : bool
        Whether it sends ETag and Last-Modified.
    failures : dict
        Statuses to answer next, by filename.
    truncated : set
        Filenames of which it sends only half.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: Counter[tuple[str, str]] = Counter()
        self.sends_versions = True
        self.failures: dict[str, list[int]] = {}
        self.truncated: set[str] = set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(with_body=False)

            def do_GET(self) -> None:
                self.answer(with_body=True)

            def answer(self, *, with_body: bool) -> None:
                name = unquote(self.path).lstrip("/")
                server.requests[self.command, name] += 1
                if server.failures.get(name):
                    self.send_error(server.failures[name].pop(0))
                    return
                path = server.folder / name
                if not path.is_file():
                    self.send_error(404)
                    return
                data = path.read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                if server.sends_versions:
                    self.send_header("Last-Modified", formatdate(path.stat().st_mtime, usegmt=True))
                    self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
                self.end_headers()
                if with_body:
                    self.wfile.write(data[: len(data) // 2] if name in server.truncated else data)

            def log_message(self, *_: object) -> None:
                pass

        self._http = BusyServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def downloads(self) -> int:
        """Number of GET requests."""
        return sum(count for (method, _), count in self.requests.items() if method == "GET")

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def no_retry_delays(monkeypatch):
    monkeypatch.setattr(remote_requests, "RETRY_DELAYS", (0.0, 0.0))


@pytest.fixture
def photos(catalogue, tmp_path):
    """Return a copy of the catalogue's folder, some of whose filenames a URL must quote."""
    folder = tmp_path / "photos"
    shutil.copytree(catalogue.image_dir, folder)
    items = json.loads((folder / "items.json").read_text())
    images = next(iter(items.values()))["images"]
    for image, name in zip(images, ["50% off #1?.png", "ä ö+&.png"], strict=False):
        (folder / image["filename"]).rename(folder / name)
        image["filename"] = name
    (folder / "items.json").write_text(json.dumps(items))
    return folder


@pytest.fixture
def server(photos, no_retry_delays):
    """Return an HTTP server of the folder."""
    pytest.importorskip("aiohttp")
    server = Server(photos)
    yield server
    server.close()


@pytest.fixture
def in_memory(photos):
    """Return a filesystem in memory with the folder at `memory://photos`."""
    filesystem = fsspec.filesystem("memory")
    for path in photos.rglob("*"):
        if path.is_file():
            filesystem.pipe_file(
                f"/photos/{path.relative_to(photos).as_posix()}", path.read_bytes()
            )
    get_remote_folder.cache_clear()
    yield filesystem
    filesystem.store.clear()
    get_remote_folder.cache_clear()


@pytest.fixture(scope="session")
def embedder(checkpoint):
    """Return an embedder of an untrained network."""
    return Embedder.load(checkpoint)


@pytest.fixture(params=["http", "memory"])
def url(request):
    """Return the URL of the folder."""
    if request.param == "http":
        return request.getfixturevalue("server").url
    request.getfixturevalue("in_memory")
    return "memory://photos"
