"""Pooling of a feature map into one vector per picture."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from siamese.models.defaults import Pooling


def apply_pooling(features: Any, pooling: Pooling) -> Any:
    """Pool feature maps (n, h, w, c) into vectors (n, c) with a layer named "pooling"."""
    if pooling == "average":
        return layers.GlobalAveragePooling2D(name="pooling")(features)
    return GeneralisedMean(name="pooling", dtype="float32")(features)


@keras.saving.register_keras_serializable("siamese")
class GeneralisedMean(layers.Layer):
    """Generalised-mean (GeM) pooling of each channel over all positions in the feature map.

    ::

        f_c = (1/|X_c| Σ_{x ∈ X_c} max(x, ε)ᵖ)^(1/p)

    X_c holds the values of channel c. p is learned, starting from `power`; p = 1 gives the mean.

    References
    ----------
    F. Radenović, G. Tolias, O. Chum, "Fine-Tuning CNN Image Retrieval with No Human Annotation",
    TPAMI 2019, equation 3. The default `power` is also from this paper.

    Examples
    --------
    >>> import numpy as np
    >>> features = np.array([1, 2, 3], np.float32).reshape(1, 1, 3, 1)
    >>> round(float(GeneralisedMean(power=3)(features)[0, 0]), 4)  # ∛((1 + 8 + 27) / 3)
    2.2894
    """

    EPSILON = 1e-4
    """The ε of the formula; εᵖ does not underflow float32 up to p = 9."""

    def __init__(self, power: float = 3.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.power = power

    def build(self, input_shape: Any) -> None:
        self.p = self.add_weight(
            name="p", shape=(), initializer=keras.initializers.Constant(self.power)
        )

    def call(self, inputs: Any) -> Any:
        p = ops.cast(self.p, inputs.dtype)
        powers = ops.power(ops.maximum(inputs, self.EPSILON), p)
        return ops.power(ops.mean(powers, axis=(1, 2)), 1 / p)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "power": self.power}
