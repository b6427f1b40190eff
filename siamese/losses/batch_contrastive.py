"""The contrastive loss of all pairs in a batch."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from siamese.losses.masked_ops import anchor_similarities, distances, masked_mean


@keras.saving.register_keras_serializable("siamese")
class BatchContrastiveLoss(keras.losses.Loss):
    """Contrastive loss of all pairs in a batch.

    ::

        L = mean⁺_{positive pairs} max(0, d − a⁺) + mean⁺_{negative pairs} max(0, a⁻ − d)

    where d is the Euclidean distance and mean⁺ is the mean of the values above 0. Early in training
    most negative pairs are far enough apart; the two means give the few that are not, and the few
    positive pairs, the same weight. Anchors without positives still count in the second mean.

    Parameters
    ----------
    positive_margin : float, default=0.0
        Distance a⁺ up to which a positive pair costs nothing.
    negative_margin : float, default=1.0
        Distance a⁻ from which on a negative pair costs nothing. Distances are at most 2; 1 is a
        cosine similarity of 0.5.
    name, **kwargs
        Passed to `keras.losses.Loss`.

    Notes
    -----
    Called with relations (n, m) of +1, 0 and -1 and embeddings (m, d) of length 1, the n anchors
    first; see `siamese.losses`. Returns a single number.

    References
    ----------
    R. Hadsell, S. Chopra, Y. LeCun, "Dimensionality Reduction by Learning an Invariant Mapping",
    CVPR 2006, in the form of `ContrastiveLoss` in pytorch-metric-learning: distances are not
    squared, the two means are separate, and the default margins are the same.

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
        return masked_mean(pull, ops.logical_and(y_true > 0, pull > 0)) + masked_mean(
            push, ops.logical_and(y_true < 0, push > 0)
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "positive_margin": self.positive_margin,
            "negative_margin": self.negative_margin,
        }
