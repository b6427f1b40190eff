"""The large-margin cosine loss (CosFace), a softmax over items."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from siamese.losses.masked_ops import anchor_similarities, masked_logsumexp, masked_mean


@keras.saving.register_keras_serializable("siamese")
class CosFaceLoss(keras.losses.Loss):
    """Large-margin cosine loss (CosFace).

    ::

        L = mean_i −log( exp(s (Sᵢₚ − m)) / (exp(s (Sᵢₚ − m)) + Σ_{n ∈ Nᵢ} exp(s Sᵢₙ)) )

    where Sᵢₚ is the cosine similarity of picture i and the proxy of its item (the mean similarity
    if the item has several proxies), and Nᵢ are the proxies of the other items, without those that
    share a label with it. The mean is over the pictures whose item has a proxy.

    Parameters
    ----------
    margin : float, default=0.35
        The m of the formula, by which the similarity to the own proxy has to exceed the others.
    scale : float, default=64.0
        The s of the formula.
    name, **kwargs
        Passed to `keras.losses.Loss`.

    Notes
    -----
    Called with relations (n, n + c) of +1, 0 and -1, whose first n columns are 0, and embeddings
    (n + c, d) of length 1, the n pictures first, then the c proxies; see `siamese.losses`. Returns
    a single number.

    The gradient of CosFace is linear in the cosine. ArcFace uses cos(θ + m) instead, for which it
    needs arccos, whose slope is infinite at a cosine of 1, and a second branch for θ + m > π.

    References
    ----------
    H. Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018,
    equation 4 and its default settings.

    Examples
    --------
    Two pictures and two proxies:

    >>> import numpy as np
    >>> relations = np.array([[0, 0, 1, -1], [0, 0, -1, 1]])
    >>> embeddings = np.array([[1, 0], [0.6, 0.8], [0.8, 0.6], [0, 1]], np.float32)
    >>> round(float(CosFaceLoss()(relations, embeddings)), 2)
    16.32
    """

    def __init__(
        self, margin: float = 0.35, scale: float = 64.0, name: str = "cosface_loss", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.margin = margin
        self.scale = scale

    def call(self, y_true: Any, y_pred: Any) -> Any:
        similarity = anchor_similarities(y_true, y_pred)
        positive = y_true > 0
        own_logit = self.scale * (masked_mean(similarity, positive, axis=1) - self.margin)
        other_logits = masked_logsumexp(self.scale * similarity, y_true < 0)
        # −log(eᵃ / (eᵃ + eᵇ)) = log(1 + eᵇ⁻ᵃ)
        return masked_mean(ops.softplus(other_logits - own_logit), ops.any(positive, axis=1))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin, "scale": self.scale}
