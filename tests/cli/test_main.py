"""The help texts of the `siamese` command."""

from __future__ import annotations

import shlex

import click
import pytest

from siamese.cli.main import SESSION, cli


@pytest.mark.parametrize("name", cli.commands)
def test_every_command_has_examples_that_it_accepts(name):
    command = cli.commands[name]
    _, _, examples = command.epilog.replace("\\\n", "").partition("\b")
    lines = examples.strip().splitlines()
    assert lines
    for line in lines:
        program, subcommand, *arguments = shlex.split(line)
        assert (program, subcommand) == ("siamese", name)
        command.make_context(name, arguments)


def test_the_commands_of_the_session_are_accepted():
    for line in SESSION:
        if line.startswith("siamese "):
            _, name, *arguments = shlex.split(line.replace("$model", "--keras-model x.hdf5"))
            cli.commands[name].make_context(name, arguments)


@pytest.mark.parametrize("name", cli.commands)
def test_help_texts_are_sentences(name):
    command = cli.commands[name]
    assert command.help.rstrip().endswith(".")
    for option in command.params:
        if isinstance(option, click.Option):
            text, _, _ = option.help.partition("  [default")
            assert text[0].isupper() and text.endswith("."), option.name
