"""The triplet loss, with the two ways to choose its triplets."""

from __future__ import annotations

from typing import Any, Literal, get_args

import keras
from keras import ops

from siamese.losses.masked_ops import NOTHING, cosines, distances, mean_of, squared_distances

Mining = Literal["semi-hard", "hard"]


@keras.saving.register_keras_serializable("siamese")
class TripletLoss(keras.losses.Loss):
    """Triplet loss: a negative has to be farther from the anchor than a positive, by a margin.

    L = mean_{(i, p, n)} max(0, D(i, p) − D(i, n) + a)

    ``"semi-hard"`` takes a triplet of every positive pair (i, p): the nearest negative that is
    farther from i than p is, or the farthest of all where each is nearer. D is the squared
    Euclidean distance; the mean is over the triplets that cost something, for a negative beyond
    the margin is none that is mined.

    ``"hard"`` takes a triplet of every anchor: its farthest positive and its nearest negative. D
    is the Euclidean distance; the mean is over all anchors that have both.

    Anchors without a positive, or without a negative, are in no triplet.

    F. Schroff, D. Kalenichenko, J. Philbin, "FaceNet", CVPR 2015: semi-hard negatives and the
    default margin; the farthest in their absence is TensorFlow Addons' `TripletSemiHardLoss`.
    A. Hermans, L. Beyer, B. Leibe, "In Defense of the Triplet Loss for Person Re-Identification",
    2017, equation 5: batch-hard.

    Parameters
    ----------
    margin : a, in units of D
    mining : "semi-hard" or "hard"

    Call
    ----
    relations : (n, m), +1, 0 or -1
    embeddings : (m, d), length 1, the n anchors first

    Returns one number.
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
            raise ValueError(f"mining is {mining!r}; it is one of {', '.join(get_args(Mining))}")
        self.margin = margin
        self.mining = mining

    def call(self, y_true: Any, y_pred: Any) -> Any:
        similarity = cosines(y_true, y_pred)
        positive, negative = y_true > 0, y_true < 0
        has_negative = ops.any(negative, axis=1, keepdims=True)
        if self.mining == "hard":
            distance = distances(similarity)
            beyond = ops.full_like(distance, NOTHING)
            farthest = ops.max(ops.where(positive, distance, beyond), axis=1, keepdims=True)
            nearest = ops.min(ops.where(negative, distance, -beyond), axis=1, keepdims=True)
            has_both = ops.logical_and(ops.any(positive, axis=1, keepdims=True), has_negative)
            return mean_of(ops.relu(farthest - nearest + self.margin), has_both)
        distance = squared_distances(similarity)
        chosen = _semi_hard(distance, negative)
        cost = ops.relu(distance - ops.take_along_axis(distance, chosen, axis=1) + self.margin)
        triplet = ops.logical_and(positive, has_negative)
        return mean_of(cost, ops.logical_and(triplet, cost > 0))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin, "mining": self.mining}


def _semi_hard(distance: Any, negative: Any) -> Any:
    """For each column, of the row's negatives the nearest that is farther; or else the farthest.

    Sorted, not compared column by column: a large memory would take (n, m, m) numbers. Of a
    negative just as far as the column either it or the next is taken.

    Parameters
    ----------
    distance : (n, m)
    negative : bool (n, m)

    Returns
    -------
    int (n, m), columns; of no meaning in a row without negatives
    """
    order = ops.argsort(distance, axis=1)
    counted = ops.cast(ops.take_along_axis(negative, order, axis=1), "int32")
    # How many negatives are as near as each column, or nearer.
    nearer = ops.take_along_axis(ops.cumsum(counted, axis=1), ops.argsort(order, axis=1), axis=1)
    last = ops.maximum(ops.sum(counted, axis=1, keepdims=True) - 1, 0)
    beyond = ops.full_like(distance, -NOTHING)
    negatives = ops.argsort(ops.where(negative, distance, beyond), axis=1)
    return ops.take_along_axis(negatives, ops.minimum(nearer, last), axis=1)
