"""Output of results as JSON or tables, error messages and exit codes."""

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
"""Exit codes for invalid input or usage (the same as click's), and for skipped pictures."""


def print_json(document: Any) -> None:
    """Print one JSON document to standard output."""
    click.echo(json.dumps(document, indent=2))


def print_table(
    header: tuple[str, ...], rows: Iterable[tuple[str, ...]], title: str | None = None
) -> None:
    """Print a table to standard output, fitted to the width of the terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, title=title and Text(title), title_justify="left")
    for name in header:
        table.add_column(name, overflow="fold")  # a truncated filename is useless
    for row in rows:
        table.add_row(*map(Text, row))  # `Text`, because a filename may look like markup
    console = Console()
    if not console.is_terminal:  # do not wrap rows, so that grep finds whole rows
        console.width = 10_000
    console.print(table)


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """Print each expected error on one line and exit with code 2; also handle stop signals."""
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
        raise  # the reader closed the pipe; click then exits quietly
    except OSError as error:  # for example, a full disk
        lines = [f"{error.filename or 'standard output'}: {error.strerror or error}"]
    else:
        return
    for line in lines:
        click.echo(f"error: {line}", err=True)
    sys.exit(EXIT_ERROR)


def exit_if_skipped(skipped: Sequence[Skipped]) -> None:
    """If pictures were skipped, list them and exit with code 3."""
    if not skipped:
        return
    for picture in skipped:
        item = f"item {picture.item_id}, " if picture.item_id else ""  # a query may have no item
        click.echo(f"skipped: {item}file {picture.filename}: {picture.reason}", err=True)
    click.echo(f"{pluralize(len(skipped), 'picture')} skipped", err=True)
    sys.exit(EXIT_SKIPPED)
