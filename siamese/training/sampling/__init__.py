"""Draw which pictures meet: random pairs, or batches of several pictures of several items.

Only row numbers are drawn here; no file is opened. Every draw depends on (seed, epoch, vectors)
alone, so that a resumed training sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from siamese.training.sampling.batch_sampler import BatchSampler
from siamese.training.sampling.item_index import ItemIndex
from siamese.training.sampling.pair_sampler import Pairs, PairSampler

__all__ = ["BatchSampler", "ItemIndex", "PairSampler", "Pairs"]
