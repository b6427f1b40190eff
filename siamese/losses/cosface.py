"""The large-margin cosine loss, CosFace: a softmax over the items."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from siamese.losses.masked_ops import cosines, log_sum_exp, mean_of


@keras.saving.register_keras_serializable("siamese")
class CosFaceLoss(keras.losses.Loss):
    """Large-margin cosine loss (CosFace).

    L = mean_i −log( exp(s (Sᵢₚ − m)) / (exp(s (Sᵢₚ − m)) + Σ_{n ∈ Nᵢ} exp(s Sᵢₙ)) )

    with Sᵢₚ the cosine of picture i and the proxy of its item (the mean cosine, should it have
    several) and Nᵢ the proxies of the other items; those that share a label with it are not in
    the softmax. A picture whose item has no proxy has no loss and is not in the mean.

    CosFace, not ArcFace, for its gradient: it is linear in the cosine, where ArcFace's cos(θ + m)
    goes through arccos, whose slope is infinite at a cosine of 1 (just where training leads), and
    which needs a second branch for θ + m > π.

    H. Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018,
    equation 4, and its defaults.

    Parameters
    ----------
    margin : m, by which the cosine with the own proxy has to exceed the others
    scale : s

    Call
    ----
    relations : (n, n + c), +1, 0 or -1; the first n columns are 0, the others the proxies
    embeddings : (n + c, d), length 1: the pictures, then the proxies

    Returns one number.
    """

    def __init__(
        self, margin: float = 0.35, scale: float = 64.0, name: str = "cosface_loss", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.margin = margin
        self.scale = scale

    def call(self, y_true: Any, y_pred: Any) -> Any:
        similarity = cosines(y_true, y_pred)
        positive = y_true > 0
        own = self.scale * (mean_of(similarity, positive, axis=1) - self.margin)
        others = log_sum_exp(self.scale * similarity, y_true < 0)
        # −log(eᵃ / (eᵃ + eᵇ)) = log(1 + eᵇ⁻ᵃ)
        return mean_of(ops.softplus(others - own), ops.any(positive, axis=1))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin, "scale": self.scale}
