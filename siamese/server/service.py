"""What a request asks for, done: decoded in threads, embedded in batches, searched."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from siamese.errors import AwayError, GoneError, InputError
from siamese.indexes import COLLECTION
from siamese.search.searcher import Options, QueryResult, Result, mean_of
from siamese.server.batching import Batcher
from siamese.server.errors import ApiError
from siamese.server.gallery import Gallery
from siamese.server.index_versions import IndexVersion, IndexVersions, Load
from siamese.server.prometheus import Metrics
from siamese.server.settings import Settings
from siamese.server.uploads import Crop, query_picture
from siamese.utils.threads import cores

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
        self._decoding = ThreadPoolExecutor(cores(), "decode")
        self._pool = ThreadPoolExecutor(cores() + WAITING_THREADS, "work")

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
            For a picture that cannot be used; see `query_picture`.
        InputError
            See `siamese.search.searcher.mean_of`.
        """
        embedder = generation.searcher.embedder

        def submit(content: bytes) -> Future[NDArray[np.float32]]:
            started = time.perf_counter()
            limits = self.settings.limits
            picture = query_picture(content, embedder.facts.picture_size, limits, crop)
            self.metrics.decode_seconds.observe(time.perf_counter() - started)
            # From here, not by way of the event loop, which may be at something else just now.
            return self.batcher.submit(embedder, picture)

        async def embed_one(content: bytes) -> NDArray[np.float32]:
            loop = asyncio.get_running_loop()
            return await asyncio.wrap_future(
                await loop.run_in_executor(self._decoding, submit, content)
            )

        vectors = await asyncio.gather(*map(embed_one, contents))
        return mean_of(np.stack(vectors), "image")

    async def search(
        self, generation: IndexVersion, vector: NDArray[np.floating[Any]], k: int, options: Options
    ) -> QueryResult:
        """Find what is most like one vector.

        Where a picture is removed while it is being found, the search is done once more.

        Raises
        ------
        Refusal
            503 while another index is in the place of this one, and not opened yet.
        """
        if generation.gone:
            raise ApiError(503, "the index was made anew, and is being opened")

        def search() -> QueryResult:
            started = time.perf_counter()
            (found,) = generation.searcher.search_vectors(vector[None], k, **options)
            self.metrics.search_seconds.observe(time.perf_counter() - started)
            return found

        try:
            return await self.in_pool(search)
        except GoneError:
            return await self.in_pool(search)

    async def search_similar(
        self,
        generation: IndexVersion,
        row: int,
        k: int,
        options: Options,
        exclude_own_item: bool,
    ) -> QueryResult:
        """Find what is most like a picture of the index; that picture itself is not shown.

        Ranked by item, all of its own item is left out.
        """
        index = generation.searcher.index
        vector, (own,) = await self.in_pool(
            lambda: (index.vectors([row])[0], index.metadata_of([row]))
        )
        if exclude_own_item or options.get("by_item"):
            return await self.search(
                generation, vector, k, Options(**{**options, "own_items": [own["item_id"]]})
            )
        # The file may be there more than once, under several items: all of them are the picture.
        same = len(await self.in_pool(lambda: index.find(filename=own["filename"])))
        offset, most = options.get("offset", 0), options.get("max_distance")
        # What is too far is left out here: the nearest counts even if it is.
        found = await self.search(
            generation,
            vector,
            offset + k + same,
            Options(**{**options, "offset": 0, "max_distance": None}),
        )
        others = [result for result in found.results if result.filename != own["filename"]]
        shown = [result for result in others if most is None or result.distance <= most]
        threshold = generation.searcher.threshold
        return QueryResult(
            found.query,
            [
                Result(rank, of.distance, of.item_id, of.filename, of.labels)
                for rank, of in enumerate(shown[offset : offset + k], offset + 1)
            ],
            None
            if threshold is None
            else min((of.distance for of in others), default=np.inf) <= threshold,
        )

    def row_of(self, generation: IndexVersion, picture: str) -> int:
        """The row of a picture of the index, by its filename or by the row itself.

        Raises
        ------
        Refusal
            If there is none.
        """
        index = generation.searcher.index
        if len(rows := index.find(filename=picture)):
            return int(rows[0])
        # Some engines have keys of 63 bits for rows.
        if re.fullmatch(r"[0-9]{1,19}", picture) and (row := int(picture)) < 2**63:
            try:
                (known,) = index.metadata_of([row])
                # Some engines still tell of a row that has been removed.
                if row in index.find(item_id=known["item_id"], filename=known["filename"]):
                    return row
            except (IndexError, KeyError, InputError) as error:
                if isinstance(error, AwayError) and not isinstance(error, GoneError):
                    raise
        raise ApiError(404, f"{picture}: no such picture in the index")

    def close(self) -> None:
        """End the threads, when nothing is asked any more."""
        self.batcher.close()
        self._decoding.shutdown()
        self._pool.shutdown()
