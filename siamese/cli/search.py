"""The verb that searches."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from siamese.cli.loading import load_embedder, model_context
from siamese.cli.options import (
    FolderType,
    embedding_options,
    index_options,
    json_option,
    output_type,
)
from siamese.cli.output import exit_if_skipped, print_json, print_table
from siamese.errors import InputError
from siamese.utils.files import require_writable

if TYPE_CHECKING:
    from siamese.data.catalogue import Skipped
    from siamese.data.remote_files import Folder
    from siamese.search.searcher import QueryResult, Searcher


@click.command()
@click.argument("images", type=click.Path(path_type=Path), nargs=-1)
@click.option(
    "--queries",
    type=click.Path(path_type=Path),
    help="More of them: labelled data (.json), or a text with a file a line.",
)
@click.option(
    "--together", is_flag=True, help="All are views of one thing: search once, by their mean."
)
@index_options
@click.option("-k", type=click.IntRange(1), default=10, show_default=True, help="Results a query.")
@click.option(
    "--offset", type=click.IntRange(0), default=0, show_default=True, help="Results to leave out."
)
@click.option("--any-label", multiple=True, help="Only what has one of these; may be repeated.")
@click.option("--every-label", multiple=True, help="Only what has all of these; may be repeated.")
@click.option("--no-label", multiple=True, help="Only what has none of these; may be repeated.")
@click.option(
    "--max-distance", help='Only what is nearer than this; "calibrated" for the model\'s threshold.'
)
@click.option(
    "--exclude-own-item", is_flag=True, help="Leave out pictures of the item the query is of."
)
@click.option(
    "--rerank",
    type=click.Choice(["none", "expansion", "reciprocal"]),
    default="none",
    show_default=True,
    help="Nearest first, or a better order by the neighbours of what is found.",
)
@click.option(
    "--by-item",
    type=click.Choice(["best", "mean"]),
    help="A result an item, ranked by its best picture or the mean of its three best.",
)
@embedding_options
@click.option("--image-dir", type=FolderType(), help="Folder or URL of the indexed pictures.")
@click.option(
    "--output",
    type=output_type,
    help="Results with pictures, a .html or .png file (--image-dir); or as .csv or .jsonl.",
)
@json_option
def search(
    images: tuple[Path, ...],
    queries: Path | None,
    together: bool,
    index_place: str,
    collection: str,
    k: int,
    offset: int,
    any_label: tuple[str, ...],
    every_label: tuple[str, ...],
    no_label: tuple[str, ...],
    max_distance: str | None,
    exclude_own_item: bool,
    rerank: str,
    by_item: str | None,
    image_dir: Folder | None,
    output: Path | None,
    as_json: bool,
    **model: Any,
) -> None:
    """Find what looks most like a picture.

    Ranks the pictures, or the items, of an index for each of IMAGES: files, and folders all of
    whose pictures are meant. The model is the one that the index records; another is refused.
    """
    from siamese.search.results_file import SUFFIXES, write_results

    if output is not None:
        if output.suffix not in (".html", ".png", *SUFFIXES):
            raise InputError(
                f"--output {output}: give a name that ends in .html, .png, .csv or .jsonl"
            )
        if image_dir is None and output.suffix not in SUFFIXES:
            raise InputError("--output shows pictures; give their folder with --image-dir")
        require_writable(output)
    from siamese.indexes import LabelFilter, open_index
    from siamese.search.queries import collect_queries, search_each, search_together

    asked = collect_queries(images, queries, image_dir)
    opened = open_index(index_place, collection)
    skipped: list[Skipped] = []
    with model_context():
        from siamese.indexes.model_path import find_moved_checkpoint
        from siamese.search.searcher import Searcher, SearchOptions

        searcher = Searcher(
            load_embedder(**model, recorded=find_moved_checkpoint(opened.model, index_place)),
            opened,
        )
        options = SearchOptions(
            offset=offset,
            labels=LabelFilter.from_lists(any_label, every_label, no_label),
            max_distance=farthest(max_distance, searcher),
            rerank=rerank,
            by_item=by_item,
        )
        search_for = search_together if together else search_each
        results = search_for(
            searcher, asked, k, skipped, exclude_own_item=exclude_own_item, **options
        )
        if output is not None and output.suffix in SUFFIXES and not as_json:
            write_results(results, output)  # as they come, however many they are
            click.echo(output)
            exit_if_skipped(skipped)
            return
        found = list(results)
        if output is not None and output.suffix in SUFFIXES:
            write_results(found, output)
        elif output is not None and image_dir is not None:
            from siamese.reports import draw_results, write_picture, write_results_page

            require_some(image_dir, found)
            if output.suffix == ".html":
                write_results_page(found, image_dir, output)
            else:
                write_picture(draw_results(found, image_dir), output)
    if as_json:
        print_json([query.as_dict() for query in found])
    else:
        print_results(found, searcher)
        if output is not None:
            click.echo(output)
    exit_if_skipped(skipped)


def farthest(max_distance: str | None, searcher: Searcher) -> float | None:
    """What --max-distance means: a number, or the model's own threshold."""
    if max_distance == "calibrated":
        if searcher.threshold is None:
            raise InputError(
                f"--max-distance calibrated: {searcher.embedder.facts.name} has no calibration "
                "(siamese evaluate --calibrate makes one), or the gallery is augmented"
            )
        return searcher.threshold
    try:
        distance = None if max_distance is None else float(max_distance)
    except ValueError:
        distance = -1
    if distance is not None and not distance >= 0:  # NaN is not
        raise InputError(f"--max-distance {max_distance}: give a number from 0 to 2, or calibrated")
    return distance


def require_some(image_dir: Folder, found: Iterable[QueryResult]) -> None:
    """Some of the pictures that were found must be there to be shown."""
    filenames = [result.filename for query in found for result in query.results]
    if filenames and not any((image_dir / filename).is_file() for filename in filenames):
        raise InputError(
            f"{image_dir}: none of the pictures found is there, {filenames[0]} for one; give the "
            "right --image-dir"
        )


def print_results(found: Iterable[QueryResult], searcher: Searcher) -> None:
    """Say what was found, a table a query, and where nothing is close enough."""
    for query in found:
        print_table(
            ("rank", "distance", "item", "file"),
            ((str(r.rank), f"{r.distance:.3f}", r.item_id, r.filename) for r in query.results),
            title=query.query,
        )
        if not query.results:
            click.echo("nothing found: no picture is left by the flags that were given")
        elif query.in_catalogue is False:
            click.echo(
                "nothing in the catalogue is close enough: the nearest is farther than "
                f"{searcher.threshold:.3f}, the threshold of {searcher.embedder.facts.name}"
            )
