"""Options of the train command that set the fields of a `Recipe`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar, get_args

import click

from siamese.cli.options import combine_options
from siamese.training.recipe import (
    CHOICES,
    HEAD_SIZE,
    LEARNING_RATE,
    OTHER_LEARNING_RATE,
    Recipe,
)

F = TypeVar("F", bound=Callable[..., Any])

_SECONDS = {"s": 1, "m": 60, "h": 3600}


class Duration(click.ParamType[float]):
    """Parameter type for durations such as ``90s``, ``5m`` or ``1.5h``, converted to seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", str(value))
        if match is None or float(match[1]) == 0:
            self.fail(f"{value!r} is not a duration; write it as 90s, 5m or 1.5h", param, ctx)
        return float(match[1]) * _SECONDS[match[2]]


def _option(
    name: str, kind: click.ParamType[Any], text: str, default: object = None, field: str = ""
) -> Callable[[F], F]:
    """Return an option for a `Recipe` field; help shows the `default`, or else the field's own."""
    field = field or name.removeprefix("--").replace("-", "_")
    shown = getattr(Recipe, field) if default is None else default
    return click.option(name, field, type=kind, help=f"{text}  [default: {shown}]")


def _choice(field: str) -> click.Choice[str]:
    return click.Choice(get_args(CHOICES[field]))


_OPTIONS = (
    _option(
        "--held-out-share",
        click.FloatRange(0, 0.5),
        "Fraction of the items to hold out if --held-out is not given.",
        field="held_out",
    ),
    _option(
        "--layers",
        _choice("layers"),
        "Train all layers, or only a head on precomputed features, which takes seconds.",
    ),
    _option("--epochs", click.IntRange(1), "Number of epochs; each shows every picture once."),
    _option("--budget", Duration(), "Finish within this time, such as 90s, 5m or 1.5h.", "none"),
    _option(
        "--patience", click.IntRange(1), "Stop after this many epochs without improvement.", "none"
    ),
    _option(
        "--sampling",
        _choice("sampling"),
        "Learn from all pairs in a batch, or from independent random pairs.",
    ),
    _option("--batch-size", click.IntRange(2), "Number of pictures or random pairs per step."),
    _option("--pictures-per-item", click.IntRange(2), "Number of pictures per item in a batch."),
    _option(
        "--batches",
        _choice("batches"),
        "Fill batches at random, with each label equally often, or with similar items.",
    ),
    _option("--memory", click.IntRange(0), "Earlier pictures to compare each batch with."),
    _option(
        "--loss",
        _choice("loss"),
        "Loss over the pairs in a batch.",
        "multi-similarity; contrastive with random pairs",
    ),
    _option(
        "--margin", click.FloatRange(0, min_open=True), "Margin of the loss.", "the loss's own"
    ),
    _option(
        "--learning-rate",
        click.FloatRange(0, min_open=True),
        "Peak learning rate, after a warm-up and before a cosine decay.",
        f"{LEARNING_RATE}; {OTHER_LEARNING_RATE} with another pretrained --backbone",
    ),
    click.option(
        "--augmentation/--no-augmentation",
        "augmented",
        default=None,
        help="Show a new random view of a picture each time.  [default: --augmentation]",
    ),
    click.option(
        "--flip/--no-flip",
        default=None,
        help="Mirror half of the views, if left and right do not matter.  [default: --no-flip]",
    ),
    _option(
        "--pooling", _choice("pooling"), "How to pool the backbone's feature map into a vector."
    ),
    _option(
        "--embedding-size",
        click.IntRange(2),
        "Number of dimensions of a learned projection.",
        f"none, use the features; {HEAD_SIZE} with --layers head",
    ),
    _option("--seed", click.IntRange(0), "Random seed."),
)

recipe_options = combine_options(*_OPTIONS)
"""Adds the recipe options; an omitted one is None, which `--resume` tells from a set default."""
