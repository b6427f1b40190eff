"""The index that is served, and the next one in its place, without a request lost between them."""

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

KEPT_NAMES = 4096
LONGEST_NAME = 4096
"""No system has longer ones. What is asked for is remembered, so that it must not be endless."""

FRESH_SECONDS = 10.0
"""How old may be what is known of an index that changes in place."""

FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 5.0, 300.0
"""How long after a failure to try again; from one to the next twice as long."""

Load = Callable[[Searcher | None], Searcher]
"""Opens the index anew; is given the searcher before it, whose model it may go on using."""


class IndexVersion:
    """An index with its model, as they were opened together.

    A request takes one when it comes and asks nothing of another: its answer is never a mixture.

    Parameters
    ----------
    changes_in_place : whether other processes add and remove pictures

    Attributes
    ----------
    version : the same for the same file, folder or collection, also in another process
    pictures : how many there are, as of the last `count`
    gone : whether the index is not there any more, but another in its place, of another model
        perhaps: only of one that changes in place, as any other is held in memory
    """

    def __init__(self, searcher: Searcher, version: str, changes_in_place: bool = False) -> None:
        self.searcher = searcher
        self.version = version
        self.changes_in_place = changes_in_place
        self.gone = False
        find = searcher.index.find
        # Pages ask for the same pictures again and again, and to find one may take a walk.
        self._known: Callable[[str, int], bool] = lru_cache(KEPT_NAMES)(
            lambda filename, period: len(find(filename=filename)) > 0
        )
        self.count()

    def count(self) -> None:
        """Count the pictures: of some engines, a question to a server."""
        self.pictures = len(self.searcher.index)
        self.counted = time.monotonic()

    def has(self, filename: str) -> bool:
        """Whether a file is in the index, by its filename."""
        period = int(time.monotonic() / FRESH_SECONDS) if self.changes_in_place else 0
        return len(filename) <= LONGEST_NAME and self._known(filename, period)


class IndexVersions:
    """Opens an index, and opens it again when it has been replaced.

    Parameters
    ----------
    load : see `Load`
    place, collection : what it opens, to look for changes
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
        self._wait = FIRST_RETRY_SECONDS
        self._retry_at = math.inf
        self._seen = self._watch.state()
        self.current = self._open(None)

    def keep_up(self) -> None:
        """Open the index again if it has been replaced; count it again if it changes in place."""
        state = self._watch.state()
        if state is None:  # nothing to be opened, nobody to be asked
            return
        now = time.monotonic()
        if state != self._seen or now >= self._retry_at:
            self.reload()
        elif self.current.changes_in_place and now - self.current.counted >= FRESH_SECONDS:
            with contextlib.suppress(InputError):
                self.current.count()
            self._metrics.pictures.set(self.current.pictures)

    def reload(self) -> bool:
        """Open the index again and serve it from now on; a broken one leaves all as it was.

        Returns
        -------
        Whether the new one is served.
        """
        with self._reloading:
            state = self._watch.state()
            if state != self._seen:
                self._seen, self._wait = state, FIRST_RETRY_SECONDS
                self.current.gone = state is not None and self.current.changes_in_place
            try:
                self.current = self._open(self.current.searcher)
            except Exception as error:  # whatever is wrong with the new one: the old one serves
                self._metrics.reloads.labels("failed").inc()
                self._retry_at = time.monotonic() + self._wait
                log(
                    "index not reloaded",
                    logging.ERROR,
                    index=self._place,
                    reason=str(error),
                    still_served=self.current.version,
                    next_try_in_seconds=self._wait,
                )
                self._wait = min(2 * self._wait, LAST_RETRY_SECONDS)
                return False
            self._retry_at, self._wait = math.inf, FIRST_RETRY_SECONDS
            self._metrics.reloads.labels("done").inc()
            log(
                "index reloaded",
                index=self._place,
                version=self.current.version,
                pictures=self.current.pictures,
            )
            return True

    def _open(self, before: Searcher | None) -> IndexVersion:
        searcher = self._load(before)
        if before is None or searcher.embedder is not before.embedder:
            warm_up(searcher.embedder)
            warm_up_classifier(searcher.embedder.facts)
        version = version_of(self._seen, searcher)
        generation = IndexVersion(searcher, version, self._watch.changes_in_place)
        self._metrics.pictures.set(generation.pictures)
        self._metrics.loaded.set(time.time())
        return generation


def version_of(state: State | None, searcher: Searcher) -> str:
    """A name for an index: 12 hexadecimal digits of its size and time, or of its collection.

    And of its model, but not of its inode: two servers with copies of one file (`cp -p`) name it
    alike.
    """
    told = repr((state and state[1:], searcher.embedder.facts.fingerprint))
    return hashlib.blake2b(told.encode(), digest_size=6).hexdigest()
