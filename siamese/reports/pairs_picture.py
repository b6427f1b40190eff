"""Picture of a generator's training pairs, as the network sees them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from siamese.data.label_rule import EXCLUDED, NEGATIVE, POSITIVE
from siamese.reports.canvas import CAPTION, FAINT, INK, MARGIN, OTHER, SAME, Canvas

if TYPE_CHECKING:
    from PIL import Image

    from siamese.training.pair_generator import PairGenerator

TILE, BETWEEN, GAP, COLUMNS = 118, 22, 26, 3
"""Tile size, space within a pair and gap between pairs, all in points; and pairs per row."""


@dataclass(frozen=True)
class _Group:
    """Pairs of one kind, and how to draw them."""

    title: str
    explanation: str
    sign: str
    colour: str
    width: int
    pairs: list[tuple[int, int]]


def draw_pairs(generator: PairGenerator, *, pairs: int = 6) -> Image.Image:
    """Draw up to `pairs` positive and up to `pairs` negative pairs of a generator's current epoch.

    If the generator samples batch pairs, the pairs are from its first batch. Some pairs that are
    not trained on, because their items share a label, are then drawn too.
    """
    if generator.sampling == "batch-pairs":
        found = _find_batch_pairs(generator, pairs)
    else:
        drawn = generator.draw()
        found = {
            kind: [
                (int(drawn.anchors[pair]), int(drawn.others[pair]))
                for pair in np.flatnonzero(drawn.y == y)[:pairs]
            ]
            for kind, y in ((POSITIVE, 1), (NEGATIVE, 0))
        }
    close = "positive pairs, which should be close"
    distant = "negative pairs, which should be far apart"
    excluded = "items with a common label may look alike, so they are not trained as negatives"
    groups = [
        _Group("same item", close, "=", SAME, 3, found[POSITIVE]),
        _Group("another item", distant, "≠", OTHER, 1, found[NEGATIVE]),
        _Group("left out", excluded, "?", FAINT, 1, found.get(EXCLUDED, [])[:COLUMNS]),
    ]
    return _draw_groups(generator, [group for group in groups if group.pairs])


def _find_batch_pairs(generator: PairGenerator, most: int) -> dict[int, list[tuple[int, int]]]:
    """Find up to `most` pairs of each relation in the first batch, keyed by relation."""
    rows = generator.draw()[0]
    related = generator.relations(rows)
    rng = np.random.default_rng(0)
    found = {}
    for kind in (POSITIVE, NEGATIVE, EXCLUDED):
        places = rng.permutation(np.argwhere(np.triu(related == kind, 1)))
        # A picture can occur twice in a batch, but is not paired with itself.
        unique = dict.fromkeys((int(rows[i]), int(rows[j])) for i, j in places)
        pairs = [pair for pair in unique if pair[0] != pair[1]]
        found[kind] = _sort_by_novelty(generator, pairs)[:most]
    return found


def _sort_by_novelty(
    generator: PairGenerator, pairs: Iterable[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Move pairs whose items appear in no earlier pair to the front."""
    novel: list[tuple[int, int]] = []
    repeated: list[tuple[int, int]] = []
    seen: set[str] = set()
    for pair in pairs:
        items = {generator.pictures[row].item_id for row in pair}
        (novel if seen.isdisjoint(items) else repeated).append(pair)
        seen |= items
    return novel + repeated


def _draw_groups(generator: PairGenerator, groups: list[_Group]) -> Image.Image:
    lines = [-(-len(group.pairs) // COLUMNS) for group in groups]
    head, height, after = 34, TILE + 2 * CAPTION + 12, 18
    block = 2 * TILE + BETWEEN
    canvas = Canvas(
        2 * MARGIN + COLUMNS * (block + GAP) - GAP,
        2 * MARGIN + sum(lines) * height + len(groups) * (head + after) - after - 12,
    )
    y = MARGIN
    for group, count in zip(groups, lines, strict=True):
        used = canvas.draw_text((MARGIN, y), group.title, group.colour, 17)
        canvas.draw_text((MARGIN + used + 12, y + 4), group.explanation, FAINT, 12)
        y += head
        for number, pair in enumerate(group.pairs):
            line, column = divmod(number, COLUMNS)
            _draw_pair(
                canvas, generator, group, pair, MARGIN + column * (block + GAP), y + line * height
            )
        y += count * height + after
    return canvas.picture


def _draw_pair(
    canvas: Canvas, generator: PairGenerator, group: _Group, rows: tuple[int, int], x: int, y: int
) -> None:
    from PIL import Image

    common = set.intersection(*(set(generator.pictures[row].labels) for row in rows))
    centre = (x + TILE + BETWEEN // 2, y + TILE // 2)
    canvas.draw_text(centre, group.sign, group.colour, 17, anchor="mm")
    for row, square in zip(rows, generator.prepared(np.array(rows)), strict=True):
        picture = generator.pictures[row]
        tile = Image.fromarray(((square + 1) * 127.5).round().clip(0, 255).astype(np.uint8))
        canvas.draw_tile(tile, (x, y), group.colour, width=group.width, size=TILE)
        canvas.draw_text((x, y + TILE + 4), picture.item_id, INK, room=TILE)
        # List common labels first, because they are the reason why a pair is left out.
        labels = sorted(picture.labels, key=lambda label: label not in common)
        canvas.draw_text((x, y + TILE + 4 + 15), ", ".join(labels), FAINT, room=TILE)
        x += TILE + BETWEEN
