"""A server in a process of its own, with the colours as its model so that it starts quickly."""

from __future__ import annotations

import os
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from siamese.indexes import open_index
from siamese.search.searcher import Searcher
from siamese.server.run import bind_socket, format_url, serve
from siamese.server.service import Service
from siamese.server.settings import Settings
from tests.server.conftest import Colours


class SlowColours(Colours):
    """Takes some time, so that requests are being handled whenever something happens."""

    def embed_squares(self, squares):
        time.sleep(0.02)
        return super().embed_squares(squares)


def main(folder: Path, drain_seconds: float, connection: Connection) -> None:
    """Serve the index in a folder, write the log there, and send the URL through a connection."""
    with (folder / "log").open("w") as log:
        os.dup2(log.fileno(), 2)
    index, embedder = folder / "search_index.pkl", SlowColours()
    settings = Settings(image_dir=folder / "photos", watch_seconds=0.1, drain_seconds=drain_seconds)
    listener = bind_socket("127.0.0.1", 0)
    service = Service(lambda _: Searcher(embedder, open_index(index)), index, settings)
    connection.send(format_url(listener))
    sys.exit(serve(service, listener))
