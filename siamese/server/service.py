"""What a request asks for, done: decoded in threads, embedded in batches, searched."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from siamese.errors import GoneError
from siamese.indexes import COLLECTION
from siamese.search.searcher import QueryResult, SearchOptions, mean_vector
from siamese.server.batching import Batcher
from siamese.server.errors import ApiError
from siamese.server.gallery import Gallery
from siamese.server.index_versions import IndexVersion, IndexVersions, Load
from siamese.server.prometheus import Metrics
from siamese.server.settings import Settings
from siamese.server.uploads import Crop, decode_upload
from siamese.utils.threads import count_cores

WAITING_THREADS = 16
"""Beside those that decode: they ask the index, which may be a server that takes its time."""

T = TypeVar("T")


class Service:
    """Everything that one server has, and the ways through it.

    Parameters
    ----------
    load : opens the index, with its model
    place, collection : of the index, to watch for changes

    Attributes
    ----------
    ready : whether requests are welcome; not any more once the server is told to stop
    """

    def __init__(
        self,
        load: Load,
        place: str | os.PathLike[str],
        settings: Settings,
        collection: str = COLLECTION,
    ) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.gallery = Gallery(settings.image_dir)
        self.generations = IndexVersions(load, place, self.metrics, collection)
        self.batcher = Batcher(self.metrics)
        self.ready = True
        # To decode more pictures at once than there are cores would only take more memory.
        self._decoding = ThreadPoolExecutor(count_cores(), "decode")
        self._pool = ThreadPoolExecutor(count_cores() + WAITING_THREADS, "work")

    @property
    def current(self) -> IndexVersion:
        """The index that new requests take."""
        return self.generations.current

    async def in_pool(self, work: Callable[..., T], *args: Any) -> T:
        """Do work in a thread that may wait."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    async def embed(
        self, generation: IndexVersion, contents: Sequence[bytes], crop: Crop | None = None
    ) -> NDArray[np.float32]:
        """Embed one thing, by one picture of it or by the mean of several.

        Returns
        -------
        float32 (d,), of length 1

        Raises
        ------
        Refusal
            For a picture that cannot be used; see `decode_upload`.
        InputError
            See `siamese.search.searcher.mean_vector`.
        """
        embedder = generation.searcher.embedder

        def submit(content: bytes) -> Future[NDArray[np.float32]]:
            started = time.perf_counter()
            limits = self.settings.limits
            square = decode_upload(content, embedder.facts.picture_size, limits, crop)
            self.metrics.decode_seconds.observe(time.perf_counter() - started)
            # From here, not by way of the event loop, which may be at something else just now.
            return self.batcher.submit(embedder, square)

        async def embed_one(content: bytes) -> NDArray[np.float32]:
            loop = asyncio.get_running_loop()
            return await asyncio.wrap_future(
                await loop.run_in_executor(self._decoding, submit, content)
            )

        vectors = await asyncio.gather(*map(embed_one, contents))
        return mean_vector(np.stack(vectors), "image")

    async def search(
        self,
        generation: IndexVersion,
        vector: NDArray[np.floating[Any]],
        k: int,
        options: SearchOptions,
    ) -> QueryResult:
        """Search by a vector, see `Searcher.search_vectors`.

        Raises
        ------
        ApiError
            503 while another index is in the place of this one, and not opened yet.
        """
        searcher = generation.searcher
        return await self._search(
            generation, lambda: searcher.search_vectors(vector[None], k, **options)[0]
        )

    async def search_similar(
        self,
        generation: IndexVersion,
        picture: str,
        k: int,
        exclude_own_item: bool,
        options: SearchOptions,
    ) -> QueryResult:
        """Search by a picture of the index, see `Searcher.search_similar`.

        Raises
        ------
        ApiError
            See `search`.
        """
        searcher = generation.searcher
        return await self._search(
            generation,
            lambda: searcher.search_similar(
                picture, k, exclude_own_item=exclude_own_item, **options
            ),
        )

    async def _search(
        self, generation: IndexVersion, search: Callable[[], QueryResult]
    ) -> QueryResult:
        """Search in a thread; once more if a picture was removed meanwhile."""
        if generation.gone:
            raise ApiError(503, "the index was made anew, and is being opened")

        def timed() -> QueryResult:
            with self.metrics.search_seconds.time():
                return search()

        try:
            return await self.in_pool(timed)
        except GoneError:
            return await self.in_pool(timed)

    def close(self) -> None:
        """End the threads, when nothing is asked any more."""
        self.batcher.close()
        self._decoding.shutdown()
        self._pool.shutdown()
