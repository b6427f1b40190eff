"""The answers are those that the API documentation describes."""

from __future__ import annotations

import os

import numpy as np
import pytest

from siamese.indexes import BallTreeIndex
from tests.server.conftest import FACTS, Colours, upload

REQUESTS = [
    ("POST", "/search", upload()),
    ("POST", "/search", {**upload(), "data": {"k": 1, "by_item": "mean"}}),
    ("POST", "/search/similar-to/{picture}", {}),
    ("POST", "/embed", upload()),
    ("GET", "/about", {}),
    ("GET", "/labels", {}),
    ("GET", "/items/{item_id}", {}),
    ("GET", "/health", {}),
    ("GET", "/ready", {}),
    ("POST", "/search/image/", upload()),
    ("GET", "/search/health/", {}),
]


@pytest.fixture
def documentation(client):
    """Return the OpenAPI document, with no other properties than the documented ones allowed."""
    document = client.get("/openapi.json").json()
    for model in document["components"]["schemas"].values():
        model["additionalProperties"] = False
    return document


def check(documentation, answer, method, path):
    described = documentation["paths"][path][method.lower()]["responses"][str(answer.status_code)]
    schema = described["content"]["application/json"]["schema"]
    import jsonschema  # takes seconds, in every process that collects the tests

    jsonschema.validate(answer.json(), {**documentation, **schema})


@pytest.mark.parametrize(("method", "path", "words"), REQUESTS)
def test_answers_agree_with_their_schema(client, documentation, method, path, words):
    url = path.format(picture="shades/red-dark.png", item_id="red")
    answer = client.request(method, url, **words)
    assert answer.status_code == 200
    check(documentation, answer, method, path)


def test_every_json_answer_is_checked(documentation):
    documented = {
        (method.upper(), path)
        for path, operations in documentation["paths"].items()
        for method, operation in operations.items()
        if "schema" in operation["responses"]["200"].get("content", {}).get("application/json", {})
    }
    assert documented == {(method, path) for method, path, _ in REQUESTS}


@pytest.mark.parametrize(
    ("method", "path", "words", "status"),
    [
        ("POST", "/search", upload(b"no picture"), 415),
        ("POST", "/search", {}, 422),
        ("POST", "/search/similar-to/{picture}", {}, 404),
        ("GET", "/items/{item_id}", {}, 404),
    ],
)
def test_errors_agree_with_their_schema(client, documentation, method, path, words, status):
    answer = client.request(method, path.format(picture="none", item_id="none"), **words)
    assert answer.status_code == status
    check(documentation, answer, method, path)


def test_a_file_name_that_is_not_valid_utf_8_is_answered(serving, folder, documentation):
    name = os.fsdecode(b"caf\xe9.png")
    metadata = [{"item_id": name, "filename": name, "labels": [name]}]
    vectors = Colours().embed_squares(np.zeros((1, 32, 32, 3), np.uint8))
    BallTreeIndex.build(vectors, metadata, FACTS).save(folder / "odd.pkl")
    client = serving(index="odd.pkl")
    for method, path, words in (
        ("POST", "/search", upload()),
        ("GET", "/labels", {}),
        ("POST", "/search/image/", upload()),
    ):
        answer = client.request(method, path, **words)
        assert "\\udce9" in answer.text
        check(documentation, answer, method, path)
