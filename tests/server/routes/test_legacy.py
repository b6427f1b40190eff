"""A client of the older server gets what it always got."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from types import SimpleNamespace

import numpy as np
import pytest

from siamese.models.facts import ModelFacts
from siamese.server import legacy_classifier as classifier
from siamese.server.legacy_classifier import classify
from siamese.server.settings import Limits
from tests.server.conftest import Colours, encoded, error_of, upload, write_index


def test_the_documented_request_gets_the_documented_answer(client):
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


def test_rows_are_twenty_unless_told_otherwise(client):
    assert len(client.post("/search/image/", **upload()).json()["results"]) == 12  # all there are
    assert client.post("/search/image/", **upload(), data={"rows": 0}).status_code == 422
    assert client.post("/search/image/", **upload(), data={"format": "xml"}).status_code == 422
    assert "image" in error_of(client.post("/search/image/"))
    schema = client.get("/openapi.json").json()["components"]["schemas"]
    (form,) = [of for name, of in schema.items() if "search_image" in name]
    assert form["properties"]["rows"]["default"] == 20


def test_a_page_of_results_shows_them_and_runs_nothing(client):
    answer = client.post("/search/image/", **upload(), data={"rows": 2, "format": "html"})
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text.count("<img ") == 2
    assert "<script" not in answer.text and "style=" not in answer.text
    assert "Looks like" not in answer.text


def test_names_are_escaped_on_the_page(serving, folder):
    from siamese.indexes import BallTreeIndex
    from tests.server.conftest import FACTS, Colours

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


def test_only_the_pretrained_default_names_classes():
    content = encoded()
    for facts in (
        ModelFacts("final_model.hdf5", "f" * 64, 1280, 224, "/models/final_model.hdf5"),
        ModelFacts("MobileNetV2", "f" * 64, 1280, 224, None),
    ):
        assert classify(facts, content, Limits()) == []


class Classifier:
    """Stands for the pretrained one, and sees to it that no two threads run it at once."""

    def __init__(self) -> None:
        self.free = Lock()

    def predict_on_batch(self, pictures):
        assert self.free.acquire(blocking=False)
        assert pictures.shape == (1, 32, 32, 3)
        assert pictures.max() <= 1 and pictures.min() >= -1
        softmax = np.full((1, 1000), 0.0001, np.float32)
        softmax[0, [985, 281, 7]] = 0.5, 0.3, 0.1
        time.sleep(0.01)
        self.free.release()
        return {"embedding": None, "softmax": softmax}


@pytest.fixture
def built(monkeypatch) -> list[int]:
    """Return the picture sizes that classifiers were built for."""
    built = []

    def build(size: int) -> Classifier:
        built.append(size)
        return Classifier()

    networks = SimpleNamespace(pretrained_classifier=build)  # without importing Keras
    monkeypatch.setitem(sys.modules, "siamese.models.embedding_model", networks)
    classifier._classifier.cache_clear()
    yield built
    classifier._classifier.cache_clear()


DEFAULT = ModelFacts("EfficientNetLite0", "f" * 64, 4, 32, None)


def test_the_pretrained_default_names_its_likeliest_classes_by_their_numbers(built):
    found = classify(DEFAULT, encoded(), Limits())
    assert len(found) == 5
    assert found[:3] == [
        ("ImageNet class 985", pytest.approx(0.5)),
        ("ImageNet class 281", pytest.approx(0.3)),
        ("ImageNet class 7", pytest.approx(0.1)),
    ]


def test_one_classifier_is_built_and_one_thread_at_a_time_runs_it(built):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: classify(DEFAULT, encoded(), Limits()), range(16)))
    assert len({str(classes) for classes in found}) == 1
    assert built == [32]


def test_the_classifier_is_there_before_the_first_request(built, serving, folder):
    write_index(folder / "default.pkl", facts=DEFAULT)
    client = serving(embedder=Colours(DEFAULT), index="default.pkl")
    assert built == [32]
    answer = client.post("/search/image/", **upload())
    assert len(answer.json()["classifications"]) == 5
    assert built == [32]
