"""The search command."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from siamese.cli.loading import load_index_embedder, model_context
from siamese.cli.options import (
    PATH,
    format_examples,
    index_options,
    json_option,
    make_image_dir_option,
)
from siamese.cli.output import exit_if_skipped, print_json, print_table
from siamese.data.remote_files import Folder
from siamese.errors import InputError
from siamese.search.results_file import SUFFIXES as DATA_SUFFIXES
from siamese.search.results_file import write_results
from siamese.utils.files import require_writable

if TYPE_CHECKING:
    from siamese.data.catalogue import Skipped
    from siamese.search.searcher import QueryResult, Searcher

PICTURE_SUFFIXES = (".html", ".png")
"""Suffixes of output files that show the pictures."""


@click.command(
    epilog=format_examples(
        "siamese search photo.jpg",
        "siamese search photo.jpg --image-dir photos --output results.html",
    )
)
@click.argument("images", type=PATH, nargs=-1)
@click.option(
    "--queries",
    type=PATH,
    help="File with more pictures to search for: a catalogue (.json), or one path per line.",
)
@click.option(
    "--together",
    is_flag=True,
    help="Treat all queries as views of the same item and search once, with their mean embedding.",
)
@index_options
@click.option("-k", type=click.IntRange(1), default=10, help="Number of results per query.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Number of results to skip.")
@click.option(
    "--any-label", multiple=True, help="Only find items with one of these labels; repeatable."
)
@click.option(
    "--every-label", multiple=True, help="Only find items with all of these labels; repeatable."
)
@click.option(
    "--no-label", multiple=True, help="Only find items with none of these labels; repeatable."
)
@click.option(
    "--max-distance",
    help="Only find pictures within this distance, from 0 to 2, or within the model's own "
    'threshold if "calibrated".',
)
@click.option("--exclude-own-item", is_flag=True, help="Exclude pictures of the query's own item.")
@click.option(
    "--rerank",
    type=click.Choice(["none", "expansion", "reciprocal"]),
    default="none",
    help="Reorder the results by query expansion or by k-reciprocal neighbours.",
)
@click.option(
    "--by-item",
    type=click.Choice(["best", "mean"]),
    help="Find items instead of pictures, ranked by their best picture or by the mean of their "
    "three best.",
)
@make_image_dir_option("Folder or URL of the indexed pictures.")
@click.option(
    "--output",
    type=PATH,
    help="File to write: .html or .png to show the pictures (needs --image-dir), .csv or .jsonl "
    "for other programs.",
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
    """Find the indexed pictures most similar to each query.

    IMAGES are the query pictures, or folders of them. The default model is the one that the index
    was built with; other models are rejected.
    """
    from siamese.indexes import LabelFilter, open_index
    from siamese.search.queries import collect_queries, search_each, search_together

    if output is not None:
        check_output(output, image_dir)
    query_list = collect_queries(images, queries, image_dir)
    index = open_index(index_place, collection)
    skipped: list[Skipped] = []
    with model_context():
        from siamese.search.searcher import Searcher, SearchOptions

        searcher = Searcher(load_index_embedder(index, index_place, **model), index)
        options = SearchOptions(
            offset=offset,
            labels=LabelFilter.from_lists(any_label, every_label, no_label),
            max_distance=parse_max_distance(max_distance, searcher),
            rerank=rerank,
            by_item=by_item,
        )
        run_search = search_together if together else search_each
        results: Iterable[QueryResult] = run_search(
            searcher, query_list, k, skipped, exclude_own_item=exclude_own_item, **options
        )
        # If a data file is the only output, write results one by one, to save memory.
        is_streamed = output is not None and output.suffix in DATA_SUFFIXES and not as_json
        if not is_streamed:
            results = list(results)
        if output is not None:
            write_output(results, output, image_dir)
    if as_json:
        print_json([query.as_dict() for query in results])
    elif not is_streamed:
        print_results(results, searcher)
    if output is not None and not as_json:
        click.echo(output)
    exit_if_skipped(skipped)


def check_output(output: Path, image_dir: Folder | None) -> None:
    """Raise `InputError` if the results cannot be written to --output."""
    if output.suffix not in PICTURE_SUFFIXES + DATA_SUFFIXES:
        raise InputError(f"--output {output}: use a name that ends in .html, .png, .csv or .jsonl")
    if image_dir is None and output.suffix in PICTURE_SUFFIXES:
        raise InputError(f"--output {output}: shows pictures; give their folder with --image-dir")
    require_writable(output)


def parse_max_distance(max_distance: str | None, searcher: Searcher) -> float | None:
    """Return --max-distance as a number, or the model's threshold if it is "calibrated"."""
    if max_distance is None:
        return None
    if max_distance == "calibrated":
        if searcher.threshold is None:
            raise InputError(
                f"--max-distance calibrated: {searcher.embedder.facts.name} has no calibration, or "
                "the gallery is augmented; create one with siamese evaluate --calibrate"
            )
        return searcher.threshold
    try:
        distance = float(max_distance)
    except ValueError:
        distance = -1
    if not distance >= 0:  # also rejects NaN
        raise InputError(f"--max-distance {max_distance}: give a number from 0 to 2, or calibrated")
    return distance


def write_output(results: Iterable[QueryResult], output: Path, image_dir: Folder | None) -> None:
    """Write the results in the format that the suffix of the output file selects."""
    if output.suffix in DATA_SUFFIXES:
        write_results(results, output)
        return
    from siamese.reports import draw_results, write_picture, write_results_page

    results = list(results)
    assert image_dir is not None
    filenames = [found.filename for query in results for found in query.results]
    if filenames and not any((image_dir / filename).is_file() for filename in filenames):
        raise InputError(
            f"{image_dir}: contains none of the pictures found, for example {filenames[0]}; "
            "correct --image-dir"
        )
    if output.suffix == ".html":
        write_results_page(results, image_dir, output)
    else:
        write_picture(draw_results(results, image_dir), output)


def print_results(results: Iterable[QueryResult], searcher: Searcher) -> None:
    """Print a table for each query, and a note if no picture is close enough."""
    for query in results:
        print_table(
            ("rank", "distance", "item", "file"),
            ((str(r.rank), f"{r.distance:.3f}", r.item_id, r.filename) for r in query.results),
            title=query.query,
        )
        if not query.results:
            click.echo("nothing found: the options exclude all pictures")
        elif query.in_catalogue is False:
            click.echo(
                "no picture in the catalogue is close enough: the nearest is farther than "
                f"{searcher.threshold:.3f}, the threshold of {searcher.embedder.facts.name}"
            )
