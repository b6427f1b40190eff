"""The verbs that make and check labelled data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from siamese.cli.loading import read_catalogue
from siamese.cli.options import (
    items_output_option,
    json_option,
    labeled_data_options,
    output_type,
    seed_option,
)
from siamese.cli.output import print_json

if TYPE_CHECKING:
    from siamese.data.catalogue import Catalogue
    from siamese.data.remote_files import Folder


@click.command()
@labeled_data_options
@json_option
def check(labeled_data: Path, image_dir: Folder | None, as_json: bool) -> None:
    """List everything that is wrong with a catalogue.

    Its form, its names, its files and its pictures, all at once. Errors (exit code 2) must be
    put right; warnings may be meant.
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
    sys.exit(2 if report.errors else 0)


@click.command()
@labeled_data_options
@click.option(
    "--train",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.7,
    show_default=True,
    help="Share of the items to train on.",
)
@seed_option
@click.option(
    "--output",
    type=output_type,
    help="Folder for train.json and test.json.  [default: the folder of the JSON file]",
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
    """Split a catalogue by item: train.json, test.json.

    Stratified by label; no item is in both.
    """
    from siamese.utils.files import atomic_path

    output = output or labeled_data.parent
    parts = dict(
        zip(
            ("train", "test"),
            read_catalogue(labeled_data, image_dir).split(train, seed),
            strict=True,
        )
    )
    paths = {name: output / f"{name}.json" for name in parts}
    # Both or neither: a new one beside an old one would share items with it.
    with atomic_path(paths["train"]) as temporary:
        parts["train"].write(temporary)
        parts["test"].write(paths["test"])
    done = {
        name: {
            "path": str(paths[name]),
            "items": len(part.items),
            "pictures": len(part.pictures),
        }
        for name, part in parts.items()
    }
    if as_json:
        print_json(done)
        return
    for part_done in done.values():
        click.echo("{path}: {items:,} items, {pictures:,} pictures".format(**part_done))
    if output.resolve() != labeled_data.parent.resolve():
        folder = image_dir or labeled_data.parent
        click.echo(f"note: the filenames are still relative to {folder}: give it as --image-dir")


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@items_output_option
@json_option
def from_folder(source: Path, output: Path, as_json: bool) -> None:
    """Make labelled data of a folder of folders.

    SOURCE holds a folder an item. The filenames are relative to SOURCE: give it as --image-dir
    to the other verbs.
    """
    from siamese.data.catalogue import Catalogue

    write_catalogue(Catalogue.from_folder(source), output, as_json)


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@items_output_option
@json_option
def from_csv(source: Path, output: Path, as_json: bool) -> None:
    """Make labelled data of a CSV file.

    SOURCE has the header item_id,filename,labels. A row a picture; labels are separated by | or
    ; within their cell.
    """
    from siamese.data.catalogue import Catalogue

    write_catalogue(Catalogue.from_csv(source), output, as_json)


def write_catalogue(catalogue: Catalogue, output: Path, as_json: bool) -> None:
    """Write a converted catalogue and say what is in it."""
    catalogue.write(output)
    for note in catalogue.notes:
        click.echo(f"note: {note}", err=True)
    items, pictures = len(catalogue.items), len(catalogue.pictures)
    if as_json:
        print_json({"path": str(output), "items": items, "pictures": pictures})
    else:
        click.echo(f"{output}: {items:,} items, {pictures:,} pictures")
