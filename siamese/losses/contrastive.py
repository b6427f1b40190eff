"""The contrastive loss of pairs, for the two-input siamese network."""

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
