"""One model, one thread that runs it: what waits meanwhile goes together in the next batch."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future
from itertools import islice, takewhile
from threading import Condition, Thread
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from siamese.server.prometheus import Metrics

if TYPE_CHECKING:
    from siamese.models.facts import ModelFacts

SIZES = (1, 4, 16)
"""Pictures a batch. Few sizes, because Keras compiles a model anew for each."""


class Embeds(Protocol):
    """What the server asks of a model: `siamese.Embedder`, or one that runs elsewhere."""

    @property
    def facts(self) -> ModelFacts: ...

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]: ...


class _Job(NamedTuple):
    embedder: Embeds
    square: NDArray[np.uint8]
    vector: Future[NDArray[np.float32]]
    arrived: float


class Batcher:
    """Embeds pictures in batches of those that wait.

    A picture that comes when nothing is at work is embedded at once: nothing waits for a batch
    to fill. Of n that wait, the largest of `SIZES` that is not more than n goes next.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._waiting: deque[_Job] = deque()
        self._closed = False
        self._changed = Condition()
        self._worker = Thread(target=self._work, name="model", daemon=True)
        self._worker.start()

    @property
    def alive(self) -> bool:
        """Whether the worker is there."""
        return self._worker.is_alive()

    def submit(self, embedder: Embeds, square: NDArray[np.uint8]) -> Future[NDArray[np.float32]]:
        """Queue a square picture, uint8 (s, s, 3); its vector is float32 (d,), of length 1.

        One that is cancelled while it waits is not embedded.
        """
        job = _Job(embedder, square, Future(), time.perf_counter())
        with self._changed:
            if self._closed:
                raise RuntimeError("closed")
            self._waiting.append(job)
            self._changed.notify()
        return job.vector

    def close(self) -> None:
        """Embed what waits, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join()

    def _work(self) -> None:
        while jobs := self._next():
            jobs = [job for job in jobs if job.vector.set_running_or_notify_cancel()]
            if jobs:
                self._embed(jobs)

    def _next(self) -> list[_Job]:
        """Wait for a batch, all for the same model; an empty one says that it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return []
            first = self._waiting[0].embedder
            alike = takewhile(lambda job: job.embedder is first, self._waiting)
            count = sum(1 for _ in islice(alike, SIZES[-1]))
            size = max(size for size in SIZES if size <= count)
            return [self._waiting.popleft() for _ in range(size)]

    def _embed(self, jobs: list[_Job]) -> None:
        started = time.perf_counter()
        for job in jobs:
            self._metrics.queue_seconds.observe(started - job.arrived)
        try:
            vectors = embed(jobs[0].embedder, [job.square for job in jobs])
            answers = list(zip(jobs, vectors, strict=True))
        except BaseException as error:  # whatever it is, those who wait must hear of it
            for job in jobs:
                job.vector.set_exception(error)
            return
        self._metrics.embed_seconds.observe(time.perf_counter() - started)
        self._metrics.batch_size.observe(len(jobs))
        for job, vector in answers:
            job.vector.set_result(vector)


def embed(embedder: Embeds, squares: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Embed a batch, padded with its last picture to one of `SIZES`: one may be cancelled."""
    size = min(size for size in SIZES if size >= len(squares))
    padded = [*squares, *squares[-1:] * (size - len(squares))]
    return embedder.embed_squares(np.stack(padded))[: len(squares)]


def warm_up(embedder: Embeds) -> None:
    """Embed a white picture in batches of every size, so that no request waits for Keras."""
    side = embedder.facts.picture_size
    for size in SIZES:
        embedder.embed_squares(np.full((size, side, side, 3), 255, np.uint8))
