"""The multi-similarity loss, which mines hard pairs and weights them by each other."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from siamese.losses.masked_ops import anchor_similarities, masked_log1p_sum_exp


@keras.saving.register_keras_serializable("siamese")
class MultiSimilarityLoss(keras.losses.Loss):
    """Multi-similarity loss of all pairs, with its pair mining.

    ::

        L = 1/n Σᵢ [ 1/α · log(1 + Σ_{p ∈ Pᵢ} exp(−α (Sᵢₚ − λ)))
                   + 1/β · log(1 + Σ_{n ∈ Nᵢ} exp( β (Sᵢₙ − λ))) ]

    where S is the cosine similarity. Pᵢ are the positives of anchor i that are less similar to it
    than its most similar negative plus ε. Nᵢ are its negatives that are more similar to it than its
    least similar positive minus ε. An anchor without positives keeps all its negatives, and one
    without negatives keeps all its positives.

    Parameters
    ----------
    alpha, beta : float, default=2.0 and 50.0
        The α and β of the formula. The higher, the more the hardest positives and negatives
        dominate.
    threshold : float, default=0.5
        The λ of the formula, a cosine similarity. Positives below it and negatives above it have
        the largest gradients.
    epsilon : float, default=0.1
        The ε of the mining.
    name, **kwargs
        Passed to `keras.losses.Loss`.

    Notes
    -----
    Called with relations (n, m) of +1, 0 and -1 and embeddings (m, d) of length 1, the n anchors
    first; see `siamese.losses`. Returns one value per anchor.

    References
    ----------
    X. Wang et al., "Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning",
    CVPR 2019, equation 10, mining by equations 7 and 8. The defaults are those of the authors'
    code.

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
        beyond = ops.full_like(similarity, 4.0)  # every cosine similarity
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
        pull = masked_log1p_sum_exp(-self.alpha * (similarity - self.threshold), positive)
        push = masked_log1p_sum_exp(self.beta * (similarity - self.threshold), negative)
        return pull / self.alpha + push / self.beta

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "beta": self.beta,
            "threshold": self.threshold,
            "epsilon": self.epsilon,
        }
