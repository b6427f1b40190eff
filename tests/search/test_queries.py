from __future__ import annotations

import csv
import json
import os

import numpy as np
import pytest
from PIL import Image

from siamese.errors import InputError
from siamese.indexes import BallTreeIndex
from siamese.search.queries import Query, collect_queries, search_each, search_together
from siamese.search.results_file import write_results
from siamese.search.searcher import Searcher
from tests.search.test_searcher import COLOURS, FACTS, MeanColour


@pytest.fixture
def photos(tmp_path):
    """A folder with a picture of each colour in a folder of its own, and what is no picture."""
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
    names = [f"{name}/{number}.png" for name in COLOURS for number in (1, 2)]
    metadata = [
        {"item_id": name.split("/")[0], "filename": name, "labels": ["a", "b"]} for name in names
    ]
    vectors = MeanColour().embed([photos / name for name in names])
    return Searcher(MeanColour(), BallTreeIndex.build(vectors, metadata, FACTS))


def test_pictures_folders_and_lists_are_gathered_in_order(photos, tmp_path):
    red, blue = photos / "red", photos / "blue" / "2.png"
    (tmp_path / "list.txt").write_text(f"{blue}\n\n  {tmp_path / 'gone.png'}  \n")
    found = collect_queries([blue, red], tmp_path / "list.txt", photos)
    assert found == [
        Query(blue, "blue/2.png", required=True),
        Query(red / "1.png", "red/1.png"),
        Query(red / "2.png", "red/2.png"),
        Query(blue, "blue/2.png"),
        Query(tmp_path / "gone.png", str(tmp_path / "gone.png")),
    ]
    form = {"crimson": {"images": [{"filename": "red/1.png"}]}}
    (tmp_path / "queries.json").write_text(json.dumps(form))
    assert collect_queries([], tmp_path / "queries.json", photos) == [
        Query(photos / "red/1.png", "red/1.png", "crimson")
    ]
    assert len(collect_queries([photos])) == 8


def test_nothing_to_search_for_is_one_line(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    for images, listed, line in (
        ([], None, "no picture to search for"),
        ([tmp_path / "empty"], None, "no picture in this folder"),
        ([], tmp_path / "empty.txt", "empty.txt: no picture to search for"),
        ([], tmp_path / "gone.txt", "gone.txt: unreadable"),
        ([], tmp_path / "binary.txt", "not UTF-8 text"),
    ):
        with pytest.raises(InputError, match=line):
            collect_queries(images, listed)


def test_a_query_is_of_the_item_that_is_said_or_that_its_file_is_of(searcher, photos):
    index = searcher.index
    assert Query(photos / "red/1.png", "red/1.png").own_item(index) == "red"
    assert Query(photos / "red/1.png", "red/1.png", "blue").own_item(index) == "blue"
    assert Query(photos / "else.png", "else.png").own_item(index) is None


def test_many_are_searched_for_without_their_own_item(searcher, photos, monkeypatch):
    monkeypatch.setattr("siamese.search.queries.BATCH", 3)
    skipped = []
    queries = collect_queries([photos], None, photos)
    found = list(search_each(searcher, queries, 3, skipped, exclude_own_item=True))
    assert [one.query for one in found] == [str(query.path) for query in queries]
    for one in found:
        own = one.query.split("/")[-2]
        assert len(one.results) == 3
        assert own not in {result.item_id for result in one.results}
    nearest = {one.query.split("/")[-2]: one.results[0].item_id for one in found}
    assert (nearest["red"], nearest["orange"]) == ("orange", "red")
    plain = list(search_each(searcher, queries, 3, skipped))
    assert all(one.results[0].filename in one.query for one in plain) and not skipped


def test_broken_ones_are_skipped_unless_they_are_required(searcher, photos, tmp_path):
    (photos / "red" / "broken.png").write_bytes(b"\x89PNG no more")
    skipped = []
    found = list(search_each(searcher, collect_queries([photos / "red"]), 1, skipped))
    assert len(found) == 2
    assert [(one.filename, one.item_id) for one in skipped] == [
        (str(photos / "red" / "broken.png"), "")
    ]
    named = collect_queries([photos / "red" / "broken.png", tmp_path / "gone.png"])
    with pytest.raises(InputError) as told:
        list(search_each(searcher, named, 1, skipped))
    assert len(told.value.lines) == 2 and "gone.png: file missing" in told.value.lines[1]


def test_results_as_csv_and_as_json_lines(searcher, photos, tmp_path):
    found = searcher.search([photos / "red/1.png", photos / "blue/1.png"], 2)
    write_results(iter(found), tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    told = [(query, one) for query in found for one in query.results]
    for row, (query, result) in zip(rows, told, strict=True):
        assert row == {
            "query": query.query,
            "rank": str(result.rank),
            "distance": f"{result.distance:.6f}",
            "item_id": result.item_id,
            "filename": result.filename,
            "labels": "a|b",
        }
    write_results(iter(found), tmp_path / "results.jsonl")
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [one.as_dict() for one in found]

    def broken():
        yield found[0]
        raise InputError("stopped")

    before = (tmp_path / "results.csv").read_bytes()
    with pytest.raises(InputError, match="stopped"):
        write_results(broken(), tmp_path / "results.csv")
    assert (tmp_path / "results.csv").read_bytes() == before


def test_several_pictures_are_one_query_by_their_mean(searcher, photos):
    (found,) = searcher.search([photos / "red/1.png", photos / "green/1.png"], 8, together=True)
    assert found.query == f"{photos / 'red/1.png'} + {photos / 'green/1.png'}"
    mean = MeanColour().embed([photos / "red/1.png", photos / "green/1.png"]).mean(axis=0)
    mean /= np.linalg.norm(mean)
    (expected,) = searcher.search_vectors(mean[None], 8, names=[found.query])
    assert found == expected
    assert found.results[0].item_id == "orange"


def test_together_leaves_out_what_is_broken_and_the_one_item_that_is_known(searcher, photos):
    (photos / "red" / "broken.png").write_bytes(b"no picture")
    skipped = []
    queries = collect_queries([photos / "red"], None, photos)
    (found,) = search_together(searcher, queries, 8, skipped, exclude_own_item=True)
    assert found.query == f"{photos / 'red/1.png'} + {photos / 'red/2.png'}"
    assert [one.filename for one in skipped] == [str(photos / "red" / "broken.png")]
    assert "red" not in {result.item_id for result in found.results}
    unknown = Query(photos / "red/1.png", "elsewhere.png")
    (again,) = search_together(searcher, [queries[0], unknown], 8, [], exclude_own_item=True)
    assert "red" not in {result.item_id for result in again.results}
    two = collect_queries([photos / "red/1.png", photos / "blue/1.png"], None, photos)
    with pytest.raises(InputError, match="belong to several items, blue and red"):
        list(search_together(searcher, two, 8, [], exclude_own_item=True))
    assert not list(search_together(searcher, [Query(photos / "red/broken.png", "")], 8, []))


def test_collect_queries_no_known_item_are_counted(searcher, photos, capsys):
    queries = collect_queries([photos / "red"])  # without the folder, no name is the index's
    list(search_each(searcher, queries, 1, [], exclude_own_item=True))
    assert "no known item for 2 queries" in capsys.readouterr().err
    list(
        search_each(searcher, collect_queries([photos], None, photos), 1, [], exclude_own_item=True)
    )
    assert "no known item" not in capsys.readouterr().err


def test_a_list_may_begin_with_a_mark_of_its_encoding(photos, tmp_path):
    (tmp_path / "list.txt").write_text(f"\ufeff{photos / 'red/1.png'}\n", "utf-8")
    assert collect_queries([], tmp_path / "list.txt")[0].path == photos / "red/1.png"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_name_of_odd_bytes_is_written_as_it_can_be(searcher, photos, tmp_path, suffix):
    (found,) = searcher.search_vectors(
        searcher.index.vectors([0]), 1, names=[os.fsdecode(b"caf\xe9.png")]
    )
    write_results([found], tmp_path / f"results{suffix}")
    assert "\\udce9.png" in (tmp_path / f"results{suffix}").read_text("utf-8")
