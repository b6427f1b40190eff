"""Pictures for people, drawn with Pillow: collages and rows of neighbours."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from siamese.files import atomic_path
from siamese.images import PictureError, open_picture

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

    from siamese.catalogue import Catalogue
    from siamese.reports.comparison import Comparison, Neighbour
    from siamese.search import QueryResult

TILE, GAP, MARGIN, CAPTION = 120, 14, 32, 18
INK, FAINT, GROUND, FRAME = "#1c1e21", "#6b7280", "#ffffff", "#d1d5db"
SAME, OTHER = "#15803d", "#dc2626"
"""Green for the query's item, red for another; frames thick and thin, ✓ and ✗ say it without."""


def thumbnail(path: str | os.PathLike[str], size: int) -> Image.Image:
    """A picture within size × size on white, or a grey tile that says why there is none."""
    from PIL import Image, ImageDraw

    tile = Image.new("RGB", (size, size), "white")
    try:
        picture = open_picture(path, longest_side=size)
    except PictureError as error:
        tile.paste("#e5e7eb", (0, 0, size, size))
        font = _font(size // 11)
        lines = [""]
        for word in str(error).split():
            longer = f"{lines[-1]} {word}".strip()
            if font.getlength(longer) <= 0.86 * size:
                lines[-1] = longer
            else:
                lines.append(word)
        centre = (size / 2, size / 2)
        draw = ImageDraw.Draw(tile)
        draw.multiline_text(
            centre, "\n".join(lines[:6]).strip(), FAINT, font, anchor="mm", align="center"
        )
        return tile
    picture.thumbnail((size, size))
    tile.paste(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
    return tile


def collage(
    catalogue: Catalogue, path: str | os.PathLike[str], *, items: int = 8, pictures: int = 8
) -> None:
    """Draw what the data looks like: some items spread over the catalogue, a row each."""
    step = max(1, len(catalogue.items) // items)
    chosen = list(catalogue.items)[::step][:items]
    rows = [
        [picture for picture in catalogue.pictures if picture.item_id == item_id][:pictures]
        for item_id in chosen
    ]
    columns = max(len(row) for row in rows)
    canvas, draw = _canvas(
        MARGIN * 2 + columns * (TILE + GAP) - GAP,
        MARGIN * 2 + len(rows) * (TILE + CAPTION + GAP) - GAP,
    )
    y = MARGIN
    for item_id, row in zip(chosen, rows, strict=True):
        labels = ", ".join(catalogue.items[item_id].labels)
        room = canvas.width // SCALE - 2 * MARGIN
        name = _cut(item_id, room, 12)
        _text(draw, (MARGIN, y), name, INK, 12)
        used = _width(name, 12) + 10
        _text(draw, (MARGIN + used, y), _cut(labels, room - used, 12), FAINT, 12)
        for column, picture in enumerate(row):
            at = (MARGIN + column * (TILE + GAP), y + CAPTION)
            _tile(canvas, draw, catalogue.path_of(picture), at, FRAME)
        y += TILE + CAPTION + GAP
    _save(canvas, path)


def neighbours_picture(
    comparison: Comparison, catalogue: Catalogue, path: str | os.PathLike[str], *, rows: int = 8
) -> None:
    """Draw some queries, a row each, with their nearest pictures before and after training."""
    queries = comparison.queries[:rows]
    k = max(len(query.after) for query in queries)
    block = k * (TILE + GAP) - GAP
    before_x = MARGIN + TILE + 2 * MARGIN
    after_x = before_x + block + 2 * MARGIN
    head = 34
    canvas, draw = _canvas(
        after_x + block + MARGIN, MARGIN + head + len(queries) * (TILE + CAPTION + GAP) + MARGIN
    )
    for x, what, figures in (
        (before_x, "before training", comparison.before),
        (after_x, "after training", comparison.after),
    ):
        _text(draw, (x, MARGIN), what, INK, 17)
        figure = f"recall@1 {figures['recall@1']:.3f}   MAP@R {figures['map@r']:.3f}"
        _text(draw, (x + _width(what, 17) + 14, MARGIN + 4), figure, FAINT, 13)
    _text(draw, (MARGIN, MARGIN), "query", INK, 17)
    y = MARGIN + head
    for query in queries:
        _tile(canvas, draw, catalogue.path_of(query.picture), (MARGIN, y), INK, width=3)
        _text(draw, (MARGIN, y + TILE + 3), _cut(query.picture.item_id, TILE, 11), FAINT, 11)
        for x, neighbours in ((before_x, query.before), (after_x, query.after)):
            _neighbours(canvas, draw, neighbours, catalogue, x, y)
        y += TILE + CAPTION + GAP
    _save(canvas, path)


def results_picture(
    found: Sequence[QueryResult], image_dir: Path, path: str | os.PathLike[str]
) -> None:
    """Draw the results of searches, a row each: the query first, then the nearest pictures."""
    columns = max(len(query.results) for query in found)
    results_x = MARGIN + TILE + 2 * MARGIN
    height = TILE + 3 * CAPTION + GAP
    canvas, draw = _canvas(
        results_x + columns * (TILE + GAP) - GAP + MARGIN, 2 * MARGIN + len(found) * height - GAP
    )
    y = MARGIN
    for query in found:
        _tile(canvas, draw, query.query, (MARGIN, y), INK, width=3)
        _text(draw, (MARGIN, y + TILE + 3), _cut(Path(query.query).name, TILE, 11), INK, 11)
        for column, result in enumerate(query.results):
            x = results_x + column * (TILE + GAP)
            _tile(canvas, draw, image_dir / result.filename, (x, y), FRAME)
            name, labels = f"{result.rank}. {result.item_id}", ", ".join(result.labels)
            for line, (text, colour) in enumerate(
                ((name, INK), (labels, FAINT), (f"distance {result.distance:.3f}", FAINT))
            ):
                at = (x, y + TILE + 3 + line * 15)
                _text(draw, at, _cut(text, TILE, 11), colour, 11)
        y += height
    _save(canvas, path)


def _neighbours(
    canvas: Image.Image,
    draw: ImageDraw.ImageDraw,
    neighbours: Sequence[Neighbour],
    catalogue: Catalogue,
    x: int,
    y: int,
) -> None:
    for neighbour in neighbours:
        colour, width = (SAME, 5) if neighbour.same_item else (OTHER, 2)
        _tile(canvas, draw, catalogue.path_of(neighbour.picture), (x, y), colour, width)
        mark = "✓" if neighbour.same_item else "✗"
        _text(draw, (x, y + TILE + 3), f"{mark} {neighbour.distance:.2f}", FAINT, 11)
        x += TILE + GAP


# All measures are in points; everything is drawn at twice that, for sharp screens.
SCALE = 2


def _canvas(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (width * SCALE, height * SCALE), GROUND)
    return canvas, ImageDraw.Draw(canvas)


def _tile(
    canvas: Image.Image,
    draw: ImageDraw.ImageDraw,
    path: str | os.PathLike[str],
    at: tuple[int, int],
    colour: str,
    width: int = 1,
) -> None:
    """A picture in a frame, its upper left corner at `at`."""
    x, y = at
    canvas.paste(thumbnail(path, TILE * SCALE), (x * SCALE, y * SCALE))
    box = [x * SCALE, y * SCALE, (x + TILE) * SCALE, (y + TILE) * SCALE]
    draw.rectangle(box, outline=colour, width=width * SCALE)


def _text(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, colour: str, size: int
) -> None:
    draw.text((at[0] * SCALE, at[1] * SCALE), _one_line(text), colour, _font(size * SCALE))


def _width(text: str, size: int) -> int:
    return round(_font(size).getlength(_one_line(text)))


def _one_line(text: str) -> str:
    """Control characters, which filenames may hold, would break the line."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _cut(text: str, width: int, size: int) -> str:
    """As much of a text as there is room for."""
    if _width(text, size) <= width:
        return text
    while text and _width(f"{text}…", size) > width:
        text = text[:-1]
    return f"{text}…"


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: Pillow's own has Latin letters only, no ✓."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def _save(canvas: Image.Image, path: str | os.PathLike[str]) -> None:
    with atomic_path(path) as temporary:
        canvas.save(temporary, "PNG", optimize=True)
