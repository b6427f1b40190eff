"""The circle loss: every similarity weighed by how far it is from where it should be."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from siamese.losses.masked_ops import cosines, log_sum_exp, mean_of


@keras.saving.register_keras_serializable("siamese")
class CircleLoss(keras.losses.Loss):
    """Circle loss.

    L = mean_i log(1 + Σ_{n ∈ Nᵢ} exp(γ αₙ (Sᵢₙ − m)) · Σ_{p ∈ Pᵢ} exp(−γ αₚ (Sᵢₚ − 1 + m)))

    αₚ = max(0, 1 + m − Sᵢₚ),  αₙ = max(0, Sᵢₙ + m)

    with S the cosine similarity. The weights α are constants to the gradient. An anchor without a
    positive or without a negative has no loss, since one of its sums is 0, and is not in the mean.

    Y. Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", CVPR
    2020, equations 6 and 8. The defaults are its setting for faces; for fine-grained image
    retrieval it takes m = 0.4 and γ = 80.

    Parameters
    ----------
    margin : m; positives are to come above a similarity of 1 − m, negatives below m
    scale : γ

    Call
    ----
    relations : (n, m), +1, 0 or -1
    embeddings : (m, d), length 1, the n anchors first

    Returns one number.
    """

    def __init__(
        self, margin: float = 0.25, scale: float = 256.0, name: str = "circle_loss", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.margin = margin
        self.scale = scale

    def call(self, y_true: Any, y_pred: Any) -> Any:
        similarity = cosines(y_true, y_pred)
        positive, negative = y_true > 0, y_true < 0
        pull = ops.stop_gradient(ops.relu(1.0 + self.margin - similarity))
        push = ops.stop_gradient(ops.relu(similarity + self.margin))
        pulled = log_sum_exp(-self.scale * pull * (similarity - 1.0 + self.margin), positive)
        pushed = log_sum_exp(self.scale * push * (similarity - self.margin), negative)
        has_both = ops.logical_and(ops.any(positive, axis=1), ops.any(negative, axis=1))
        return mean_of(ops.softplus(pushed + pulled), has_both)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin, "scale": self.scale}
