"""Losses for pairs of pictures and for whole batches, implemented with `keras.ops`.

Each loss is called as ``loss(y_true, y_pred)``, with one of two kinds of input:

- **Pairs** (`ContrastiveLoss`). ``y_true`` (n,) is 1 for two pictures of the same item and 0 for
  pictures of different items. ``y_pred`` (n,) is the distance between their embeddings, which the
  siamese network outputs.
- **Relations** (all other losses). ``y_pred`` (m, d) holds unit-length embeddings; the first n are
  the anchors. ``y_true`` (n, m) relates each anchor (row) to each embedding (column): +1 if they
  show the same item, -1 if they show different items, and 0 if the pair is ignored, for example an
  anchor and itself. `siamese.data.label_rule.pairwise_relations` computes this matrix.

The embeddings after the first n may come from earlier batches.

`MultiSimilarityLoss.call` returns one value per anchor. The other losses on relations return the
mean over the terms that contribute, so that all batches have the same weight. Without any pairs to
compare, a loss is 0. Gradients are finite even between equal embeddings.

The losses are registered as ``siamese>ClassName``: once this package is imported, Keras can load
checkpoints that name them.
"""

from __future__ import annotations

from siamese.losses.contrastive import ContrastiveLoss
from siamese.losses.multi_similarity import MultiSimilarityLoss
from siamese.losses.triplet import TripletLoss

__all__ = [
    "ContrastiveLoss",
    "MultiSimilarityLoss",
    "TripletLoss",
]
