"""Results on standard output: a JSON document, or a table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click


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
