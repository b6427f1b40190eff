"""Service behind the routes, which decodes uploads, embeds them in batches and searches."""

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
from siamese.search.searcher import Searcher, mean_vector
from siamese.server.batching import Batcher
from siamese.server.errors import ApiError
from siamese.server.gallery import Gallery
from siamese.server.index_versions import IndexVersion, IndexVersions, Load
from siamese.server.prometheus import Metrics
from siamese.server.settings import Settings
from siamese.server.uploads import Crop, decode_upload
from siamese.utils.threads import count_cores

WAITING_THREADS = 16
"""Number of worker threads beyond one per core, since some may be blocked on Milvus."""

T = TypeVar("T")


class Service:
    """State shared by a server's routes; for the arguments, see `Settings` and `IndexVersions`."""

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
        self.versions = IndexVersions(load, place, self.metrics, collection)
        self.batcher = Batcher(self.metrics)
        self.ready = True
        """Whether the server reports itself ready for requests; False once it is shutting down."""
        # More decoding threads than cores would only use more memory.
        self._decoding = ThreadPoolExecutor(count_cores(), "decode")
        self._pool = ThreadPoolExecutor(count_cores() + WAITING_THREADS, "work")

    @property
    def current(self) -> IndexVersion:
        """Return the version of the index for new requests."""
        return self.versions.current

    async def in_pool(self, work: Callable[..., T], *args: Any) -> T:
        """Run a possibly blocking function in the worker thread pool and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    async def embed(
        self, version: IndexVersion, contents: Sequence[bytes], crop: Crop | None = None
    ) -> NDArray[np.float32]:
        """Embed one or more pictures of the same object and return their mean vector (d,)."""
        embedder = version.searcher.embedder

        def submit(content: bytes) -> Future[NDArray[np.float32]]:
            started = time.perf_counter()
            limits = self.settings.limits
            square = decode_upload(content, embedder.facts.picture_size, limits, crop)
            self.metrics.decode_seconds.observe(time.perf_counter() - started)
            # Submit from this thread rather than from the event loop, which may be busy.
            return self.batcher.submit(embedder, square)

        async def embed_one(content: bytes) -> NDArray[np.float32]:
            loop = asyncio.get_running_loop()
            return await asyncio.wrap_future(
                await loop.run_in_executor(self._decoding, submit, content)
            )

        vectors = await asyncio.gather(*map(embed_one, contents))
        return mean_vector(np.stack(vectors), "image")

    async def search(self, version: IndexVersion, search: Callable[[Searcher], T]) -> T:
        """Search a version in the worker pool, retrying once on a GoneError."""
        if version.is_replaced:
            raise ApiError(503, "the index was replaced, and the new one is being opened")

        def timed() -> T:
            with self.metrics.search_seconds.time():
                return search(version.searcher)

        try:
            return await self.in_pool(timed)
        except GoneError:
            return await self.in_pool(timed)

    def close(self) -> None:
        """Finish all submitted work, then stop the threads."""
        self.batcher.close()
        self._decoding.shutdown()
        self._pool.shutdown()
