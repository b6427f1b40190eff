"""Print results as JSON or tables, and end the program with the right exit code."""

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

EXIT_ERROR, EXIT_SKIPPED = 2, 3
"""Exit codes for invalid input or usage, as in click, and for success with pictures skipped."""


def print_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    click.echo(json.dumps(document, indent=2))


def print_table(
    header: tuple[str, ...], rows: Iterable[tuple[str, ...]], title: str | None = None
) -> None:
    """Print a table on standard output, as wide as the terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, title=title and Text(title), title_justify="left")
    for name in header:
        table.add_column(name, overflow="fold")  # a truncated file name is useless
    for row in rows:
        table.add_row(*map(Text, row))  # Text, because a file name may look like markup
    console = Console()
    if not console.is_terminal:  # one line per row for grep, however long
        console.width = 10_000
    console.print(table)


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """Print expected errors as one line each and exit with code 2, and handle stop signals."""
    try:
        with handle_stop_signals(
            "stopped; finished work is saved; repeat the command to continue (train: with --resume)"
        ):
            yield
    except InputError as error:
        lines = error.lines
    except MemoryError:
        lines = ["out of memory; use a smaller --batch-size or --picture-size"]
    except BrokenPipeError:
        raise  # the reader has closed the pipe; click exits quietly
    except OSError as error:  # for example, standard output goes to a full disk
        lines = [f"{error.filename or 'standard output'}: {error.strerror or error}"]
    else:
        return
    for line in lines:
        click.echo(f"error: {line}", err=True)
    sys.exit(EXIT_ERROR)


def exit_if_skipped(skipped: Sequence[Skipped]) -> None:
    """List the skipped pictures, if any, and exit with code 3."""
    if not skipped:
        return
    for picture in skipped:
        item = f"item {picture.item_id}, " if picture.item_id else ""  # a query may have no item
        click.echo(f"skipped: {item}file {picture.filename}: {picture.reason}", err=True)
    click.echo(f"{pluralize(len(skipped), 'picture')} skipped", err=True)
    sys.exit(EXIT_SKIPPED)
