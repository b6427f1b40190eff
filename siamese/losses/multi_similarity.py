"""The multi-similarity loss: the pairs that are hard, each weighed by all the others."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from siamese.losses.masked_ops import cosines, log_one_plus_sum_exp


@keras.saving.register_keras_serializable("siamese")
class MultiSimilarityLoss(keras.losses.Loss):
    """Multi-similarity loss over all pairs, with its pair mining.

    L = 1/n Σᵢ [ 1/α · log(1 + Σ_{p ∈ Pᵢ} exp(−α (Sᵢₚ − λ)))
               + 1/β · log(1 + Σ_{n ∈ Nᵢ} exp( β (Sᵢₙ − λ))) ]

    with S the cosine similarity. Of the positives of anchor i, Pᵢ keeps those less similar than
    its most similar negative plus ε; of its negatives, Nᵢ keeps those more similar than its least
    similar positive minus ε (equations 7 and 8). An anchor without a positive in the batch
    mines nothing and keeps all its negatives, and one without a negative keeps all its positives.

    X. Wang et al., "Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning",
    CVPR 2019, equation 10. The defaults are those of the authors' code.

    Parameters
    ----------
    alpha, beta : how sharply the hardest positives and negatives dominate
    threshold : λ, the similarity from which on a positive is near enough
    epsilon : ε, the slack of the mining

    Call
    ----
    relations : (n, m), +1, 0 or -1
    embeddings : (m, d), length 1, the n anchors first

    Returns one value an anchor, (n,).
    """

    def __init__(
        self,
        alpha: float = 2.0,
        beta: float = 50.0,
        threshold: float = 0.5,
        epsilon: float = 0.1,
        name: str = "multi_similarity_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.alpha = alpha
        self.beta = beta
        self.threshold = threshold
        self.epsilon = epsilon

    def call(self, y_true: Any, y_pred: Any) -> Any:
        similarity = cosines(y_true, y_pred)
        positive, negative = y_true > 0, y_true < 0

        # Beyond every cosine, so that an anchor without positives (or negatives) mines nothing.
        beyond = ops.full_like(similarity, 4.0)
        hardest_positive = ops.min(ops.where(positive, similarity, beyond), axis=1, keepdims=True)
        hardest_negative = ops.max(ops.where(negative, similarity, -beyond), axis=1, keepdims=True)
        has_positive = ops.any(positive, axis=1, keepdims=True)
        has_negative = ops.any(negative, axis=1, keepdims=True)
        positive = ops.logical_and(
            positive,
            ops.logical_or(
                similarity - self.epsilon < hardest_negative, ops.logical_not(has_negative)
            ),
        )
        negative = ops.logical_and(
            negative,
            ops.logical_or(
                similarity + self.epsilon > hardest_positive, ops.logical_not(has_positive)
            ),
        )
        pull = log_one_plus_sum_exp(-self.alpha * (similarity - self.threshold), positive)
        push = log_one_plus_sum_exp(self.beta * (similarity - self.threshold), negative)
        return pull / self.alpha + push / self.beta

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "beta": self.beta,
            "threshold": self.threshold,
            "epsilon": self.epsilon,
        }
