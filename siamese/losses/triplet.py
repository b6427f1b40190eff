"""Triplet loss."""

from __future__ import annotations

from typing import Any, Literal, get_args

import keras
from keras import ops

from siamese.losses import masked_ops
from siamese.losses.masked_ops import LARGE, masked_mean

Mining = Literal["semi-hard", "hard"]


@keras.saving.register_keras_serializable("siamese")
class TripletLoss(keras.losses.Loss):
    """Triplet loss, with triplets mined from relations (see `siamese.losses`).

    ::

        L = mean_{(i, p, n)} max(0, D(i, p) − D(i, n) + a)

    where i is an anchor, p one of its positives and n one of its negatives.

    - ``"semi-hard"`` mining forms a triplet for each positive pair (i, p), where n is the nearest
      negative that is farther from i than p is, or the farthest negative if all are nearer. D is
      the squared Euclidean distance. The mean is over the triplets with a loss above 0.
    - ``"hard"`` mining forms a triplet for each anchor from its farthest positive and its nearest
      negative. D is the Euclidean distance. The mean is over all anchors that have both.

    Parameters
    ----------
    margin : float, default=0.2
        The a of the formula, in units of D.
    mining : {"semi-hard", "hard"}, default="semi-hard"
        How triplets are chosen; see above.

    References
    ----------
    F. Schroff, D. Kalenichenko, J. Philbin, "FaceNet: A Unified Embedding for Face Recognition and
    Clustering", CVPR 2015, for semi-hard mining and the default margin. The fallback to the
    farthest negative is from `TripletSemiHardLoss` in TensorFlow Addons.

    A. Hermans, L. Beyer, B. Leibe, "In Defense of the Triplet Loss for Person Re-Identification",
    2017, equation 5, for hard mining.

    Examples
    --------
    >>> import numpy as np
    >>> relations = np.array([[0, 1, -1], [1, 0, -1], [-1, -1, 0]])
    >>> embeddings = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8]], np.float32)
    >>> round(float(TripletLoss()(relations, embeddings)), 4)
    0.52
    >>> round(float(TripletLoss(mining="hard")(relations, embeddings)), 4)
    0.2748
    """

    def __init__(
        self,
        margin: float = 0.2,
        mining: Mining = "semi-hard",
        name: str = "triplet_loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        if mining not in get_args(Mining):
            raise ValueError(f"mining is {mining!r}, must be one of {', '.join(get_args(Mining))}")
        self.margin = margin
        self.mining = mining

    def call(self, y_true: Any, y_pred: Any) -> Any:
        similarity = masked_ops.anchor_similarities(y_true, y_pred)
        positive, negative = y_true > 0, y_true < 0
        has_negative = ops.any(negative, axis=1, keepdims=True)
        if self.mining == "hard":
            distance = masked_ops.distances(similarity)
            farthest = ops.max(ops.where(positive, distance, -LARGE), axis=1, keepdims=True)
            nearest = ops.min(ops.where(negative, distance, LARGE), axis=1, keepdims=True)
            has_both = ops.any(positive, axis=1, keepdims=True) & has_negative
            return masked_mean(ops.relu(farthest - nearest + self.margin), has_both)
        distance = masked_ops.squared_distances(similarity)
        chosen = _find_semi_hard_negatives(distance, negative)
        cost = ops.relu(distance - ops.take_along_axis(distance, chosen, axis=1) + self.margin)
        return masked_mean(cost, positive & has_negative & (cost > 0))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin, "mining": self.mining}


def _find_semi_hard_negatives(distance: Any, negative: Any) -> Any:
    """Return an (n, m) matrix: entry (i, p) is the column of the negative for the pair (i, p).

    Sorting avoids an (n, m, m) comparison. A negative at the same distance as p may count as nearer
    or as farther. Rows without negatives are undefined.
    """
    order = ops.argsort(distance, axis=1)
    is_negative = ops.cast(ops.take_along_axis(negative, order, axis=1), "int32")
    # For each column, count the negatives that are no farther from the anchor than it is.
    nearer = ops.cumsum(is_negative, axis=1)
    nearer = ops.take_along_axis(nearer, ops.argsort(order, axis=1), axis=1)
    last = ops.maximum(ops.sum(is_negative, axis=1, keepdims=True) - 1, 0)
    negatives = ops.argsort(ops.where(negative, distance, LARGE), axis=1)
    return ops.take_along_axis(negatives, ops.minimum(nearer, last), axis=1)
