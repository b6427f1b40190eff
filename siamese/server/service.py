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
"""Threads in addition to one per core, because Milvus may take its time to answer."""

T = TypeVar("T")


class Service:
    """Everything that the routes of one server share.

    Parameters
    ----------
    load : Load
        Opens the index with its model.
    place : str or path
        File, folder or address of the index, to watch for changes.
    settings : Settings
    collection : str, default=COLLECTION
        Collection of the index, if it is in Milvus.

    Attributes
    ----------
    ready : bool
        Whether requests are welcome; False once the server is stopping.
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
        self.versions = IndexVersions(load, place, self.metrics, collection)
        self.batcher = Batcher(self.metrics)
        self.ready = True
        # Decoding more pictures at once than there are cores would only take more memory.
        self._decoding = ThreadPoolExecutor(count_cores(), "decode")
        self._pool = ThreadPoolExecutor(count_cores() + WAITING_THREADS, "work")

    @property
    def current(self) -> IndexVersion:
        """Version of the index for new requests."""
        return self.versions.current

    async def in_pool(self, work: Callable[..., T], *args: Any) -> T:
        """Run a function in a thread that may wait.

        Parameters
        ----------
        work : callable
        *args
            Arguments of `work`.

        Returns
        -------
        object
            What `work` returns.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    async def embed(
        self, version: IndexVersion, contents: Sequence[bytes], crop: Crop | None = None
    ) -> NDArray[np.float32]:
        """Embed one thing, shown by one or several pictures.

        Parameters
        ----------
        version : IndexVersion
            Its model embeds the pictures.
        contents : sequence of bytes
            Picture files.
        crop : Crop, optional
            Part of the picture to embed.

        Returns
        -------
        ndarray of float32, shape (d,)
            Vector of length 1, the mean if there are several pictures.

        Raises
        ------
        ApiError
            If a picture cannot be used; see `decode_upload`.
        InputError
            See `siamese.search.searcher.mean_vector`.
        """
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

    async def search(
        self,
        version: IndexVersion,
        vector: NDArray[np.floating[Any]],
        k: int,
        options: SearchOptions,
    ) -> QueryResult:
        """Search by a vector, see `Searcher.search_vectors`.

        Parameters
        ----------
        version : IndexVersion
        vector : ndarray of float, shape (d,)
            Vector of length 1.
        k : int
            Number of results.
        options : SearchOptions

        Returns
        -------
        QueryResult

        Raises
        ------
        ApiError
            503 if another index has replaced this version and is not open yet.
        """
        searcher = version.searcher
        return await self._search(
            version, lambda: searcher.search_vectors(vector[None], k, **options)[0]
        )

    async def search_similar(
        self,
        version: IndexVersion,
        picture: str,
        k: int,
        exclude_own_item: bool,
        options: SearchOptions,
    ) -> QueryResult:
        """Search by a picture of the index, see `Searcher.search_similar`.

        Parameters
        ----------
        version : IndexVersion
        picture : str
            Filename or row.
        k : int
            Number of results.
        exclude_own_item : bool
        options : SearchOptions

        Returns
        -------
        QueryResult

        Raises
        ------
        ApiError
            As `search`.
        """
        searcher = version.searcher
        return await self._search(
            version,
            lambda: searcher.search_similar(
                picture, k, exclude_own_item=exclude_own_item, **options
            ),
        )

    async def _search(
        self, version: IndexVersion, search: Callable[[], QueryResult]
    ) -> QueryResult:
        """Search in a thread, and again if a picture was removed during the search."""
        if version.is_replaced:
            raise ApiError(503, "the index was replaced, and the new one is being opened")

        def timed() -> QueryResult:
            with self.metrics.search_seconds.time():
                return search()

        try:
            return await self.in_pool(timed)
        except GoneError:
            return await self.in_pool(timed)

    def close(self) -> None:
        """Stop the threads once they have finished their work."""
        self.batcher.close()
        self._decoding.shutdown()
        self._pool.shutdown()
