"""Adam in which layers learn at rates of their own, and how the rate goes up and down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import pi
from typing import Any

import keras
from keras import ops

from siamese.models.embedding_model import PROJECTION
from siamese.models.layer_walk import walk_layers
from siamese.models.pooling import GeneralisedMean
from siamese.training.proxies import ItemProxies
from siamese.training.recipe import Recipe

PROXY_RATE = 100.0
"""Rate of proxies, in parts of the learning rate: they begin anywhere (Kim et al. 2020, 4.1)."""


class AdamAtRates(keras.optimizers.Adam):
    """Adam with a rate for each variable, in parts of the learning rate.

    Parameters
    ----------
    schedule : of the learning rate
    rates : one for each trainable variable of the model, in their order
    """

    def __init__(self, schedule: WarmUpThenCosine, rates: Sequence[float], **kwargs: Any) -> None:
        super().__init__(schedule, **kwargs)
        self.schedule = schedule
        self.rates = list(rates)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = self.rates[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * rate)

    def finalize_variable_values(self, var_list: Any) -> None:
        """Leave the weights as they are after `fit`: the average is a checkpoint of its own."""


class WarmUpThenCosine(keras.optimizers.schedules.LearningRateSchedule):
    """The rate of each step, by the share s of the way that is gone.

    rate(s) = peak · s / w                                   while s < w, the warm-up
              peak · (1 + cos(π (s − w) / (1 − w))) / 2      after that

    The way is gone by steps or, where a budget of time is faster used up, by that.

    Parameters
    ----------
    peak : the highest rate
    steps : of the whole training
    warm_up : w, a share of it
    """

    def __init__(self, peak: float, steps: int, warm_up: float) -> None:
        self.peak = peak
        self.steps = steps
        self.warm_up = max(warm_up, 1 / (steps + 1))  # a first step at rate 0 would be none
        self.budget_used = keras.Variable(0.0, trainable=False, name="budget_used")
        """Share of the time that is used up, set from outside."""

    def __call__(self, step: Any) -> Any:
        gone = (ops.cast(step, "float32") + 1) / (self.steps + 1)
        gone = ops.minimum(ops.maximum(gone, self.budget_used), 1.0)
        after = (gone - self.warm_up) / (1 - self.warm_up)
        down = (1 + ops.cos(pi * after)) / 2
        return self.peak * ops.where(gone < self.warm_up, gone / self.warm_up, down)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "steps": self.steps, "warm_up": self.warm_up}


def make_optimizer(fitted: keras.Model, recipe: Recipe, steps: int) -> AdamAtRates:
    """Adam for a model, at the recipe's rates, over this many steps."""
    return AdamAtRates(
        WarmUpThenCosine(recipe.highest_rate, steps, recipe.warm_up),
        rates(fitted, recipe),
        use_ema=recipe.weight_average > 0,
        ema_momentum=recipe.weight_average,
    )


def rates(fitted: keras.Model, recipe: Recipe) -> list[float]:
    """Rate of each trainable variable, in parts of the learning rate.

    The backbone's layers go from `first_layer_rate` γ up to 1, evenly in the logarithm: layer i of
    L (from 0) learns at γ^(1 − i / (L − 1)).
    """
    of_variable: dict[int, float] = {}
    others = []
    for layer in walk_layers(fitted):
        if layer.name == PROJECTION:
            _set(of_variable, layer.trainable_variables, recipe.projection_rate)
        elif isinstance(layer, ItemProxies):
            _set(of_variable, layer.trainable_variables, PROXY_RATE)
        elif isinstance(layer, GeneralisedMean):  # no part of the backbone
            _set(of_variable, layer.trainable_variables, 1.0)
        elif layer.trainable_variables:
            others.append(layer)
    for place, layer in enumerate(others):
        depth = 1 - place / max(1, len(others) - 1)
        _set(of_variable, layer.trainable_variables, recipe.first_layer_rate**depth)
    return [of_variable[id(variable)] for variable in fitted.trainable_variables]


def _set(of_variable: dict[int, float], variables: Iterable[Any], rate: float) -> None:
    of_variable.update((id(variable), rate) for variable in variables)
