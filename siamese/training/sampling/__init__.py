"""Samplers of training pictures: random pairs, or batches of several pictures per item.

Samplers draw row numbers and open no files. A draw depends only on the seed, the epoch and the
embeddings, so a resumed run draws the same rows as an uninterrupted one.
"""

from __future__ import annotations

from siamese.training.sampling.batch_sampler import BatchSampler
from siamese.training.sampling.item_index import ItemIndex
from siamese.training.sampling.pair_sampler import Pairs, PairSampler

__all__ = ["BatchSampler", "ItemIndex", "PairSampler", "Pairs"]
