"""Clients of the older search server get the same answers as before."""

from __future__ import annotations

import numpy as np

from tests.server.conftest import Colours, encoded, error_of, upload


def test_the_documented_request_returns_the_documented_answer(client):
    answer = client.post(
        "/search/image/", **upload(encoded((230, 30, 30))), data={"rows": 5, "format": "json"}
    )
    assert answer.status_code == 200
    document = answer.json()
    assert list(document) == ["results", "classifications"]
    assert document["classifications"] == []
    assert len(document["results"]) == 5
    for result in document["results"]:
        assert list(result) == ["distance", "filename", "item_id", "image_url"]
        assert client.get(result["image_url"]).status_code == 200
    distances = [result["distance"] for result in document["results"]]
    assert distances == sorted(distances)
    assert document["results"][0]["item_id"] == "red"


def test_rows_default_to_twenty(client):
    assert len(client.post("/search/image/", **upload()).json()["results"]) == 12  # all there are
    assert client.post("/search/image/", **upload(), data={"rows": 0}).status_code == 422
    assert client.post("/search/image/", **upload(), data={"format": "xml"}).status_code == 422
    assert "image" in error_of(client.post("/search/image/"))
    schema = client.get("/openapi.json").json()["components"]["schemas"]
    (form,) = [model for name, model in schema.items() if "search_image" in name]
    assert form["properties"]["rows"]["default"] == 20


def test_a_page_of_results_has_pictures_and_no_script(client):
    answer = client.post("/search/image/", **upload(), data={"rows": 2, "format": "html"})
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text.count("<img ") == 2
    assert "<script" not in answer.text and "style=" not in answer.text
    assert "Looks like" not in answer.text


def test_names_are_escaped_on_the_page(serving, folder):
    from siamese.indexes import BallTreeIndex
    from tests.server.conftest import FACTS

    vectors = Colours().embed_squares(np.full((1, 32, 32, 3), (255, 0, 0), np.uint8))
    name = '"><script>alert(1)</script>.png'
    metadata = [{"item_id": name, "filename": name, "labels": []}]
    BallTreeIndex.build(vectors, metadata, FACTS).save(folder / "hostile.pkl")
    page = serving(index="hostile.pkl").post("/search/image/", **upload(), data={"format": "html"})
    assert page.status_code == 200
    assert "<script" not in page.text


def test_health_is_up(client):
    answer = client.get("/search/health/")
    assert (answer.status_code, answer.json()) == (200, {"status": "UP"})
