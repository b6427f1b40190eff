"""Grids of pictures: example items, nearest pictures and search results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from siamese.reports.canvas import CAPTION, FAINT, GAP, INK, MARGIN, OTHER, SAME, TILE, Canvas

if TYPE_CHECKING:
    from PIL import Image

    from siamese.data.catalogue import Catalogue, Picture
    from siamese.data.remote_files import Folder
    from siamese.reports.comparison import Comparison
    from siamese.search.searcher import QueryResult

SMALL, SMALL_GAP = 96, 12
"""Tile size and gap, in points, at which eight pictures of an item fit the width of a page."""
NEIGHBOUR, NEIGHBOUR_GAP = 66, 8
"""Tile size and gap, in points, at which a query and 2 × 6 nearest pictures fit a page."""


def choose_examples(catalogue: Catalogue, items: int, pictures: int) -> dict[str, list[Picture]]:
    """Choose items at even intervals in a catalogue, with the first `pictures` of each."""
    step = max(1, len(catalogue.items) // items)
    return {
        item_id: [picture for picture in catalogue.pictures if picture.item_id == item_id][
            :pictures
        ]
        for item_id in list(catalogue.items)[::step][:items]
    }


def draw_collage(catalogue: Catalogue, *, items: int = 8, pictures: int = 8) -> Image.Image:
    """Draw items at even intervals in a catalogue, one per row, with up to `pictures` of each."""
    rows = choose_examples(catalogue, items, pictures)
    columns = max(map(len, rows.values()))
    height = CAPTION + SMALL + SMALL_GAP
    canvas = Canvas(
        MARGIN * 2 + columns * (SMALL + SMALL_GAP) - SMALL_GAP,
        MARGIN * 2 + len(rows) * height - SMALL_GAP,
    )
    y = MARGIN
    for item_id, row in rows.items():
        labels = ", ".join(catalogue.items[item_id].labels)
        room = canvas.width - 2 * MARGIN
        used = canvas.draw_text((MARGIN, y), item_id, INK, 12, room=room) + 10
        canvas.draw_text((MARGIN + used, y), labels, FAINT, 12, room=room - used)
        for column, picture in enumerate(row):
            at = (MARGIN + column * (SMALL + SMALL_GAP), y + CAPTION)
            canvas.draw_tile(catalogue.path_of(picture), at, size=SMALL)
        y += height
    return canvas.picture


def draw_neighbours(comparison: Comparison, catalogue: Catalogue, *, rows: int = 8) -> Image.Image:
    """Draw queries with their nearest pictures before and after training.

    Parameters
    ----------
    comparison : Comparison
        Result of `siamese.reports.compare_embeddings`.
    catalogue : Catalogue
        Catalogue that contains the pictures.
    rows : int, default 8
        Maximum number of queries, drawn one per row.
    """
    queries = comparison.queries[:rows]
    k = max(len(query.after) for query in queries)
    block = k * (NEIGHBOUR + NEIGHBOUR_GAP) - NEIGHBOUR_GAP
    before_x = MARGIN + NEIGHBOUR + MARGIN
    after_x = before_x + block + MARGIN
    head, height = 46, NEIGHBOUR + CAPTION + 10
    canvas = Canvas(after_x + block + MARGIN, 2 * MARGIN + head + len(queries) * height - 10)
    canvas.draw_text((MARGIN, MARGIN), "query", INK, 16)
    for x, title, metrics in (
        (before_x, "before training", comparison.before),
        (after_x, "after training", comparison.after),
    ):
        canvas.draw_text((x, MARGIN), title, INK, 16, room=block)
        values = f"recall@1 {metrics['recall@1']:.3f}   MAP@R {metrics['map@r']:.3f}"
        canvas.draw_text((x, MARGIN + 22), values, FAINT, 12, room=block)
    y = MARGIN + head
    for query in queries:
        canvas.draw_tile(
            catalogue.path_of(query.picture), (MARGIN, y), INK, width=2, size=NEIGHBOUR
        )
        room = NEIGHBOUR + MARGIN - NEIGHBOUR_GAP
        canvas.draw_text((MARGIN, y + NEIGHBOUR + 3), query.picture.item_id, FAINT, room=room)
        for x, neighbours in ((before_x, query.before), (after_x, query.after)):
            for neighbour in neighbours:
                path = catalogue.path_of(neighbour.picture)
                colour, width, mark = (SAME, 3, "✓") if neighbour.same_item else (OTHER, 1, "✗")
                canvas.draw_tile(path, (x, y), colour, width=width, size=NEIGHBOUR)
                under = (x, y + NEIGHBOUR + 3)
                canvas.draw_text(under, f"{mark} {neighbour.distance:.2f}", FAINT)
                x += NEIGHBOUR + NEIGHBOUR_GAP
        y += height
    return canvas.picture


def draw_results(results: Sequence[QueryResult], image_dir: Folder) -> Image.Image:
    """Draw search results, with a query and its nearest pictures in each row.

    `image_dir` is the folder of the indexed pictures.
    """
    columns = max(len(query.results) for query in results)
    results_x = MARGIN + TILE + 2 * MARGIN
    height = TILE + 3 * CAPTION + GAP
    canvas = Canvas(
        results_x + columns * (TILE + GAP) - GAP + MARGIN, 2 * MARGIN + len(results) * height - GAP
    )
    y = MARGIN
    for query in results:
        canvas.draw_tile(query.query, (MARGIN, y), INK, width=2)
        canvas.draw_text((MARGIN, y + TILE + 3), Path(query.query).name, room=TILE)
        for column, result in enumerate(query.results):
            x = results_x + column * (TILE + GAP)
            canvas.draw_tile(image_dir / result.filename, (x, y))
            lines = (
                (f"{result.rank}. {result.item_id}", INK),
                (", ".join(result.labels), FAINT),
                (f"distance {result.distance:.3f}", FAINT),
            )
            for line, (text, colour) in enumerate(lines):
                canvas.draw_text((x, y + TILE + 3 + line * 15), text, colour, room=TILE)
        y += height
    return canvas.picture
