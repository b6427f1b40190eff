"""Decode pictures in threads and embed them in batches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from siamese.embedding.store_rows import Outcome
from siamese.utils.threads import map_in_threads

T = TypeVar("T")

BATCH_SIZE = 32
"""Default number of pictures per call to the model."""


def decode_and_embed(
    embed_squares: Callable[..., NDArray[np.float32]],
    items: Sequence[T],
    decode: Callable[[T], np.ndarray | str],
    batch_size: int = BATCH_SIZE,
    threads: int | None = None,
) -> Generator[list[tuple[T, Outcome]]]:
    """Decode and embed pictures, and yield batches of (item, outcome) pairs in order.

    Parameters
    ----------
    decode : callable
        Maps an item to its square picture, uint8 (s, s, 3), or to an error message, which becomes
        the item's outcome. It is called from several threads.
    threads : int, optional
        Number of decoding threads; by default one per core.
    """

    def batches(decoded: Iterable[np.ndarray | str]) -> Iterator[list[tuple[T, Outcome]]]:
        batch, squares = [], 0
        for item, square in zip(items, decoded, strict=True):
            batch.append((item, square))
            squares += not isinstance(square, str)
            if squares == batch_size:
                yield batch
                batch, squares = [], 0
        yield batch

    def embed(batch: list[tuple[T, Outcome]]) -> list[tuple[T, Outcome]]:
        squares = [square for _, square in batch if not isinstance(square, str)]
        if not squares:
            return batch
        vectors = iter(embed_squares(np.stack(squares), batch_size=batch_size))
        return [
            (item, square if isinstance(square, str) else next(vectors)) for item, square in batch
        ]

    with (
        closing(map_in_threads(decode, items, 2 * batch_size, threads)) as decoded,
        # Embed two batches at a time, so that no core is idle while a batch finishes.
        closing(map_in_threads(embed, batches(decoded), ahead=1, threads=2)) as embedded,
    ):
        yield from embedded
