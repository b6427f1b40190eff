"""Contrastive loss over all pairs in a batch."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from siamese.losses.masked_ops import anchor_similarities, distances, masked_mean


@keras.saving.register_keras_serializable("siamese")
class BatchContrastiveLoss(keras.losses.Loss):
    """Contrastive loss over all pairs in a batch, given as relations (see `siamese.losses`).

    ::

        L = mean⁺_{positive pairs} max(0, d − a⁺) + mean⁺_{negative pairs} max(0, a⁻ − d)

    where d is the Euclidean distance of a pair and mean⁺ is the mean of the values above 0. The two
    separate means give positive and negative pairs the same weight, however many of each there are.
    Anchors without positives still contribute to the second mean.

    Parameters
    ----------
    positive_margin : float, default=0.0
        The a⁺ of the formula. Positive pairs that are closer than this have zero loss.
    negative_margin : float, default=1.0
        The a⁻ of the formula. Negative pairs that are farther apart than this have zero loss. A
        distance of 1 corresponds to a cosine similarity of 0.5.

    References
    ----------
    R. Hadsell, S. Chopra, Y. LeCun, "Dimensionality Reduction by Learning an Invariant Mapping",
    CVPR 2006. Unlike in the paper, distances are not squared and the two means are separate; this
    and the default margins follow `ContrastiveLoss` in pytorch-metric-learning.

    Examples
    --------
    >>> import numpy as np
    >>> relations = np.array([[0, 1, -1], [1, 0, -1], [-1, -1, 0]])
    >>> embeddings = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8]], np.float32)
    >>> round(float(BatchContrastiveLoss()(relations, embeddings)), 4)
    1.0438
    """

    def __init__(
        self,
        positive_margin: float = 0.0,
        negative_margin: float = 1.0,
        name: str = "batch_contrastive_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.positive_margin = positive_margin
        self.negative_margin = negative_margin

    def call(self, y_true: Any, y_pred: Any) -> Any:
        distance = distances(anchor_similarities(y_true, y_pred))
        pull = ops.relu(distance - self.positive_margin)
        push = ops.relu(self.negative_margin - distance)
        positive, negative = (y_true > 0) & (pull > 0), (y_true < 0) & (push > 0)
        return masked_mean(pull, positive) + masked_mean(push, negative)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "positive_margin": self.positive_margin,
            "negative_margin": self.negative_margin,
        }
