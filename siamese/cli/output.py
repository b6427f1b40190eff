"""Results on standard output: a JSON document, or a table."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from siamese.errors import InputError
from siamese.utils.signals import handle_stop_signals
from siamese.utils.text import pluralize

if TYPE_CHECKING:
    from siamese.data.catalogue import Skipped


def print_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    click.echo(json.dumps(document, indent=2))


def print_table(
    heads: tuple[str, ...], rows: Iterable[tuple[str, ...]], title: str | None = None
) -> None:
    """Print a table on standard output, as wide as the terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, title=title and Text(title), title_justify="left")
    for head in heads:
        table.add_column(head, overflow="fold")  # a cut name is no name
    for row in rows:
        table.add_row(*map(Text, row))  # Text: a file name may look like markup
    console = Console()
    if not console.is_terminal:  # for grep and the like: a line a row, however long
        console.width = 10_000
    console.print(table)


SOME_SKIPPED = 3
"""Exit code: done, but some pictures were skipped."""


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """Turn an `InputError` into its lines on standard error and exit code 2, and hear stops."""
    try:
        with handle_stop_signals(
            "stopped; what was finished stands, and the same command goes on (train: with --resume)"
        ):
            yield
    except InputError as error:
        lines = error.lines
    except MemoryError:
        lines = ["not enough memory; give a smaller --batch-size or --picture-size"]
    except BrokenPipeError:
        raise  # whoever read has had enough; click ends quietly
    except OSError as error:  # a full disk under standard output, say
        lines = [f"{error.filename or 'standard output'}: {error.strerror or error}"]
    else:
        return
    for line in lines:
        click.echo(f"error: {line}", err=True)
    sys.exit(2)


def exit_if_skipped(skipped: Sequence[Skipped]) -> None:
    """Name the skipped pictures; with any, end with exit code 3."""
    # What is searched for need not be of an item.
    items = (f"item {one.item_id}, " if one.item_id else "" for one in skipped)
    lines = [
        f"skipped: {item}file {one.filename}: {one.reason}"
        for item, one in zip(items, skipped, strict=True)
    ]
    for line in lines:
        click.echo(line, err=True)
    if lines:
        click.echo(f"{pluralize(len(lines), 'picture')} skipped", err=True)
        sys.exit(SOME_SKIPPED)
