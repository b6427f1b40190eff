"""The proxy-anchor loss, which compares one proxy per item with the pictures."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from siamese.losses.masked_ops import anchor_similarities, masked_log1p_sum_exp, masked_mean


@keras.saving.register_keras_serializable("siamese")
class ProxyAnchorLoss(keras.losses.Loss):
    """Proxy-anchor loss.

    ::

        L = 1/|C⁺| Σ_{c ∈ C⁺} log(1 + Σ_{i ∈ P_c} exp(−α (S_ic − δ)))
          + 1/|C|  Σ_{c ∈ C}  log(1 + Σ_{i ∈ N_c} exp( α (S_ic + δ)))

    where S is the cosine similarity of picture i and proxy c, and P_c and N_c are the pictures of
    the batch that are positives and negatives of proxy c. C are the proxies that have a positive or
    a negative, and C⁺ those that have a positive. A picture whose item has no proxy counts in the
    second sum only.

    Parameters
    ----------
    margin : float, default=0.1
        The δ of the formula.
    scale : float, default=32.0
        The α of the formula.
    name, **kwargs
        Passed to `keras.losses.Loss`.

    Notes
    -----
    Called with relations (n, n + c) of +1, 0 and -1, whose first n columns are 0, and embeddings
    (n + c, d) of length 1, the n pictures first, then the c proxies; see `siamese.losses`. Returns
    a single number.

    References
    ----------
    S. Kim, D. Kim, M. Cho, S. Kwak, "Proxy Anchor Loss for Deep Metric Learning", CVPR 2020,
    equation 4 and its default settings.

    Examples
    --------
    Two pictures and two proxies:

    >>> import numpy as np
    >>> relations = np.array([[0, 0, 1, -1], [0, 0, -1, 1]])
    >>> embeddings = np.array([[1, 0], [0.6, 0.8], [0.8, 0.6], [0, 1]], np.float32)
    >>> round(float(ProxyAnchorLoss()(relations, embeddings)), 2)
    18.58
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
        similarity = anchor_similarities(y_true, y_pred)
        positive, negative = y_true > 0, y_true < 0
        pull = masked_log1p_sum_exp(-self.scale * (similarity - self.margin), positive, axis=0)
        push = masked_log1p_sum_exp(self.scale * (similarity + self.margin), negative, axis=0)
        compared = ops.any(ops.not_equal(y_true, 0), axis=0)
        return masked_mean(pull, ops.any(positive, axis=0)) + masked_mean(push, compared)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin, "scale": self.scale}
