"""Embedders that need no network, and searchers of pictures that they embed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from siamese.data.images import PictureError, square_picture
from siamese.errors import InputError
from siamese.indexes import BallTreeIndex
from siamese.models.facts import ModelFacts
from siamese.search.searcher import Searcher

FACTS = ModelFacts("mean colour", "f" * 64, 3, 8, None)
COLOURS = {"red": (250, 5, 5), "orange": (250, 100, 5), "green": (5, 250, 5), "blue": (5, 5, 250)}


class MeanColour:
    """An embedder whose vectors are mean colours; it needs no network."""

    facts = FACTS

    def embed(self, sources, *, batch_size=32):
        squares, problems = [], []
        for source in sources:
            try:
                squares.append(square_picture(source, 8))
            except PictureError as error:
                problems.append(f"{source}: {error}")
        if problems:
            raise InputError(problems)
        return self.embed_squares(np.array(squares).reshape(-1, 8, 8, 3))

    def embed_squares(self, squares):
        vectors = squares.mean((1, 2), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def photos(tmp_path):
    """Return a folder with two shades of each colour in a subfolder, and other files."""
    for name, colour in COLOURS.items():
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in (1, 2):
            shade = tuple(value - 4 * number for value in colour)
            Image.new("RGB", (9, 7), tuple(max(value, 0) for value in shade)).save(
                folder / f"{number}.png"
            )
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    (tmp_path / "photos" / ".hidden.png").write_bytes(b"")
    return tmp_path / "photos"


@pytest.fixture
def searcher(photos):
    """Return a searcher of the photos; the item of each is its colour."""
    names = [f"{name}/{number}.png" for name in COLOURS for number in (1, 2)]
    metadata = [
        {"item_id": name.split("/")[0], "filename": name, "labels": ["a", "b"]} for name in names
    ]
    vectors = MeanColour().embed([photos / name for name in names])
    return Searcher(MeanColour(), BallTreeIndex.build(vectors, metadata, FACTS))


class Angles:
    """An embedder whose pictures are angles in degrees."""

    facts = replace(FACTS, embedding_size=2)

    def embed(self, sources, *, batch_size=32):
        angles = np.radians(np.array(sources, float))
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def at_angles(*pictures):
    """Return a searcher of pictures `(item, angle)`; each file is named by its angle."""
    vectors = Angles().embed([angle for _, angle in pictures])
    metadata = [{"item_id": item, "filename": str(a), "labels": []} for item, a in pictures]
    return Searcher(Angles(), BallTreeIndex.build(vectors, metadata, Angles.facts))


def order(found):
    """Return the item and the filename of each result."""
    return [(result.item_id, result.filename) for result in found.results]


def chord(degrees):
    """Return the Euclidean distance of two vectors of length 1 at an angle."""
    return pytest.approx(2 * np.sin(np.radians(degrees / 2)), abs=1e-6)
