"""Contrastive loss for pairs of pictures, used with the two-input siamese network."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("siamese")
class ContrastiveLoss(keras.losses.Loss):
    """Contrastive loss for pairs of pictures.

    ::

        L(y, d) = y · ½ d² + (1 − y) · ½ max(0, a − d)²

    where y is a pair's label and d its Euclidean distance; ``loss(y, d)`` takes arrays of shape
    (n,) or (n, 1). Positive pairs (y = 1) are pulled together. Negative pairs (y = 0) are pushed
    apart until their distance is the margin a. The paper uses Y = 1 for negative pairs instead.

    Parameters
    ----------
    margin : float, default=1.0
        The a of the formula. Unit-length embeddings are at most 2 apart.

    References
    ----------
    R. Hadsell, S. Chopra, Y. LeCun, "Dimensionality Reduction by Learning an Invariant Mapping",
    CVPR 2006, equation 4.

    Examples
    --------
    >>> import numpy as np
    >>> loss = ContrastiveLoss(reduction="none")
    >>> np.asarray(loss(np.array([1, 0, 0]), np.array([0.5, 0.5, 1.5]))).tolist()
    [0.125, 0.125, 0.0]
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
