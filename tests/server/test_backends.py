"""Whatever backend the index has, the server answers the same."""

from __future__ import annotations

import pytest

from siamese.indexes import BACKENDS, open_index
from tests.server.conftest import FACTS, encoded, upload

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("backend", ["faiss", "milvus"])
def test_all_backends_return_the_same_answers(serving, folder, backend):
    tree = open_index(folder / "search_index.pkl")
    rows = list(range(len(tree)))
    contents = [bytes([row]) * 16 for row in rows]
    place = folder / f"search_index.{backend}"
    BACKENDS[backend].build(place, tree.vectors(rows), tree.metadata_of(rows), contents, FACTS)
    expected, client = serving(), serving(index=place.name)
    for path in ("/labels", "/images/shades/red-dark.png", "/images/none"):
        assert client.get(path).content == expected.get(path).content

    def results(client, path, **words):
        answer = client.post(path, **words)
        assert answer.status_code == 200, answer.text
        return [
            (result["rank"], result["filename"], pytest.approx(result["distance"], abs=1e-3))
            for result in answer.json()["results"]
        ]

    for data in ({}, {"k": 3, "offset": 2}, {"any_label": "dark"}, {"by_item": "best"}):
        search = {"path": "/search", **upload(encoded((200, 40, 90))), "data": data}
        assert results(client, **search) == results(expected, **search)
        similar = {"path": "/search/similar-to/shades/red-dark.png", "data": data}
        assert results(client, **similar) == results(expected, **similar)
    item = client.get("/items/red").json()
    assert sorted(picture["filename"] for picture in item["pictures"]) == sorted(
        picture["filename"] for picture in expected.get("/items/red").json()["pictures"]
    )
    by_row = {"path": f"/search/similar-to/{item['pictures'][0]['row']}"}
    by_name = {"path": f"/search/similar-to/{item['pictures'][0]['filename']}"}
    assert results(client, **by_row) == results(client, **by_name)
    assert client.post("/search/similar-to/999999999999").status_code == 404
