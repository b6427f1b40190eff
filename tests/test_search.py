from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from siamese.embedding import ModelFacts
from siamese.errors import InputError
from siamese.images import PictureError, square_picture
from siamese.indexes import BallTreeIndex, open_index
from siamese.search import Searcher

FACTS = ModelFacts("mean colour", "f" * 64, 3, 8, None)
COLOURS = {"red": (250, 5, 5), "orange": (250, 100, 5), "green": (5, 250, 5), "blue": (5, 5, 250)}


class MeanColour:
    """An embedder that needs no network."""

    facts = FACTS

    def embed(self, sources, *, batch_size=32):
        vectors, problems = [], []
        for source in sources:
            try:
                vectors.append(square_picture(source, 8).mean((0, 1)))
            except PictureError as error:
                problems.append(f"{source}: {error}")
        if problems:
            raise InputError(problems)
        vectors = np.array(vectors, np.float32).reshape(-1, 3)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def paths(tmp_path):
    paths = []
    for name, colour in COLOURS.items():
        paths.append(tmp_path / f"{name}.png")
        Image.new("RGB", (9, 7), colour).save(paths[-1])
    return paths


@pytest.fixture
def index(tmp_path, paths):
    metadata = [
        {"item_id": path.stem, "filename": path.name, "labels": ["warm"] * (row < 2)}
        for row, path in enumerate(paths)
    ]
    BallTreeIndex.build(MeanColour().embed(paths), metadata, FACTS.as_dict()).save(
        tmp_path / "search_index.pkl"
    )
    return open_index(tmp_path / "search_index.pkl")


def test_the_nearest_pictures_come_first(paths, index):
    found = Searcher(MeanColour(), index).search([paths[0], str(paths[3])], k=2)
    assert [query.query for query in found] == [str(paths[0]), str(paths[3])]
    first, second = found[0].results
    assert (first.rank, first.item_id, first.filename, first.labels) == (
        1,
        "red",
        "red.png",
        ["warm"],
    )
    assert (second.rank, second.item_id) == (2, "orange")
    assert first.distance == pytest.approx(0, abs=1e-3) and second.distance > 0.1
    assert found[1].results[0].item_id == "blue"


def test_bytes_and_pictures_are_queries_too(paths, index):
    sources = [paths[2].read_bytes(), Image.new("RGB", (4, 4), COLOURS["blue"])]
    found = Searcher(MeanColour(), index).search(sources, k=1)
    assert [query.query for query in found] == ["picture 1", "picture 2"]
    assert [query.results[0].item_id for query in found] == ["green", "blue"]


def test_as_dict_is_the_json_form(paths, index):
    (found,) = Searcher(MeanColour(), index).search(paths[:1], k=100)
    form = json.loads(json.dumps(found.as_dict()))
    assert list(form) == ["query", "results"] and len(form["results"]) == 4
    assert list(form["results"][0]) == ["rank", "distance", "item_id", "filename", "labels"]
    assert form["results"][0]["labels"] == ["warm"] and form["results"][3]["labels"] == []


def test_no_query_no_ranking(index):
    assert Searcher(MeanColour(), index).search([]) == []


def test_every_bad_query_is_reported(tmp_path, paths, index):
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(InputError) as caught:
        Searcher(MeanColour(), index).search([tmp_path / "text.jpg", paths[0], tmp_path / "none"])
    first, second = caught.value.lines
    assert "text.jpg: not a picture" in first and "none: file missing" in second


def test_another_model_is_refused_in_one_line(index):
    embedder = MeanColour()
    embedder.facts = replace(FACTS, name="other.hdf5", fingerprint="0" * 64)
    with pytest.raises(InputError) as caught:
        Searcher(embedder, index)
    (line,) = caught.value.lines
    for part in (index.name, "'mean colour'", "'ffffffffffff'", "'other.hdf5'", "make the index"):
        assert part in line


def test_an_index_without_its_model_is_taken_with_a_warning(paths, index):
    index.model = None
    with pytest.warns(UserWarning, match="does not record which model made it"):
        searcher = Searcher(MeanColour(), index)
    assert searcher.search(paths[:1])[0].results[0].item_id == "red"

    wider = MeanColour()
    wider.facts = replace(FACTS, embedding_size=4)
    with pytest.raises(InputError, match="3 dimensions, mean colour makes 4"):
        Searcher(wider, index)
