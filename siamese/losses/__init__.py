"""Losses that pull pictures of one item together and push others apart: one file a loss.

Two shapes of target:

- **pairs**: `y` (n,) and the distance (n,) of each pair, as the two-input siamese network gives;
  `ContrastiveLoss`.
- **relations**: an (n, m) matrix of +1, 0, -1 and the embeddings (m, d), each of length 1. The
  first n embeddings are the anchors, the pictures of the batch; +1 is a positive pair, -1 a
  negative one, and 0 has no part in the loss: the picture itself, different items that share a
  label, empty rows of a memory. All the others, see `LOSSES`.

What an anchor is compared with is for the caller to say. ::

    m = n       the batch: `siamese.data.label_rule.pairwise_relations`, each picture embedded once, every pair counts
    m = n + r   the batch and r further rows, such as embeddings remembered of earlier batches
    m = n + c   one learned proxy for each of c items: the first n columns are 0 and column n + j
                is item j. `ProxyAnchorLoss` and `CosFaceLoss` are made for this.

Of the losses over relations `MultiSimilarityLoss` answers one value an anchor, the others one
number: their mean over what counts, so that a batch with few positives weighs no less. Every one
is 0 where nothing can be compared, and has finite gradients everywhere, also between equal rows.

All are written in `keras.ops`, run under TensorFlow and JAX, and are registered, so that a
checkpoint compiled with one loads with no further arguments.
"""

from __future__ import annotations

from siamese.losses.batch_contrastive import BatchContrastiveLoss
from siamese.losses.circle import CircleLoss
from siamese.losses.contrastive import ContrastiveLoss
from siamese.losses.cosface import CosFaceLoss
from siamese.losses.multi_similarity import MultiSimilarityLoss
from siamese.losses.proxy_anchor import ProxyAnchorLoss
from siamese.losses.supervised_contrastive import SupervisedContrastiveLoss
from siamese.losses.triplet import TripletLoss

__all__ = [
    "BatchContrastiveLoss",
    "CircleLoss",
    "ContrastiveLoss",
    "CosFaceLoss",
    "MultiSimilarityLoss",
    "ProxyAnchorLoss",
    "SupervisedContrastiveLoss",
    "TripletLoss",
]
