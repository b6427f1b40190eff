"""Schedule the learning rate of a training."""

from __future__ import annotations

from math import pi
from typing import Any

import keras
from keras import ops

WARM_UP = 0.1
"""Share of the training over which the learning rate rises."""


class WarmUpThenCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate that rises linearly and then falls along a cosine to zero.

    With s the share of the training that is done and w the warm-up::

        rate(s) = peak · s / w                                   if s < w
                  peak · (1 + cos(π (s − w) / (1 − w))) / 2      otherwise

    s is counted in steps or, if a time budget is used up faster, in time.

    Parameters
    ----------
    peak : float
        The highest rate.
    steps : int
        Steps of the whole training.
    warm_up : float, default `WARM_UP`
        w, from 0 to 1.

    Attributes
    ----------
    budget_used : keras.Variable
        Share of the time budget that is used up, for the caller to assign.
    """

    def __init__(self, peak: float, steps: int, warm_up: float = WARM_UP) -> None:
        self.peak = peak
        self.steps = steps
        self.warm_up = max(warm_up, 1 / (steps + 1))  # the rate of the first step is not 0
        self.budget_used = keras.Variable(0.0, trainable=False, name="budget_used")

    def __call__(self, step: Any) -> Any:
        done = (ops.cast(step, "float32") + 1) / (self.steps + 1)
        done = ops.minimum(ops.maximum(done, self.budget_used), 1.0)
        fall = (1 + ops.cos(pi * (done - self.warm_up) / (1 - self.warm_up))) / 2
        return self.peak * ops.where(done < self.warm_up, done / self.warm_up, fall)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "steps": self.steps, "warm_up": self.warm_up}
