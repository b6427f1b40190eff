"""Serve an index, and open its next version without losing a request in between."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from functools import lru_cache

from siamese.errors import InputError
from siamese.indexes import COLLECTION
from siamese.indexes.backend import State
from siamese.indexes.watch import Watch
from siamese.search.searcher import Searcher
from siamese.server.batching import warm_up
from siamese.server.legacy_classifier import warm_up_classifier
from siamese.server.logs import log
from siamese.server.prometheus import Metrics

CACHED_FILENAMES = 4096
LONGEST_FILENAME = 4096
"""No file system has longer names. Without a limit, requests could fill the cache's memory."""

FRESH_SECONDS = 10.0
"""How long to cache the number and names of pictures if the index changes in place."""

FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 5.0, 300.0
"""Delays after a failed reload: doubled each time, from the first to the last."""

Load = Callable[[Searcher | None], Searcher]
"""Opens the index. Its argument is the previous searcher, whose model may be reused."""


class IndexVersion:
    """One version of the index, with the model that it was opened with.

    Each request uses a single version, so an answer is never a mixture of two.
    """

    def __init__(self, searcher: Searcher, id: str, changes_in_place: bool = False) -> None:
        self.searcher = searcher
        self.id = id
        """The same in every process for the same file, folder or collection."""
        self.changes_in_place = changes_in_place
        """Whether other processes can add and remove pictures while it is open."""
        self.is_replaced = False
        """Whether another index has taken its place, perhaps of another model.

        Set only if it `changes_in_place`, because the others are in memory and still searchable.
        """
        find = searcher.index.find
        # Pages request the same pictures repeatedly, and a look-up can be slow.
        self._has_picture: Callable[[str, int], bool] = lru_cache(CACHED_FILENAMES)(
            lambda filename, period: len(find(filename=filename)) > 0
        )
        self.count()

    def count(self) -> None:
        """Count the pictures; with Milvus, this is a request to its server."""
        self.pictures = len(self.searcher.index)
        self.counted_at = time.monotonic()

    def has_picture(self, filename: str) -> bool:
        """Return whether the index has a picture of this filename."""
        period = int(time.monotonic() / FRESH_SECONDS) if self.changes_in_place else 0
        return len(filename) <= LONGEST_FILENAME and self._has_picture(filename, period)


class IndexVersions:
    """Open an index, and open it again when it is replaced.

    `place` is the file, folder or address of the index, to watch for changes, and `collection` its
    collection in Milvus. `current` is the version for new requests.
    """

    def __init__(
        self,
        load: Load,
        place: str | os.PathLike[str],
        metrics: Metrics,
        collection: str = COLLECTION,
    ) -> None:
        self._load = load
        self._place = os.fspath(place)
        self._metrics = metrics
        self._reloading = threading.Lock()
        self._watch = Watch(place, collection)
        self._delay = FIRST_RETRY_SECONDS
        self._retry_at = math.inf
        self._last_state = self._watch.state()
        self.current = self._open(None)

    def refresh(self) -> None:
        """Reload the index if it was replaced; count it again if it changes in place."""
        state = self._watch.state()
        if state is None:  # there is no index, or its server does not answer
            return
        now = time.monotonic()
        if state != self._last_state or now >= self._retry_at:
            self.reload()
        elif self.current.changes_in_place and now - self.current.counted_at >= FRESH_SECONDS:
            with contextlib.suppress(InputError):
                self.current.count()
            self._metrics.pictures.set(self.current.pictures)

    def reload(self) -> None:
        """Open the index again and serve it; if that fails, keep serving the current version."""
        with self._reloading:
            state = self._watch.state()
            if state != self._last_state:
                self._last_state, self._delay = state, FIRST_RETRY_SECONDS
                self.current.is_replaced = state is not None and self.current.changes_in_place
            try:
                self.current = self._open(self.current.searcher)
            except Exception as error:  # any fault of the new index
                self._metrics.reloads.labels("failed").inc()
                self._retry_at = time.monotonic() + self._delay
                log(
                    "index not reloaded",
                    logging.ERROR,
                    index=self._place,
                    reason=str(error),
                    still_served=self.current.id,
                    next_try_in_seconds=self._delay,
                )
                self._delay = min(2 * self._delay, LAST_RETRY_SECONDS)
                return
            self._retry_at, self._delay = math.inf, FIRST_RETRY_SECONDS
            self._metrics.reloads.labels("done").inc()
            log(
                "index reloaded",
                index=self._place,
                version=self.current.id,
                pictures=self.current.pictures,
            )

    def _open(self, previous: Searcher | None) -> IndexVersion:
        searcher = self._load(previous)
        if previous is None or searcher.embedder is not previous.embedder:
            warm_up(searcher.embedder)
            warm_up_classifier(searcher.embedder.facts)
        version = IndexVersion(
            searcher, _version_id(self._last_state, searcher), self._watch.changes_in_place
        )
        self._metrics.pictures.set(version.pictures)
        self._metrics.loaded.set(time.time())
        return version


def _version_id(state: State | None, searcher: Searcher) -> str:
    """Return 12 hexadecimal digits that identify the index's file or collection and its model.

    They include a file's size and time but not its inode, so that two servers with copies of one
    file (`cp -p`) agree.
    """
    identity = repr((state and state[1:], searcher.embedder.facts.fingerprint))
    return hashlib.blake2b(identity.encode(), digest_size=6).hexdigest()
