"""Waiting pictures are embedded in batches; each gets its own vector."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from siamese.server.batching import BATCH_SIZES, Batcher, warm_up
from siamese.server.prometheus import Metrics
from tests.server.conftest import Colours


class Gated(Colours):
    """A model that waits for a gate to open."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.gate = threading.Event()

    def embed_squares(self, squares):
        self.entered.set()
        assert self.gate.wait(60)
        return super().embed_squares(squares)


def picture(number: int) -> np.ndarray:
    colour = (number % 256, 255 - number % 256, number * 7 % 256)
    return np.full((32, 32, 3), colour, np.uint8)


@pytest.fixture
def batcher():
    batcher = Batcher(Metrics())
    yield batcher
    batcher.close()
    assert not batcher.is_alive


def test_concurrent_pictures_get_their_own_vectors(batcher):
    embedder = Colours()

    def has_its_vector(number: int) -> bool:
        vector = batcher.submit(embedder, picture(number)).result(60)
        return np.array_equal(vector, Colours().embed_squares(picture(number)[None])[0])

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(has_its_vector, range(2000)))
    assert set(embedder.batches) <= set(BATCH_SIZES)


def test_waiting_pictures_go_in_the_largest_batches_that_they_fill(batcher):
    embedder = Gated()
    waiting = [batcher.submit(embedder, picture(0))]
    assert embedder.entered.wait(60)  # the first picture did not wait for others
    waiting += [batcher.submit(embedder, picture(number)) for number in range(1, 26)]
    embedder.gate.set()
    for future in waiting:
        future.result(60)
    assert embedder.batches == [1, 16, 4, 4, 1]


def test_two_models_never_share_a_batch(batcher):
    first, second = Gated(), Colours()
    waiting = [batcher.submit(first, picture(0))]
    assert first.entered.wait(60)
    waiting += [
        batcher.submit(embedder, picture(number))
        for number, embedder in enumerate([first, first, second, second, first])
    ]
    first.gate.set()
    for future in waiting:
        future.result(60)
    assert (sum(first.batches), sum(second.batches)) == (4, 2)


def test_a_cancelled_picture_is_not_embedded(batcher):
    embedder = Gated()
    first = batcher.submit(embedder, picture(0))
    assert embedder.entered.wait(60)
    waiting = [batcher.submit(embedder, picture(number)) for number in range(4)]
    assert waiting[0].cancel() and waiting[2].cancel()
    embedder.gate.set()
    first.result(60)
    for number in (1, 3):
        assert np.array_equal(
            waiting[number].result(60), Colours().embed_squares(picture(number)[None])[0]
        )
    assert embedder.batches == [1, 4]  # padded, because another size would be compiled


def test_an_error_reaches_all_of_a_batch_and_stops_nothing(batcher):
    class Broken(Gated):
        def embed_squares(self, squares):
            super().embed_squares(squares)
            raise ValueError("broken")

    broken = Broken()
    waiting = [batcher.submit(broken, picture(number)) for number in range(6)]
    broken.gate.set()
    for future in waiting:
        with pytest.raises(ValueError, match="broken"):
            future.result(60)
    assert batcher.submit(Colours(), picture(1)).result(60) is not None


def test_close_embeds_the_waiting_pictures():
    batcher, embedder = Batcher(Metrics()), Gated()
    waiting = [batcher.submit(embedder, picture(number)) for number in range(6)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    embedder.gate.set()
    closing.join(60)
    assert all(future.done() for future in waiting)
    with pytest.raises(RuntimeError):
        batcher.submit(embedder, picture(1))


def test_warm_up_embeds_batches_of_every_size():
    embedder = Colours()
    warm_up(embedder)
    assert embedder.batches == list(BATCH_SIZES)
