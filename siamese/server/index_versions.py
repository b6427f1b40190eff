"""Versions of a served index, replaced without losing a request."""

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
"""Longest filename to look up: file systems allow none longer, and the cache must stay small."""

FRESH_SECONDS = 10.0
"""How long to cache the picture count and filenames of an index that changes in place."""

FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 5.0, 300.0
"""Delay before retrying a failed reload: the first, doubled with each failure up to the last."""

Load = Callable[[Searcher | None], Searcher]
"""Function that opens the index, given the previous searcher (or None) to reuse its model."""


class IndexVersion:
    """Version of the index, with the model it was opened with.

    Each request uses a single version, so a response never mixes two.
    """

    def __init__(self, searcher: Searcher, id: str, changes_in_place: bool = False) -> None:
        self.searcher = searcher
        self.id = id
        """Identifier, equal in all servers that serve the same index and model."""
        self.changes_in_place = changes_in_place
        """Whether other processes can add and remove pictures while the index is open."""
        self.is_replaced = False
        """Whether another index, perhaps made by another model, has replaced this one.

        Set only if the index `changes_in_place`; other indexes stay searchable once replaced.
        """
        find = searcher.index.find
        # Web pages request the same pictures repeatedly, and a look-up can be slow.
        self._has_picture: Callable[[str, int], bool] = lru_cache(CACHED_FILENAMES)(
            lambda filename, period: len(find(filename=filename)) > 0
        )
        self.count()

    def count(self) -> None:
        """Update the number of pictures; with Milvus, this sends a request."""
        self.pictures = len(self.searcher.index)
        self.counted_at = time.monotonic()

    def has_picture(self, filename: str) -> bool:
        """Return whether the index has a picture with this filename."""
        period = int(time.monotonic() / FRESH_SECONDS) if self.changes_in_place else 0
        return len(filename) <= LONGEST_FILENAME and self._has_picture(filename, period)


class IndexVersions:
    """Current version of an index, reloaded when the index is replaced.

    `load` opens the index at `place`, the file, folder or address to watch for changes, and
    `collection` is its Milvus collection. `current` is the version for new requests.
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
        """Reload a replaced index, retry a failed reload, or update an outdated picture count."""
        state = self._watch.state()
        if state is None:  # the index is missing or Milvus does not respond
            return
        now = time.monotonic()
        if state != self._last_state or now >= self._retry_at:
            self.reload()
        elif self.current.changes_in_place and now - self.current.counted_at >= FRESH_SECONDS:
            with contextlib.suppress(InputError):
                self.current.count()
            self._metrics.pictures.set(self.current.pictures)

    def reload(self) -> None:
        """Reopen the index and serve it; if that fails, keep the current version."""
        with self._reloading:
            state = self._watch.state()
            if state != self._last_state:
                self._last_state, self._delay = state, FIRST_RETRY_SECONDS
                self.current.is_replaced = state is not None and self.current.changes_in_place
            try:
                self.current = self._open(self.current.searcher)
            except Exception as error:  # the new index may fail to open in any way
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
    """Return 12 hexadecimal digits that identify the state of the index and its model.

    They depend on a file's size and modification time but not on its inode, so that servers with
    copies of the same file (`cp -p`) agree.
    """
    identity = repr((state and state[1:], searcher.embedder.facts.fingerprint))
    return hashlib.blake2b(identity.encode(), digest_size=6).hexdigest()
