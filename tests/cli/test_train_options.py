from __future__ import annotations

import re
from dataclasses import asdict, fields

import click
import pytest
from click.testing import CliRunner

from siamese.cli.main import cli
from siamese.cli.train_options import Duration, recipe_options
from siamese.training.recipe import Recipe

ELSEWHERE = {"backbone", "weights", "picture_size"}
"""Fields whose flags choose the model, in every command."""


@click.command()
@recipe_options
@click.pass_context
def command(ctx: click.Context, **flags: object) -> dict[str, object]:
    """Return the flags of the recipe that are given."""
    return flags


OPTIONS = {option.name: option for option in command.params}


def given(*words: str) -> dict[str, object]:
    """Return the values of the flags that are given."""
    flags = command.main(list(words), standalone_mode=False)
    return {name: value for name, value in flags.items() if value is not None}


def test_every_choice_of_the_recipe_is_a_flag_and_no_other_is():
    assert set(OPTIONS) == {field.name for field in fields(Recipe)} - ELSEWHERE
    train = {option.name for option in cli.commands["train"].params}
    assert train >= {field.name for field in fields(Recipe)}


def test_flags_have_the_names_of_the_fields():
    renamed = {"held_out": "--held-out-share", "augmented": "--augmentation"}
    for name, option in OPTIONS.items():
        assert option.opts == [renamed.get(name, f"--{name.replace('_', '-')}")]


def test_the_help_shows_the_defaults_of_the_recipe():
    for name, option in OPTIONS.items():
        value = getattr(Recipe(), name)
        found = re.search(r"  \[default: (.+)\]$", option.help)
        if option.is_flag and not option.secondary_opts:
            assert found is None and value is False, name
        elif option.is_flag:
            (on,), (off,) = option.opts, option.secondary_opts
            assert found[1] == (on if value else off), name
        elif value is None:
            assert not re.fullmatch(r"[\d.]+", found[1]), f"{name} has no default, {found[1]} shown"
        else:
            assert found[1] == str(value), name


def test_a_flag_that_is_not_given_is_none():
    assert given() == {}
    for name, option in OPTIONS.items():
        value = getattr(Recipe(), name)
        if option.is_flag:
            assert given(option.opts[0]) == {name: True}
            if option.secondary_opts:
                assert given(option.secondary_opts[0]) == {name: False}
        elif value is not None:
            assert given(option.opts[0], str(value)) == {name: value}
            assert type(given(option.opts[0], str(value))[name]) is type(value), name


def test_flags_make_a_recipe():
    words = (
        "--held-out-share 0.2 --layers head --epochs 9 --budget 5m --patience 2 "
        "--sampling batch-pairs --batch-size 64 --pictures-per-item 2 --batches hard-items "
        "--memory 128 --loss triplet-hard --margin 0.3 --learning-rate 1e-3 --no-augmentation "
        "--flip --pooling gem --embedding-size 128 --seed 4"
    )
    recipe = Recipe(**given(*words.split()))
    assert recipe == Recipe(
        held_out=0.2,
        layers="head",
        epochs=9,
        budget=300.0,
        patience=2,
        batch_size=64,
        pictures_per_item=2,
        batches="hard-items",
        memory=128,
        loss="triplet-hard",
        margin=0.3,
        learning_rate=1e-3,
        augmented=False,
        flip=True,
        pooling="gem",
        embedding_size=128,
        seed=4,
    )
    same = {"sampling", *ELSEWHERE}
    changed = {name for name, value in asdict(recipe).items() if value != getattr(Recipe(), name)}
    assert changed == {field.name for field in fields(Recipe)} - same, "a flag is not tried here"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90s", 90), ("5m", 300), ("1.5h", 5400), ("0.5s", 0.5), ("2h", 7200), ("10.25m", 615)],
)
def test_durations_have_a_unit(written, seconds):
    assert given("--budget", written) == {"budget": seconds}
    assert Duration().convert(float(seconds), None, None) == seconds


@pytest.mark.parametrize(
    "written", ["", "5", "m", "5 m", "5min", "-5m", "1h30m", "0s", "0.0h", "1.m", "nans", "5M"]
)
def test_any_other_duration_is_refused_in_one_line(written):
    result = CliRunner().invoke(command, ["--budget", written])
    assert result.exit_code == 2
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("Error: "))
    assert (
        f"{written!r} is not a duration; write it as 90s, 5m or 1.5h" in line and "--budget" in line
    )
    assert result.stderr.splitlines()[-1] == line


@pytest.mark.parametrize(
    "words",
    [
        "--epochs 0",
        "--patience 0",
        "--batch-size 1",
        "--pictures-per-item 1",
        "--memory -1",
        "--margin 0",
        "--learning-rate 0",
        "--embedding-size 1",
        "--held-out-share 0.6",
        "--loss hinge",
        "--pooling sum",
        "--layers head-then-all",
    ],
)
def test_values_out_of_range_are_refused(words):
    result = CliRunner().invoke(command, words.split())
    assert result.exit_code == 2 and f"Invalid value for '{words.split()[0]}'" in result.stderr
