"""Multi-similarity loss."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from siamese.losses.masked_ops import LARGE, anchor_similarities, masked_log1p_sum_exp


@keras.saving.register_keras_serializable("siamese")
class MultiSimilarityLoss(keras.losses.Loss):
    """Multi-similarity loss over hard pairs, given as relations (see `siamese.losses`).

    ::

        Lᵢ = 1/α · log(1 + Σ_{j ∈ Pᵢ} exp(−α (Sᵢⱼ − λ)))
           + 1/β · log(1 + Σ_{j ∈ Nᵢ} exp( β (Sᵢⱼ − λ)))
        Pᵢ = {positives j with Sᵢⱼ < max over negatives k of Sᵢₖ + ε}
        Nᵢ = {negatives j with Sᵢⱼ > min over positives k of Sᵢₖ − ε}

    where Sᵢⱼ is the cosine similarity of anchor i and embedding j. If anchor i has no negatives, Pᵢ
    holds all positives; if it has no positives, Nᵢ holds all negatives. Keras averages the Lᵢ.

    Parameters
    ----------
    alpha, beta : float, default=2.0 and 50.0
        The α and β of the formula. Larger values give the hardest pairs more weight.
    threshold : float, default=0.5
        The λ of the formula. Positives with Sᵢⱼ < λ and negatives with Sᵢⱼ > λ weigh most.
    epsilon : float, default=0.1
        The ε of the formula. Larger values select more pairs.

    References
    ----------
    X. Wang et al., "Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning",
    CVPR 2019, equations 7, 8 and 10. The defaults are from the authors' code.

    Examples
    --------
    >>> import numpy as np
    >>> relations = np.array([[0, 1, -1], [1, 0, -1], [-1, -1, 0]])
    >>> embeddings = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8]], np.float32)
    >>> loss = MultiSimilarityLoss(reduction="none")
    >>> print(np.asarray(loss(relations, embeddings)).round(3))
    [0.    0.679 0.46 ]
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
        similarity = anchor_similarities(y_true, y_pred)
        positive, negative = y_true > 0, y_true < 0
        least_similar = ops.min(ops.where(positive, similarity, LARGE), axis=1, keepdims=True)
        most_similar = ops.max(ops.where(negative, similarity, -LARGE), axis=1, keepdims=True)
        has_no_positive = ~ops.any(positive, axis=1, keepdims=True)
        has_no_negative = ~ops.any(negative, axis=1, keepdims=True)
        hard_positive = (similarity - self.epsilon < most_similar) | has_no_negative
        hard_negative = (similarity + self.epsilon > least_similar) | has_no_positive
        difference = similarity - self.threshold
        pull = masked_log1p_sum_exp(-self.alpha * difference, positive & hard_positive)
        push = masked_log1p_sum_exp(self.beta * difference, negative & hard_negative)
        return pull / self.alpha + push / self.beta

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "beta": self.beta,
            "threshold": self.threshold,
            "epsilon": self.epsilon,
        }
