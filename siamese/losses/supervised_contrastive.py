"""The supervised contrastive loss, a softmax over all other embeddings."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from siamese.losses.masked_ops import anchor_similarities, masked_logsumexp, masked_mean


@keras.saving.register_keras_serializable("siamese")
class SupervisedContrastiveLoss(keras.losses.Loss):
    """Supervised contrastive loss.

    ::

        L = mean_i −1/|Pᵢ| Σ_{p ∈ Pᵢ} log( exp(Sᵢₚ / τ) / Σ_{a ∈ Pᵢ ∪ Nᵢ} exp(Sᵢₐ / τ) )

    where S is the cosine similarity, and Pᵢ and Nᵢ are the positives and negatives of anchor i.
    Ignored pairs are not in the log_denominator. The mean is over the anchors that have a positive.
    With one positive per anchor, this is NT-Xent, the loss of SimCLR.

    Parameters
    ----------
    temperature : float, default=0.1
        The τ of the formula. The lower, the more the hardest negatives dominate.
    name, **kwargs
        Passed to `keras.losses.Loss`.

    Notes
    -----
    Called with relations (n, m) of +1, 0 and -1 and embeddings (m, d) of length 1, the n anchors
    first; see `siamese.losses`. Returns a single number.

    References
    ----------
    P. Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, equation 2 (L_out) and its
    temperature.

    Examples
    --------
    >>> import numpy as np
    >>> relations = np.array([[0, 1, -1], [1, 0, -1], [-1, -1, 0]])
    >>> embeddings = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8]], np.float32)
    >>> round(float(SupervisedContrastiveLoss()(relations, embeddings)), 4)
    0.9554
    """

    def __init__(
        self, temperature: float = 0.1, name: str = "supervised_contrastive_loss", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.temperature = temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        logits = anchor_similarities(y_true, y_pred) / self.temperature
        positive = y_true > 0
        log_denominator = masked_logsumexp(logits, ops.not_equal(y_true, 0))
        return masked_mean(
            log_denominator - masked_mean(logits, positive, axis=1), ops.any(positive, axis=1)
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}
