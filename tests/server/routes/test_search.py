"""Searching and embedding over HTTP."""

from __future__ import annotations

from urllib.parse import quote

import numpy as np
import pytest

from siamese.errors import GoneError, InputError, UnavailableError
from siamese.indexes import open_index
from tests.server.conftest import COLOURS, FACTS, Colours, encoded, error_of, upload


def test_search_returns_ranked_results_with_all_fields(client):
    answer = client.post("/search", **upload(encoded((250, 30, 30))), data={"k": 3})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    assert found["query"] == "query.png"
    assert [result["rank"] for result in found["results"]] == [1, 2, 3]
    assert {result["item_id"] for result in found["results"]} == {"red"}
    assert found["in_catalogue"] is found["threshold"] is None
    assert (found["k"], found["offset"]) == (3, 0)
    for result in found["results"]:
        assert result["similarity"] == pytest.approx(1 - result["distance"] ** 2 / 2)
        assert result["image_url"] == f"/images/{result['filename']}"
        assert client.get(result["image_url"]).status_code == 200
        assert client.get(result["thumbnail_url"]).status_code == 200


def test_without_a_folder_of_pictures_there_are_no_urls(serving):
    client = serving(image_dir=None)
    (first, *_) = client.post("/search", **upload()).json()["results"]
    assert first["image_url"] is first["thumbnail_url"] is None
    assert not client.get("/about").json()["images"]
    assert client.get("/images/shades/red-dark.png").status_code == 404


def test_the_second_page_continues_the_first(client):
    whole = client.post("/search", **upload(), data={"k": 10}).json()["results"]
    page = client.post("/search", **upload(), data={"k": 4, "offset": 6}).json()["results"]
    assert page == whole[6:]


def test_results_end_at_rank_ten_thousand(client):
    for path, words in (("/search", upload()), ("/search/similar-to/0", {})):
        last = client.post(path, **words, data={"k": 1000, "offset": 9000})
        assert last.status_code == 200
        beyond = client.post(path, **words, data={"k": 1000, "offset": 9001})
        assert beyond.status_code == 422
        assert "limit 10,000" in error_of(beyond)


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"any_label": ["dark", "light"]}, lambda labels: "middle" not in labels),
        ({"every_label": ["colour", "dark"]}, lambda labels: "dark" in labels),
        ({"no_label": ["dark"]}, lambda labels: "dark" not in labels),
        ({"any_label": ["nothing has it"]}, lambda labels: False),
    ],
)
def test_labels_filter_pictures(client, fields, kept):
    results = client.post("/search", **upload(), data={"k": 50, **fields}).json()["results"]
    expected = [name for name in COLOURS if kept({"colour", name.split("-")[1]})]
    assert len(results) == len(expected)
    assert all(kept(result["labels"]) for result in results)


def test_other_options_are_passed_on(client):
    near = client.post("/search", **upload(), data={"max_distance": "0.2", "k": 50}).json()
    assert 0 < len(near["results"]) < len(COLOURS)
    assert all(result["distance"] <= 0.2 for result in near["results"])
    for by_item in ("best", "mean"):
        items = client.post("/search", **upload(), data={"by_item": by_item}).json()["results"]
        assert sorted(result["item_id"] for result in items) == ["blue", "green", "red", "yellow"]
    for rerank in ("expansion", "reciprocal"):
        assert client.post("/search", **upload(), data={"rerank": rerank}).status_code == 200


def test_several_pictures_are_searched_by_their_mean(client):
    red, green = encoded((230, 30, 30)), encoded((30, 230, 30))
    files = [("image", ("a.png", red)), ("image", ("b.png", green))]
    found = client.post("/search", files=files, data={"k": 3}).json()
    assert found["query"] == "a.png + b.png"
    # Yellow lies between red and green; neither alone would find it.
    assert {result["item_id"] for result in found["results"]} == {"yellow"}


def test_only_the_crop_is_searched_for(client):
    from io import BytesIO

    from PIL import Image

    picture = Image.new("RGB", (80, 40), (30, 30, 230))
    picture.paste((230, 30, 30), (60, 0, 80, 20))
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    content = buffer.getvalue()

    def first(**data):
        return client.post("/search", **upload(content), data=data).json()["results"][0]["item_id"]

    assert first() == "blue"
    assert first(crop="0.75,0,0.25,0.5") == "red"
    assert first(crop="0,0,0.5,1") == "blue"
    assert first(crop="0.999,0.0,0.0001,0.0001") == "red"  # at least one pixel


def test_a_crop_applies_to_the_upright_picture(client):
    from io import BytesIO

    from PIL import Image

    picture = Image.new("RGB", (80, 40), (30, 30, 230))
    picture.paste((230, 30, 30), (0, 0, 40, 40))  # on the left in the file
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90° clockwise: left becomes top
    buffer = BytesIO()
    picture.save(buffer, "JPEG", exif=exif, quality=95)

    def first(crop):
        answer = client.post("/search", **upload(buffer.getvalue()), data={"crop": crop})
        return answer.json()["results"][0]["item_id"]

    assert first("0,0,1,0.45") == "red"
    assert first("0,0.55,1,0.45") == "blue"


@pytest.mark.parametrize(
    "crop",
    [
        *("1,2,3", "a,b,c,d", "0,0,0,1", "0,0,1.5,1", "0.6,0,0.6,1", "-0.1,0,1,1", "nan,0,1,1"),
        *("0,0,5e-324,5e-324", "0,0,1,1e-300", "0,0,inf,1"),
    ],
)
def test_a_crop_outside_of_the_picture_is_an_error(client, crop):
    answer = client.post("/search", **upload(), data={"crop": crop})
    assert answer.status_code == 422
    assert "crop" in error_of(answer)


def test_all_invalid_fields_are_named_in_one_line(client):
    answer = client.post("/search", data={"k": "many", "offset": -1, "by_item": "worst"})
    assert answer.status_code == 422
    assert all(name in error_of(answer) for name in ("k:", "offset:", "by_item:", "image:"))


def test_similar_pictures_never_include_the_picture_itself(client, folder):
    index = open_index(folder / "search_index.pkl")
    for row, known in enumerate(index.metadata):
        by_name = client.post(f"/search/similar-to/{quote(known['filename'])}").json()
        by_row = client.post(f"/search/similar-to/{row}", data={"k": 20}).json()
        assert by_name["results"] == by_row["results"]
        filenames = [result["filename"] for result in by_name["results"]]
        assert sorted([known["filename"], *filenames]) == sorted(
            other["filename"] for other in index.metadata
        )
        assert [result["rank"] for result in by_name["results"]] == list(range(1, len(COLOURS)))


def test_similar_pictures_by_page_and_without_the_own_item(client):
    path = "/search/similar-to/shades/red-dark.png"
    whole = client.post(path, data={"k": 50}).json()["results"]
    assert client.post(path, data={"k": 3, "offset": 4}).json()["results"] == whole[4:7]
    others = client.post(path, data={"exclude_own_item": "true", "k": 50}).json()["results"]
    assert [result["filename"] for result in others] == [
        result["filename"] for result in whole if result["item_id"] != "red"
    ]
    items = client.post(path, data={"by_item": "best"}).json()["results"]
    assert sorted(result["item_id"] for result in items) == ["blue", "green", "yellow"]


@pytest.mark.parametrize("picture", ["none.png", "12", "99999999999999999999", "-1", "٣"])
def test_similar_to_a_missing_picture_is_a_404(client, picture):
    answer = client.post(f"/search/similar-to/{picture}")
    assert answer.status_code == 404
    assert picture in error_of(answer)


def test_similar_to_a_removed_row_is_a_404(client, monkeypatch):
    index = client.app.state.service.current.searcher.index
    find = type(index).find

    def without_the_third(self, **words):
        return np.setdiff1d(find(self, **words), [2])

    monkeypatch.setattr(type(index), "find", without_the_third)
    assert client.post("/search/similar-to/1").status_code == 200
    assert client.post("/search/similar-to/2").status_code == 404


@pytest.mark.parametrize(
    ("path", "words"), [("/search", upload(encoded((200, 60, 27)))), ("/search/similar-to/0", {})]
)
def test_in_catalogue_does_not_depend_on_which_results_are_returned(client, path, words):
    client.app.state.service.current.searcher.threshold = 2.0
    found = client.post(path, **words, data={"max_distance": "0"}).json()
    assert (found["results"], found["in_catalogue"]) == ([], True)


class FailingIndex:
    """An index whose first calls of one method fail."""

    def __init__(self, index, method, errors):
        self._index = index
        self._method = method
        self.errors = errors

    def __getattr__(self, name):
        if name == self._method and self.errors:
            raise self.errors.pop(0)
        return getattr(self._index, name)

    def __len__(self):
        return len(self._index)


@pytest.mark.parametrize(
    ("errors", "status"),
    [
        ([GoneError("row 5 is gone")], 200),
        ([GoneError("row 5 is gone")] * 2, 503),
        ([UnavailableError("nobody answers")], 503),
        ([InputError("k is too large")], 422),
    ],
)
def test_an_unavailable_index_is_a_503(client, errors, status):
    searcher = client.app.state.service.current.searcher
    searcher.index = FailingIndex(searcher.index, "metadata_of", list(errors))
    expected = str(errors[-1])
    answer = client.post("/search", **upload())
    assert answer.status_code == status
    if status != 200:
        assert error_of(answer) == expected
        assert answer.headers.get("retry-after") == ("1" if status == 503 else None)
    assert searcher.index.errors == []


@pytest.mark.parametrize(
    ("error", "status"), [(GoneError("gone"), 404), (UnavailableError("away"), 503)]
)
def test_similar_to_a_row_distinguishes_removed_from_unavailable(client, error, status):
    searcher = client.app.state.service.current.searcher
    searcher.index = FailingIndex(searcher.index, "metadata_of", [error])
    assert client.post("/search/similar-to/1").status_code == status


def test_embed_returns_the_vector_of_the_model(client):
    answer = client.post("/embed", **upload(encoded((10, 200, 100), (32, 32)))).json()
    (expected,) = Colours().embed_squares(np.full((1, 32, 32, 3), (10, 200, 100), np.uint8))
    assert answer["embedding"] == pytest.approx(expected, abs=1e-6)
    assert answer["fingerprint"] == FACTS.fingerprint


def test_in_catalogue_follows_the_threshold(serving):
    client = serving()
    searcher = client.app.state.service.current.searcher
    searcher.threshold = 0.05
    near = client.post("/search", **upload(encoded((230, 27, 27)))).json()
    far = client.post("/search", **upload(encoded((120, 120, 120)))).json()
    assert (near["in_catalogue"], far["in_catalogue"]) == (True, False)
    assert near["threshold"] == 0.05
    assert client.get("/about").json()["threshold"] == 0.05
