"""The flags of `siamese train` that make a recipe: one for each of its choices."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar, get_args

import click

from siamese.models.defaults import Pooling
from siamese.training.recipe import (
    HEAD_SIZE,
    LEARNING_RATE,
    OTHERS_LEARNING_RATE,
    Batches,
    Layers,
    LossName,
    Recipe,
    Sampling,
)

F = TypeVar("F", bound=Callable[..., Any])

_SECONDS = {"s": 1, "m": 60, "h": 3600}


class Duration(click.ParamType[float]):
    """A time as people write it, ``90s``, ``5m`` or ``1.5h``, as seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", str(value))
        if found is None or float(found[1]) == 0:
            self.fail(f"{value!r} is no time; write it as 90s, 5m or 1.5h", param, ctx)
        return float(found[1]) * _SECONDS[found[2]]


def recipe_options(function: F) -> F:
    """Give a verb the flags of the recipe, in the order of the work.

    Each is None where it is not given, so that `--resume` can tell.
    """
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def _flag(
    name: str, kind: click.ParamType[Any], text: str, default: object = None, field: str = ""
) -> Callable[[F], F]:
    field = field or name.removeprefix("--").replace("-", "_")
    shown = getattr(Recipe, field) if default is None else default
    return click.option(name, field, type=kind, help=f"{text}  [default: {shown}]")


def _choice(values: Any) -> click.Choice[str]:
    return click.Choice(get_args(values))


_OPTIONS = (
    _flag(
        "--held-out-share",
        click.FloatRange(0, 0.5),
        "Without --held-out, the share of the items kept for that.",
        field="held_out",
    ),
    _flag(
        "--layers",
        _choice(Layers),
        "Which are trained: all; a head alone, in seconds, on features computed once; or the head "
        "in the first epoch and all after it.",
    ),
    _flag("--epochs", click.IntRange(1), "Each shows every picture once."),
    _flag("--budget", Duration(), "End within this time: 90s, 5m, 1.5h.", "none"),
    _flag(
        "--patience", click.IntRange(1), "End after so many epochs without a better one.", "none"
    ),
    _flag(
        "--sampling",
        _choice(Sampling),
        "Every pair of a batch, or independent random pairs.",
    ),
    _flag("--batch-size", click.IntRange(2), "Pictures, or random pairs, a step."),
    _flag("--pictures-per-item", click.IntRange(2), "Pictures of one item in a batch."),
    _flag(
        "--batches",
        _choice(Batches),
        "Fill them at random, with labels met equally often, or with neighbouring items.",
    ),
    _flag("--memory", click.IntRange(0), "Pictures of earlier batches to compare with as well."),
    click.option(
        "--hard-negatives",
        is_flag=True,
        default=None,
        help="Of random pairs: take half of the negatives among near ones.",
    ),
    _flag(
        "--loss",
        _choice(LossName),
        "Of the pairs of a batch.",
        "multi-similarity; contrastive for random pairs",
    ),
    _flag("--margin", click.FloatRange(0, min_open=True), "Of the loss.", "the loss's own"),
    _flag(
        "--learning-rate",
        click.FloatRange(0, min_open=True),
        "The highest; after a warm-up, down a cosine.",
        f"{LEARNING_RATE}; {OTHERS_LEARNING_RATE} with another pretrained --backbone",
    ),
    _flag("--warm-up", click.FloatRange(0, 0.9), "Share of the way on which the rate goes up."),
    _flag(
        "--first-layer-rate",
        click.FloatRange(0, 1, min_open=True),
        "Rate of the backbone's first layer, in parts of its last one's.",
    ),
    _flag(
        "--projection-rate",
        click.FloatRange(0, min_open=True),
        "Rate of the projection of --embedding-size, in parts of --learning-rate.",
    ),
    _flag(
        "--weight-average",
        click.FloatRange(0, 1, max_open=True),
        "Keep an average of the weights, of this momentum (0.99, say); 0 is none.",
    ),
    click.option(
        "--augmentation/--no-augmentation",
        "augmented",
        default=None,
        help="Show pictures in a new random view each time.  [default: --augmentation]",
    ),
    click.option(
        "--flip/--no-flip",
        default=None,
        help="Mirror half of the views, where left and right do not matter.  [default: --no-flip]",
    ),
    _flag("--erasing", click.FloatRange(0, 1), "Share of the views with a covered rectangle."),
    _flag(
        "--first-picture-size",
        click.IntRange(32, 2048),
        "Begin with smaller pictures, which is faster.",
        "--picture-size",
    ),
    _flag("--pooling", _choice(Pooling), "From the backbone's grid of features to one vector."),
    _flag(
        "--embedding-size",
        click.IntRange(2),
        "Dimensions of a learned projection.",
        f"none, the backbone's features as they are; {HEAD_SIZE} with a head",
    ),
    _flag("--seed", click.IntRange(0), "Another seed, another run."),
)
