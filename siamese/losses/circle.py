"""The circle loss, which weights each similarity by its distance from the optimum."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from siamese.losses.masked_ops import anchor_similarities, masked_logsumexp, masked_mean


@keras.saving.register_keras_serializable("siamese")
class CircleLoss(keras.losses.Loss):
    """Circle loss.

    ::

        L = mean_i log(1 + Σ_{n ∈ Nᵢ} exp(γ αₙ (Sᵢₙ − m)) · Σ_{p ∈ Pᵢ} exp(−γ αₚ (Sᵢₚ − 1 + m)))

        αₚ = max(0, 1 + m − Sᵢₚ),  αₙ = max(0, Sᵢₙ + m)

    where S is the cosine similarity, and Pᵢ and Nᵢ are the positives and negatives of anchor i. No
    gradient flows through the weights α. The mean is over the anchors that have both a positive and
    a negative.

    Parameters
    ----------
    margin : float, default=0.25
        The m of the formula. Positives are to become more similar than 1 − m, negatives less
        similar than m.
    scale : float, default=256.0
        The γ of the formula.
    name, **kwargs
        Passed to `keras.losses.Loss`.

    Notes
    -----
    Called with relations (n, m) of +1, 0 and -1 and embeddings (m, d) of length 1, the n anchors
    first; see `siamese.losses`. Returns a single number.

    References
    ----------
    Y. Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", CVPR 2020,
    equations 6 and 8. The defaults are its settings for face recognition; for fine-grained image
    retrieval it uses m = 0.4 and γ = 80.

    Examples
    --------
    >>> import numpy as np
    >>> relations = np.array([[0, 1, -1], [1, 0, -1], [-1, -1, 0]])
    >>> embeddings = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8]], np.float32)
    >>> round(float(CircleLoss(margin=0.4, scale=80)(relations, embeddings)), 2)
    28.86
    """

    def __init__(
        self, margin: float = 0.25, scale: float = 256.0, name: str = "circle_loss", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.margin = margin
        self.scale = scale

    def call(self, y_true: Any, y_pred: Any) -> Any:
        similarity = anchor_similarities(y_true, y_pred)
        positive, negative = y_true > 0, y_true < 0
        pull = ops.stop_gradient(ops.relu(1.0 + self.margin - similarity))
        push = ops.stop_gradient(ops.relu(similarity + self.margin))
        pulled = masked_logsumexp(-self.scale * pull * (similarity - 1.0 + self.margin), positive)
        pushed = masked_logsumexp(self.scale * push * (similarity - self.margin), negative)
        has_both = ops.logical_and(ops.any(positive, axis=1), ops.any(negative, axis=1))
        return masked_mean(ops.softplus(pushed + pulled), has_both)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin, "scale": self.scale}
