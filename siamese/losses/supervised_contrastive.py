"""The supervised contrastive loss: each positive against all others of its anchor."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from siamese.losses.masked_ops import cosines, log_sum_exp, mean_of


@keras.saving.register_keras_serializable("siamese")
class SupervisedContrastiveLoss(keras.losses.Loss):
    """Supervised contrastive loss.

    L = mean_i −1/|Pᵢ| Σ_{p ∈ Pᵢ} log( exp(Sᵢₚ / τ) / Σ_{a ∈ Pᵢ ∪ Nᵢ} exp(Sᵢₐ / τ) )

    with S the cosine similarity, Pᵢ the positives of anchor i, Nᵢ its negatives. What is left
    out is not below the fraction either. An anchor without positives has no loss and is not in the
    mean, but is a negative of others. With one positive an anchor this is NT-Xent, the loss of
    SimCLR.

    P. Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, equation 2 (L_out), and its
    temperature.

    Parameters
    ----------
    temperature : τ; the lower, the more the hardest negatives count

    Call
    ----
    relations : (n, m), +1, 0 or -1
    embeddings : (m, d), length 1, the n anchors first

    Returns one number.
    """

    def __init__(
        self, temperature: float = 0.1, name: str = "supervised_contrastive_loss", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.temperature = temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        logits = cosines(y_true, y_pred) / self.temperature
        positive = y_true > 0
        below = log_sum_exp(logits, ops.not_equal(y_true, 0))
        return mean_of(below - mean_of(logits, positive, axis=1), ops.any(positive, axis=1))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}
