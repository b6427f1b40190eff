"""The proxy-anchor loss: a proxy of each item is the anchor, pictures are what it compares."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from siamese.losses.masked_ops import cosines, log_one_plus_sum_exp, mean_of


@keras.saving.register_keras_serializable("siamese")
class ProxyAnchorLoss(keras.losses.Loss):
    """Proxy-anchor loss.

    L = 1/|C⁺| Σ_{c ∈ C⁺} log(1 + Σ_{i ∈ P_c} exp(−α (S_ic − δ)))
      + 1/|C|  Σ_{c ∈ C}  log(1 + Σ_{i ∈ N_c} exp( α (S_ic + δ)))

    with S the cosine similarity of picture i and proxy c, P_c and N_c the pictures of the batch
    that are positives and negatives of c, C the proxies that have any of either, and C⁺ those
    that have a positive. A picture whose label leaves out every other item still pulls its own
    proxy; one whose item has no proxy only pushes the others.

    S. Kim, D. Kim, M. Cho, S. Kwak, "Proxy Anchor Loss for Deep Metric Learning", CVPR 2020,
    equation 4, and its defaults.

    Parameters
    ----------
    margin : δ
    scale : α

    Call
    ----
    relations : (n, n + c), +1, 0 or -1; the first n columns are 0, the others the proxies
    embeddings : (n + c, d), length 1: the pictures, then the proxies

    Returns one number.
    """

    def __init__(
        self,
        margin: float = 0.1,
        scale: float = 32.0,
        name: str = "proxy_anchor_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.margin = margin
        self.scale = scale

    def call(self, y_true: Any, y_pred: Any) -> Any:
        similarity = cosines(y_true, y_pred)
        positive, negative = y_true > 0, y_true < 0
        pull = log_one_plus_sum_exp(-self.scale * (similarity - self.margin), positive, axis=0)
        push = log_one_plus_sum_exp(self.scale * (similarity + self.margin), negative, axis=0)
        compared = ops.any(ops.not_equal(y_true, 0), axis=0)
        return mean_of(pull, ops.any(positive, axis=0)) + mean_of(push, compared)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin, "scale": self.scale}
