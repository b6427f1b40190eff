from __future__ import annotations

import json

import numpy as np
import pytest

from siamese.errors import InputError
from siamese.search.queries import Query, collect_queries, search_each, search_together
from tests.search.conftest import MeanColour


def test_pictures_folders_and_lists_are_collected_in_order(photos, tmp_path):
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


def test_nothing_to_search_for_is_an_error(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    for images, query_list, line in (
        ([], None, "no picture to search for"),
        ([tmp_path / "empty"], None, "no picture in this folder"),
        ([], tmp_path / "empty.txt", "empty.txt: no picture to search for"),
        ([], tmp_path / "gone.txt", "gone.txt: unreadable"),
        ([], tmp_path / "binary.txt", "not UTF-8 text"),
    ):
        with pytest.raises(InputError, match=line):
            collect_queries(images, query_list)


def test_the_item_of_a_query_is_given_or_that_of_its_file(searcher, photos):
    index = searcher.index
    assert Query(photos / "red/1.png", "red/1.png").find_own_item(index) == "red"
    assert Query(photos / "red/1.png", "red/1.png", "blue").find_own_item(index) == "blue"
    assert Query(photos / "else.png", "else.png").find_own_item(index) is None


def test_results_leave_out_the_own_item_of_each_query(searcher, photos, monkeypatch):
    monkeypatch.setattr("siamese.search.queries.BATCH", 3)
    skipped = []
    queries = collect_queries([photos], None, photos)
    found = list(search_each(searcher, queries, 3, skipped, exclude_own_item=True))
    assert [result.query for result in found] == [str(query.path) for query in queries]
    for query in found:
        own = query.query.split("/")[-2]
        assert len(query.results) == 3
        assert own not in {result.item_id for result in query.results}
    nearest = {query.query.split("/")[-2]: query.results[0].item_id for query in found}
    assert (nearest["red"], nearest["orange"]) == ("orange", "red")
    plain = list(search_each(searcher, queries, 3, skipped))
    assert all(query.results[0].filename in query.query for query in plain) and not skipped


def test_broken_queries_are_skipped_unless_they_are_required(searcher, photos, tmp_path):
    (photos / "red" / "broken.png").write_bytes(b"\x89PNG no more")
    skipped = []
    found = list(search_each(searcher, collect_queries([photos / "red"]), 1, skipped))
    assert len(found) == 2
    assert [(query.filename, query.item_id) for query in skipped] == [
        (str(photos / "red" / "broken.png"), "")
    ]
    named = collect_queries([photos / "red" / "broken.png", tmp_path / "gone.png"])
    with pytest.raises(InputError) as caught:
        list(search_each(searcher, named, 1, skipped))
    assert len(caught.value.lines) == 2 and "gone.png: file missing" in caught.value.lines[1]


def test_pictures_of_one_thing_are_searched_by_their_mean(searcher, photos):
    (found,) = searcher.search([photos / "red/1.png", photos / "green/1.png"], 8, together=True)
    assert found.query == f"{photos / 'red/1.png'} + {photos / 'green/1.png'}"
    mean = MeanColour().embed([photos / "red/1.png", photos / "green/1.png"]).mean(axis=0)
    mean /= np.linalg.norm(mean)
    (expected,) = searcher.search_vectors(mean[None], 8, names=[found.query])
    assert found == expected
    assert found.results[0].item_id == "orange"


def test_searching_together_skips_broken_pictures_and_leaves_out_the_own_item(searcher, photos):
    (photos / "red" / "broken.png").write_bytes(b"no picture")
    skipped = []
    queries = collect_queries([photos / "red"], None, photos)
    (found,) = search_together(searcher, queries, 8, skipped, exclude_own_item=True)
    assert found.query == f"{photos / 'red/1.png'} + {photos / 'red/2.png'}"
    assert [query.filename for query in skipped] == [str(photos / "red" / "broken.png")]
    assert "red" not in {result.item_id for result in found.results}
    unknown = Query(photos / "red/1.png", "elsewhere.png")
    (again,) = search_together(searcher, [queries[0], unknown], 8, [], exclude_own_item=True)
    assert "red" not in {result.item_id for result in again.results}
    two = collect_queries([photos / "red/1.png", photos / "blue/1.png"], None, photos)
    with pytest.raises(InputError, match="belong to several items, blue and red"):
        list(search_together(searcher, two, 8, [], exclude_own_item=True))
    assert not list(search_together(searcher, [Query(photos / "red/broken.png", "")], 8, []))


def test_queries_without_a_known_item_are_counted(searcher, photos, capsys):
    queries = collect_queries(
        [photos / "red"]
    )  # without the folder, the filenames are not those of the index
    list(search_each(searcher, queries, 1, [], exclude_own_item=True))
    assert "no known item for 2 queries" in capsys.readouterr().err
    list(
        search_each(searcher, collect_queries([photos], None, photos), 1, [], exclude_own_item=True)
    )
    assert "no known item" not in capsys.readouterr().err


def test_a_list_may_begin_with_a_byte_order_mark(photos, tmp_path):
    (tmp_path / "list.txt").write_text(f"\ufeff{photos / 'red/1.png'}\n", "utf-8")
    assert collect_queries([], tmp_path / "list.txt")[0].path == photos / "red/1.png"
