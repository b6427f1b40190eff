"""The contrastive loss of all pairs of a batch."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from siamese.losses.masked_ops import cosines, distances, mean_of


@keras.saving.register_keras_serializable("siamese")
class BatchContrastiveLoss(keras.losses.Loss):
    """Contrastive loss over all pairs, averaged over those that cost something.

    L = mean⁺_{positive pairs} max(0, d − a⁺) + mean⁺_{negative pairs} max(0, a⁻ − d)

    with d the Euclidean distance and mean⁺ the mean of the values above 0. The positive pairs
    still to be pulled and the negative pairs still to be pushed so weigh the same, however few of
    either there are; most negative pairs are far enough apart early on. Anchors without positives
    have their part in the second mean.

    R. Hadsell, S. Chopra, Y. LeCun, "Dimensionality Reduction by Learning an Invariant Mapping",
    CVPR 2006, as pytorch-metric-learning's `ContrastiveLoss` has it: distances that are not
    squared (so `ContrastiveLoss` differs), the two means, and the default margins. A distance of
    1 is a cosine of 0.5.

    Parameters
    ----------
    positive_margin : a⁺, up to which a positive pair is near enough
    negative_margin : a⁻, from which on a negative pair is far enough; distances are at most 2

    Call
    ----
    relations : (n, m), +1, 0 or -1
    embeddings : (m, d), length 1, the n anchors first

    Returns one number.
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
        distance = distances(cosines(y_true, y_pred))
        pull = ops.relu(distance - self.positive_margin)
        push = ops.relu(self.negative_margin - distance)
        return mean_of(pull, ops.logical_and(y_true > 0, pull > 0)) + mean_of(
            push, ops.logical_and(y_true < 0, push > 0)
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "positive_margin": self.positive_margin,
            "negative_margin": self.negative_margin,
        }
