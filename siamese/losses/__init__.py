"""Losses that pull pictures of one item together and push different items apart.

The losses differ in what they are called with, as ``loss(y_true, y_pred)``:

- **Pairs** (`ContrastiveLoss`). ``y_true`` (n,) is 1 for a pair of pictures of the same item and 0
  for a pair of different items; ``y_pred`` (n,) is the distance between their two embeddings. This
  is what the two-input siamese network outputs.
- **Relations** (all others). ``y_pred`` (m, d) holds embeddings of length 1. The first n belong to
  the pictures of the batch and are the anchors. ``y_true`` (n, m) says how each anchor (row) is
  related to each embedding (column) ::

      +1   positive: both are of the same item
      -1   negative: they are of different items
       0   ignored: an anchor with itself, different items that share a label, an empty memory row

The number of columns depends on what the anchors are compared with ::

    m = n       each other; `siamese.data.label_rule.pairwise_relations` computes the relations
    m = n + r   also r further embeddings, for example those of earlier batches
    m = n + c   c proxies, one learned vector per item: the first n columns are 0 and column n + j
                is item j; made for `ProxyAnchorLoss` and `CosFaceLoss`

Of the losses over relations, `MultiSimilarityLoss` returns one value per anchor. The others return a
single number: the mean over the terms that count, so that a batch with few positives has the same
weight as any other. If there is nothing to compare, a loss is 0. Gradients are always finite, also
between equal embeddings.

All losses are written in `keras.ops` and run on TensorFlow and JAX. They are registered as
``siamese>ClassName``: after this package is imported, Keras loads a checkpoint that was compiled
with one of them without `custom_objects`.
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
