"""Handle requests: decode uploads in threads, embed them in batches, search the index."""

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
"""Threads in addition to one per core, because they may wait for Milvus."""

T = TypeVar("T")


class Service:
    """Everything that the routes of one server share; for the arguments, see `IndexVersions`."""

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
        """Whether requests are welcome; False once the server is stopping."""
        # Decoding more pictures at once than there are cores would only take more memory.
        self._decoding = ThreadPoolExecutor(count_cores(), "decode")
        self._pool = ThreadPoolExecutor(count_cores() + WAITING_THREADS, "work")

    @property
    def current(self) -> IndexVersion:
        """Version of the index for new requests."""
        return self.versions.current

    async def in_pool(self, work: Callable[..., T], *args: Any) -> T:
        """Call a function, which may wait, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    async def embed(
        self, version: IndexVersion, contents: Sequence[bytes], crop: Crop | None = None
    ) -> NDArray[np.float32]:
        """Return the vector, shape (d,), of one thing that one or several pictures show."""
        embedder = version.searcher.embedder

        def submit(content: bytes) -> Future[NDArray[np.float32]]:
            started = time.perf_counter()
            limits = self.settings.limits
            square = decode_upload(content, embedder.facts.picture_size, limits, crop)
            self.metrics.decode_seconds.observe(time.perf_counter() - started)
            # Submitted from this thread, because the event loop may be busy.
            return self.batcher.submit(embedder, square)

        async def embed_one(content: bytes) -> NDArray[np.float32]:
            loop = asyncio.get_running_loop()
            return await asyncio.wrap_future(
                await loop.run_in_executor(self._decoding, submit, content)
            )

        vectors = await asyncio.gather(*map(embed_one, contents))
        return mean_vector(np.stack(vectors), "image")

    async def search(self, version: IndexVersion, search: Callable[[Searcher], T]) -> T:
        """Search a version in a thread, and again if a picture was removed during the search."""
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
        """Stop the threads once they have finished their work."""
        self.batcher.close()
        self._decoding.shutdown()
        self._pool.shutdown()
