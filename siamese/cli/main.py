"""The `siamese` program, which groups all commands."""

from __future__ import annotations

from typing import Any

import click

from siamese.cli.catalogue import check, from_csv, from_folder, split
from siamese.cli.embed import embed
from siamese.cli.evaluate import evaluate
from siamese.cli.export import export
from siamese.cli.index import index
from siamese.cli.options import format_examples
from siamese.cli.output import report_errors
from siamese.cli.report import report
from siamese.cli.search import search
from siamese.cli.serve import serve
from siamese.cli.train import train
from siamese.version import __version__


class CommandGroup(click.Group):
    """Command group that prints expected errors as one line each, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        with report_errors():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of `COMMANDS`, not alphabetically


COMMANDS = (
    check,
    split,
    from_folder,
    from_csv,
    train,
    evaluate,
    export,
    embed,
    index,
    search,
    serve,
    report,
)

SESSION = (
    "siamese from-folder photos --output photos/items.json",
    "siamese check --labeled-data photos/items.json",
    "siamese split --labeled-data photos/items.json",
    "siamese train --labeled-data photos/train.json",
    'model="--keras-model checkpoints/final_model.hdf5"',
    "siamese report --labeled-data photos/test.json $model",
    "siamese index --labeled-data photos/items.json $model",
    "siamese search photo.jpg",
    "siamese serve --image-dir photos",
)
"""A typical session, for a folder of photos with one subfolder per item."""


@click.group(
    cls=CommandGroup,
    commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    epilog=format_examples(*SESSION),
)
@click.version_option(__version__, prog_name="siamese")
def cli() -> None:
    """Train image-similarity models, index pictures and search by picture.

    Exit codes: 0 success, 2 invalid input or usage, 3 success but some pictures were skipped.
    """


def main() -> None:
    """Run the `siamese` program."""
    cli(prog_name="siamese")
