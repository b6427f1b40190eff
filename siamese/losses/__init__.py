"""Losses to train on pairs of pictures or on whole batches, written in `keras.ops`.

``loss(y_true, y_pred)`` takes one of two kinds of input:

- **Pairs** (`ContrastiveLoss`). ``y_true`` (n,) is 1 for two pictures of the same item and 0 for
  pictures of different items. ``y_pred`` (n,) is the distance between their embeddings, which is
  the output of the siamese network.
- **Relations** (all others). ``y_pred`` (m, d) holds embeddings of length 1; the first n are the
  anchors. ``y_true`` (n, m) relates each anchor (row) to each embedding (column): +1 if they show
  the same item, -1 for different items, and 0 if the pair is ignored, for example an anchor with
  itself or two items that share a label. `siamese.data.label_rule.pairwise_relations` computes it.

The embeddings after the first n may be those of earlier batches.

`MultiSimilarityLoss` returns one value per anchor. The other losses over relations return the mean
over the terms that count, so that all batches have the same weight. A loss with nothing to compare
is 0, and gradients are finite even between equal embeddings.

The losses are registered as ``siamese>ClassName``: once this package is imported, Keras loads
checkpoints that name them.
"""

from __future__ import annotations

from siamese.losses.batch_contrastive import BatchContrastiveLoss
from siamese.losses.contrastive import ContrastiveLoss
from siamese.losses.multi_similarity import MultiSimilarityLoss
from siamese.losses.triplet import TripletLoss

__all__ = [
    "BatchContrastiveLoss",
    "ContrastiveLoss",
    "MultiSimilarityLoss",
    "TripletLoss",
]
