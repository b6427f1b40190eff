"""Batched embedding of the pictures of concurrent requests, in one thread."""

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

BATCH_SIZES = (1, 4, 16)
"""Allowed batch sizes: only a few, because Keras compiles the model for each."""


class QueryEmbedder(Protocol):
    """Interface of embedders for queries: `siamese.Embedder`, or a client of a model server."""

    @property
    def facts(self) -> ModelFacts: ...

    def embed_squares(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]: ...


class _Job(NamedTuple):
    embedder: QueryEmbedder
    square: NDArray[np.uint8]
    vector: Future[NDArray[np.float32]]
    submitted_at: float


class Batcher:
    """Queue of pictures, with a thread that embeds them in batches.

    If the model is idle, a picture is embedded at once instead of waiting for a batch to fill.
    Otherwise the next batch has the largest of `BATCH_SIZES` that the queued pictures can fill.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._waiting: deque[_Job] = deque()
        self._closed = False
        self._changed = Condition()
        self._worker = Thread(target=self._work, name="model", daemon=True)
        self._worker.start()

    @property
    def is_alive(self) -> bool:
        """Return whether the thread that runs the model is alive."""
        return self._worker.is_alive()

    def submit(
        self, embedder: QueryEmbedder, square: NDArray[np.uint8]
    ) -> Future[NDArray[np.float32]]:
        """Queue a picture of the model's input size; return a future of its vector, shape (d,).

        If the future is cancelled before the picture's batch starts, the picture is not embedded.
        """
        job = _Job(embedder, square, Future(), time.perf_counter())
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            self._waiting.append(job)
            self._changed.notify()
        return job.vector

    def close(self) -> None:
        """Embed the pictures left in the queue, then stop the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join()

    def _work(self) -> None:
        while jobs := self._next_batch():
            jobs = [job for job in jobs if job.vector.set_running_or_notify_cancel()]
            if jobs:
                self._embed(jobs)

    def _next_batch(self) -> list[_Job]:
        """Block until there are jobs, and return a batch for one model; [] if closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return []
            first = self._waiting[0].embedder
            same_model = takewhile(lambda job: job.embedder is first, self._waiting)
            count = sum(1 for _ in islice(same_model, BATCH_SIZES[-1]))
            size = max(size for size in BATCH_SIZES if size <= count)
            return [self._waiting.popleft() for _ in range(size)]

    def _embed(self, jobs: list[_Job]) -> None:
        started = time.perf_counter()
        for job in jobs:
            self._metrics.queue_seconds.observe(started - job.submitted_at)
        try:
            vectors = _embed_padded(jobs[0].embedder, [job.square for job in jobs])
            outcomes = list(zip(jobs, vectors, strict=True))
        except BaseException as error:  # otherwise the requests would wait forever
            for job in jobs:
                job.vector.set_exception(error)
            return
        self._metrics.embed_seconds.observe(time.perf_counter() - started)
        self._metrics.batch_size.observe(len(jobs))
        for job, vector in outcomes:
            job.vector.set_result(vector)


def _embed_padded(embedder: QueryEmbedder, squares: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Embed pictures, repeating the last to fill a batch if some jobs were cancelled."""
    size = min(size for size in BATCH_SIZES if size >= len(squares))
    padded = [*squares, *squares[-1:] * (size - len(squares))]
    return embedder.embed_squares(np.stack(padded))[: len(squares)]


def warm_up(embedder: QueryEmbedder) -> None:
    """Embed a batch of each size, so that no request waits for Keras to compile the model."""
    side = embedder.facts.picture_size
    for size in BATCH_SIZES:
        embedder.embed_squares(np.full((size, side, side, 3), 255, np.uint8))
