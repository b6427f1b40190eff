"""The index that is served, and the next one in its place, without a request lost between them."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from siamese.indexes.folder import MANIFEST
from siamese.search import Searcher
from siamese.server.batching import warm_up
from siamese.server.classifier import warm_up_classifier
from siamese.server.logs import log
from siamese.server.metrics import Metrics

KEPT_NAMES = 4096
LONGEST_NAME = 4096
"""No system has longer ones. What is asked for is remembered, so that it must not be endless."""

Load = Callable[[Searcher | None], Searcher]
"""Opens the index anew; is given the searcher before it, whose model it may go on using."""


class Generation:
    """An index with its model, as they were opened together.

    A request takes one when it comes and asks nothing of another: its answer is never a mixture.

    Attributes
    ----------
    version : the same for the same file or folder, also in another process
    """

    def __init__(self, searcher: Searcher, version: str) -> None:
        self.searcher = searcher
        self.version = version
        find = searcher.index.find
        # Pages ask for the same pictures again and again, and to find one may take a walk.
        self._known: Callable[[str], bool] = lru_cache(KEPT_NAMES)(
            lambda filename: len(find(filename=filename)) > 0
        )

    def has(self, filename: str) -> bool:
        """Whether a file is in the index, by its filename."""
        return len(filename) <= LONGEST_NAME and self._known(filename)


class Generations:
    """Opens an index, and opens it again when it has been replaced.

    Parameters
    ----------
    load : see `Load`
    path : what to look at for changes; anything else than a file or a folder never changes
    """

    def __init__(self, load: Load, path: str | os.PathLike[str], metrics: Metrics) -> None:
        self._load = load
        self._path = Path(path)
        self._metrics = metrics
        self._reloading = threading.Lock()
        self._seen = state_of(self._path)
        self.current = self._open(None)

    @property
    def changed(self) -> bool:
        """Whether the index is another than when it was last opened, or tried to be."""
        state = state_of(self._path)
        return state is not None and state != self._seen

    def reload(self) -> bool:
        """Open the index again and serve it from now on; a broken one leaves all as it was.

        Returns
        -------
        Whether the new one is served.
        """
        with self._reloading:
            self._seen = state_of(self._path)
            try:
                self.current = self._open(self.current.searcher)
            except Exception as error:  # whatever is wrong with the new one: the old one serves
                self._metrics.reloads.labels("failed").inc()
                log(
                    "index not reloaded",
                    logging.ERROR,
                    index=str(self._path),
                    reason=str(error),
                    still_served=self.current.version,
                )
                return False
            self._metrics.reloads.labels("done").inc()
            log(
                "index reloaded",
                index=str(self._path),
                version=self.current.version,
                pictures=len(self.current.searcher.index),
            )
            return True

    def _open(self, before: Searcher | None) -> Generation:
        searcher = self._load(before)
        if before is None or searcher.embedder is not before.embedder:
            warm_up(searcher.embedder)
            warm_up_classifier(searcher.embedder.facts)
        self._metrics.pictures.set(len(searcher.index))
        self._metrics.loaded.set(time.time())
        return Generation(searcher, version_of(self._seen, searcher))


State = tuple[int, int, int]


def state_of(path: Path) -> State | None:
    """Inode, size and time of the file, or of the manifest that a folder's writer replaces last.

    None where there is neither: it is being replaced just now, or is a collection of Milvus,
    whose changes are seen without opening it again.
    """
    try:
        of = (path / MANIFEST if path.is_dir() else path).stat()
    except OSError:
        return None
    return of.st_ino, of.st_size, of.st_mtime_ns


def version_of(state: State | None, searcher: Searcher) -> str:
    """A name for an index: 12 hexadecimal digits of its size and time, its model, its pictures.

    Not of its inode: two servers with copies of one file (`cp -p`) name it alike.
    """
    told = repr((state and state[1:], searcher.embedder.facts.fingerprint, len(searcher.index)))
    return hashlib.blake2b(told.encode(), digest_size=6).hexdigest()
