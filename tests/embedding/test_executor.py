from __future__ import annotations

import numpy as np

from siamese.embedding.embed_catalogue import embed_catalogue, embed_into_store
from siamese.embedding.embedder import Embedder
from siamese.embedding.executor import EmbeddedBatch, LocalExecutor
from siamese.embedding.store import EmbeddingStore


class Recording:
    """Embeds with another embedder, as a cluster does, and records the filenames."""

    name = "recording"

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.filenames: list[str] = []

    def embed_files(self, embedder, files, batch_size):
        self.filenames.extend(files)
        batches = LocalExecutor().embed_files(self.embedder, files, batch_size)
        for number, batch in enumerate(batches):
            precision = "float32" if number else "bfloat16"
            yield EmbeddedBatch(batch.outcomes, {("recorder", precision)})


def test_an_executor_embeds_in_place_of_this_process(checkpoint, catalogue, tmp_path):
    alone, embedder = Embedder.load(checkpoint), Embedder.load(checkpoint)
    executor = Recording(alone)
    store = EmbeddingStore(tmp_path / "kept")
    run = embed_into_store(embedder, store, catalogue, executor=executor)
    assert (run.executor, run.runtime) == ("recording", "recorder")
    assert run.precision == "bfloat16, float32"  # the nodes of a cluster may differ
    assert run.new == len(executor.filenames) == 48
    assert embedder._runtime is None, "this process opened a runtime that it did not use"
    vectors = embed_catalogue(embedder, catalogue, executor=executor).vectors
    np.testing.assert_array_equal(vectors, embed_catalogue(alone, catalogue).vectors)
    assert embed_into_store(alone, store, catalogue).new == 0
