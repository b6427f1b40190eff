"""Learning rate schedule."""

from __future__ import annotations

from math import pi
from typing import Any

import keras
from keras import ops

WARM_UP = 0.1
"""Fraction of the training during which the learning rate rises."""


class WarmUpThenCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Schedule with a linear warm-up, followed by a cosine decay to zero.

    With s the completed fraction of the training, and w the warm-up fraction::

        rate(s) = peak · s / w                                   if s < w
                  peak · (1 + cos(π (s − w) / (1 − w))) / 2      otherwise

    s is the fraction of steps done or of the time budget used, whichever is larger.

    Parameters
    ----------
    peak : float
        Peak learning rate.
    steps : int
        Number of steps in the whole training.
    warm_up : float, default `WARM_UP`
        Warm-up fraction, w, from 0 to 1.

    Attributes
    ----------
    budget_used : keras.Variable
        Used fraction of the time budget. The caller updates this.
    """

    def __init__(self, peak: float, steps: int, warm_up: float = WARM_UP) -> None:
        self.peak = peak
        self.steps = steps
        self.warm_up = max(warm_up, 1 / (steps + 1))  # at least one step
        self.budget_used = keras.Variable(0.0, trainable=False, name="budget_used")

    def __call__(self, step: Any) -> Any:
        done = (ops.cast(step, "float32") + 1) / (self.steps + 1)
        done = ops.minimum(ops.maximum(done, self.budget_used), 1.0)
        fall = (1 + ops.cos(pi * (done - self.warm_up) / (1 - self.warm_up))) / 2
        return self.peak * ops.where(done < self.warm_up, done / self.warm_up, fall)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "steps": self.steps, "warm_up": self.warm_up}
