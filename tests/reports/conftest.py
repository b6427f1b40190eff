from __future__ import annotations

import numpy as np
import pytest

from siamese.embedding.embed_catalogue import Embeddings
from siamese.reports import compare_embeddings


def embeddings(catalogue, noise: float) -> Embeddings:
    """Make unit vectors around a random direction for each item."""
    rng = np.random.default_rng(5)
    items = list(catalogue.items)
    centres = rng.normal(size=(len(items), 16))
    vectors = np.array([centres[items.index(p.item_id)] for p in catalogue.pictures])
    vectors += noise * rng.normal(size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embeddings(catalogue.pictures, vectors.astype(np.float32), [])


@pytest.fixture(scope="session")
def before(catalogue):
    return embeddings(catalogue, noise=2.0)


@pytest.fixture(scope="session")
def after(catalogue):
    return embeddings(catalogue, noise=0.1)


@pytest.fixture(scope="session")
def comparison(before, after):
    return compare_embeddings(before, after, queries=5, k=4)
