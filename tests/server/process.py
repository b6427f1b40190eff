"""A server in a process of its own, with the colours for a model: no Keras, so it starts at once.

python -m tests.server.process FOLDER [DRAIN_SECONDS]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from siamese.indexes import open_index
from siamese.search.searcher import Searcher
from siamese.server.run import bind_socket, format_url, serve
from siamese.server.service import Service
from siamese.server.settings import Settings
from tests.server.conftest import Colours


class Working(Colours):
    """Takes its time, so that requests are on their way whenever something happens."""

    def embed_squares(self, squares):
        time.sleep(0.02)
        return super().embed_squares(squares)


def main() -> None:
    folder, drain = Path(sys.argv[1]), float(sys.argv[2])
    index, embedder = folder / "search_index.pkl", Working()
    settings = Settings(image_dir=folder / "photos", watch_seconds=0.1, drain_seconds=drain)
    listener = bind_socket("127.0.0.1", 0)
    service = Service(lambda _: Searcher(embedder, open_index(index)), index, settings)
    print(format_url(listener), flush=True)
    sys.exit(serve(service, listener))


if __name__ == "__main__":
    main()
