"""Losses that pull pictures of one item together and push others apart.

Two shapes of target:

- **pairs**: `y` (n,) and the distance (n,) of each pair, as the two-input siamese network gives;
- **relations**: an (n, n) matrix over the pictures of a batch, as `siamese.labels.relations`
  makes it: +1 a positive pair, -1 a negative pair, 0 left out (the picture itself, or different
  items that share a label). Each picture is embedded once and every pair of the batch counts.

All are written in `keras.ops`, run under TensorFlow and JAX, and are registered, so that a
checkpoint compiled with one loads with no further arguments.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("siamese")
class ContrastiveLoss(keras.losses.Loss):
    """Contrastive loss of pairs.

    L(y, d) = y · ½ d² + (1 − y) · ½ max(0, a − d)²

    The first term pulls a positive pair (y = 1) together, however close it is already; the second
    pushes a negative pair (y = 0) apart until it is the margin a away, and then leaves it alone.
    Note that y = 1 means *same item* here; the paper writes Y = 1 for a dissimilar pair.

    R. Hadsell, S. Chopra, Y. LeCun, "Dimensionality Reduction by Learning an Invariant Mapping",
    CVPR 2006, equation 4.

    Parameters
    ----------
    margin : a, in units of distance; embeddings of length 1 are at most 2 apart

    Call
    ----
    y : (n,) or (n, 1), 1 for a positive pair, 0 for a negative
    distance : (n,) or (n, 1), Euclidean distance of the two embeddings
    """

    def __init__(self, margin: float = 1.0, name: str = "contrastive_loss", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.margin = margin

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y = ops.reshape(ops.cast(y_true, y_pred.dtype), ops.shape(y_pred))
        positive = ops.square(y_pred)
        negative = ops.square(ops.maximum(self.margin - y_pred, 0.0))
        return 0.5 * (y * positive + (1.0 - y) * negative)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin}


@keras.saving.register_keras_serializable("siamese")
class MultiSimilarityLoss(keras.losses.Loss):
    """Multi-similarity loss over all pairs of a batch, with its pair mining.

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
    relations : (n, n), +1, 0 or -1, as `siamese.labels.relations`
    embeddings : (n, d), length 1
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
        similarity = ops.matmul(y_pred, ops.transpose(y_pred))
        positive, negative = y_true > 0.5, y_true < -0.5

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
        pull = _log_one_plus_sum_exp(-self.alpha * (similarity - self.threshold), positive)
        push = _log_one_plus_sum_exp(self.beta * (similarity - self.threshold), negative)
        return pull / self.alpha + push / self.beta

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "beta": self.beta,
            "threshold": self.threshold,
            "epsilon": self.epsilon,
        }


def _log_one_plus_sum_exp(x: Any, mask: Any) -> Any:
    """log(1 + Σ_j exp(x_ij)) over the masked entries of each row, without overflow."""
    # exp(-1e9) is 0 and its gradient is 0; -inf would turn an empty row into NaN.
    x = ops.where(mask, x, ops.full_like(x, -1e9))
    one = ops.zeros_like(x[:, :1])
    return ops.logsumexp(ops.concatenate([one, x], axis=1), axis=1)
