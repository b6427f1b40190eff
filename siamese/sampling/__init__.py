"""Which pictures meet: random pairs, or batches of several pictures of several items.

Only row numbers are drawn here; nothing is opened. Every draw depends on (seed, epoch, vectors)
alone, so that a resumed training sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from siamese.sampling.batches import BatchSampler
from siamese.sampling.items import Items
from siamese.sampling.pairs import Pairs, PairSampler

__all__ = ["BatchSampler", "Items", "PairSampler", "Pairs"]
