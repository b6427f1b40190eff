"""The pairs that a generator draws, as the network sees them."""

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
"""Three pairs side by side, each two tiles with a sign between them."""


@dataclass(frozen=True)
class _Group:
    """Pairs of one kind, and how they are drawn."""

    title: str
    meaning: str
    sign: str
    colour: str
    width: int
    pairs: list[tuple[int, int]]


def draw_pairs(generator: PairGenerator, *, pairs: int = 6) -> Image.Image:
    """Draw what a generator draws: positive and negative pairs of its current epoch.

    Of batch-pairs the first batch is shown, and also pairs of it that are left out because two
    items share a label. Pictures are shown as the network sees them.

    Parameters
    ----------
    generator : of either sampling
    pairs : of each kind, at most
    """
    if generator.sampling == "batch-pairs":
        found = _of_batch(generator, pairs)
    else:
        drawn = generator.draw()
        found = {
            kind: [
                (int(drawn.anchors[pair]), int(drawn.others[pair]))
                for pair in np.flatnonzero(drawn.y == y)[:pairs]
            ]
            for kind, y in ((POSITIVE, 1), (NEGATIVE, 0))
        }
    return _drawn(
        generator,
        [
            _Group("same item", "positive pairs, to be close", "=", SAME, 3, found[POSITIVE]),
            _Group(
                "another item", "negative pairs, to be far apart", "≠", OTHER, 1, found[NEGATIVE]
            ),
            _Group(
                "left out",
                "two items with a common label may well look alike: no pair to learn from",
                "?",
                FAINT,
                1,
                found.get(EXCLUDED, [])[:COLUMNS],
            ),
        ],
    )


def _of_batch(generator: PairGenerator, most: int) -> dict[int, list[tuple[int, int]]]:
    """Pairs of the first batch by their relation."""
    rows = generator.draw()[0]
    related = generator.relations(rows)
    rng = np.random.default_rng(0)  # the batch itself is random
    found = {}
    for kind in (POSITIVE, NEGATIVE, EXCLUDED):
        places = rng.permutation(np.argwhere(np.triu(related == kind, 1)))
        # A picture may be in a batch twice: with itself it makes no pair, with others one.
        every = {(int(rows[one]), int(rows[other])): None for one, other in places}
        found[kind] = _various(generator, [pair for pair in every if pair[0] != pair[1]])[:most]
    return found


def _various(generator: PairGenerator, every: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pairs, those of items that none before them shows first."""
    fresh: list[tuple[int, int]] = []
    others: list[tuple[int, int]] = []
    seen: set[str] = set()
    for pair in every:
        items = {generator.pictures[row].item_id for row in pair}
        (fresh if seen.isdisjoint(items) else others).append(pair)
        seen |= items
    return fresh + others


def _drawn(generator: PairGenerator, groups: list[_Group]) -> Image.Image:
    groups = [group for group in groups if group.pairs]
    lines = [-(-len(group.pairs) // COLUMNS) for group in groups]
    head, height, after = 34, TILE + 2 * CAPTION + 12, 18
    block = 2 * TILE + BETWEEN
    canvas = Canvas(
        2 * MARGIN + COLUMNS * (block + GAP) - GAP,
        2 * MARGIN + sum(lines) * height + len(groups) * (head + after) - after - 12,
    )
    y = MARGIN
    for group, count in zip(groups, lines, strict=True):
        used = canvas.text((MARGIN, y), group.title, group.colour, 17)
        canvas.text((MARGIN + used + 12, y + 4), group.meaning, FAINT, 12)
        y += head
        for number, pair in enumerate(group.pairs):
            line, column = divmod(number, COLUMNS)
            _pair(
                canvas, generator, group, pair, MARGIN + column * (block + GAP), y + line * height
            )
        y += count * height + after
    return canvas.picture


def _pair(
    canvas: Canvas,
    generator: PairGenerator,
    group: _Group,
    rows: tuple[int, int],
    x: int,
    y: int,
) -> None:
    from PIL import Image

    one, other = (set(generator.pictures[row].labels) for row in rows)
    centre = (x + TILE + BETWEEN // 2, y + TILE // 2)
    canvas.text(centre, group.sign, group.colour, 17, anchor="mm")
    for row, square in zip(rows, generator.prepared(np.array(rows)), strict=True):
        picture = generator.pictures[row]
        pixels = ((square + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
        canvas.tile(Image.fromarray(pixels), (x, y), group.colour, width=group.width, size=TILE)
        canvas.text((x, y + TILE + 4), picture.item_id, INK, room=TILE)
        # What the two share comes first: it is why a pair is left out.
        labels = sorted(picture.labels, key=lambda label: label not in one & other)
        canvas.text((x, y + TILE + 4 + 15), ", ".join(labels), FAINT, room=TILE)
        x += TILE + BETWEEN
