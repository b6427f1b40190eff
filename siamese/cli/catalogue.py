"""Commands that check and create catalogues: check, split, from-folder and from-csv."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from siamese.cli.loading import read_catalogue
from siamese.cli.options import (
    PATH,
    format_examples,
    json_option,
    labeled_data_options,
    seed_option,
)
from siamese.cli.output import EXIT_ERROR, print_json
from siamese.data.remote_files import Folder
from siamese.utils.files import atomic_path
from siamese.utils.text import pluralize

if TYPE_CHECKING:
    from siamese.data.catalogue import Catalogue

output_option = click.option(
    "--output", type=PATH, default="items.json", help="JSON file to write."
)


@click.command(epilog=format_examples("siamese check --labeled-data photos/items.json"))
@labeled_data_options
@json_option
def check(labeled_data: Path, image_dir: Folder | None, as_json: bool) -> None:
    """List all problems in a catalogue.

    Checks the structure of the JSON file, the filenames and the pictures. Exits with code 2 if
    there are errors, which must be corrected; warnings may be intentional.
    """
    from siamese.data.check import check_catalogue

    report = check_catalogue(labeled_data, image_dir)
    if as_json:
        print_json(report.as_dict())
    else:
        for kind, problems in (("error", report.errors), ("warning", report.warnings)):
            for problem in problems:
                click.echo(f"{kind}: {problem}")
        click.echo(f"{labeled_data}: {report}")
    sys.exit(EXIT_ERROR if report.errors else 0)


@click.command(epilog=format_examples("siamese split --labeled-data photos/items.json --train 0.7"))
@labeled_data_options
@click.option(
    "--train",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.7,
    help="Share of the items that go to train.json.",
)
@seed_option
@click.option(
    "--output",
    type=PATH,
    help="Folder for train.json and test.json.  [default: the JSON file's folder]",
)
@json_option
def split(
    labeled_data: Path,
    image_dir: Folder | None,
    train: float,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Split a catalogue into train.json and test.json.

    All pictures of an item go to the same file. The split is stratified by label.
    """
    output = output or labeled_data.parent
    train_path, test_path = output / "train.json", output / "test.json"
    train_part, test_part = read_catalogue(labeled_data, image_dir).split(train, seed)
    # Replace both files or neither, because a new and an old file could share items.
    with atomic_path(train_path) as temporary:
        train_part.write(temporary)
        test_part.write(test_path)
    parts = {train_path: train_part, test_path: test_part}
    if as_json:
        print_json({path.stem: summarize(part, path) for path, part in parts.items()})
        return
    for path, part in parts.items():
        print_summary(part, path)
    if output.resolve() != labeled_data.parent.resolve():
        folder = image_dir or labeled_data.parent
        click.echo(f"note: the filenames are still relative to {folder}; give it as --image-dir")


@click.command(epilog=format_examples("siamese from-folder photos --output photos/items.json"))
@click.argument("source", type=PATH)
@output_option
@json_option
def from_folder(source: Path, output: Path, as_json: bool) -> None:
    """Create a catalogue from a folder of pictures.

    SOURCE contains one subfolder per item. Filenames in the catalogue are relative to SOURCE; if
    --output is in another folder, pass SOURCE to the other commands as --image-dir.
    """
    from siamese.data.catalogue import Catalogue

    write_catalogue(Catalogue.from_folder(source), output, as_json)


@click.command(epilog=format_examples("siamese from-csv photos.csv --output photos/items.json"))
@click.argument("source", type=PATH)
@output_option
@json_option
def from_csv(source: Path, output: Path, as_json: bool) -> None:
    """Create a catalogue from a CSV file.

    SOURCE has the header item_id,filename,labels and one row per picture. Separate the labels in
    a cell with | or ;.
    """
    from siamese.data.catalogue import Catalogue

    write_catalogue(Catalogue.from_csv(source), output, as_json)


def write_catalogue(catalogue: Catalogue, output: Path, as_json: bool) -> None:
    """Write a new catalogue, and print its notes and its size."""
    catalogue.write(output)
    for note in catalogue.notes:
        click.echo(f"note: {note}", err=True)
    if as_json:
        print_json(summarize(catalogue, output))
    else:
        print_summary(catalogue, output)


def summarize(catalogue: Catalogue, path: Path) -> dict[str, Any]:
    """Return a catalogue's path and its numbers of items and pictures."""
    items, pictures = len(catalogue.items), len(catalogue.pictures)
    return {"path": str(path), "items": items, "pictures": pictures}


def print_summary(catalogue: Catalogue, path: Path) -> None:
    """Print a catalogue's path and its numbers of items and pictures."""
    items = pluralize(len(catalogue.items), "item")
    click.echo(f"{path}: {items}, {pluralize(len(catalogue.pictures), 'picture')}")
