"""The classes that the older search server's endpoint returns with the default model."""

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
from tests.server.conftest import Colours, encoded, upload, write_index


def test_only_the_pretrained_default_classifies():
    content = encoded()
    for facts in (
        ModelFacts("final_model.hdf5", "f" * 64, 1280, 224, "/models/final_model.hdf5"),
        ModelFacts("MobileNetV2", "f" * 64, 1280, 224, None),
    ):
        assert classify(facts, content, Limits()) == []


class Classifier:
    """A stand-in for the pretrained classifier that asserts that no two threads run it at once."""

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


def test_the_most_likely_classes_are_returned_by_their_numbers(built):
    found = classify(DEFAULT, encoded(), Limits())
    assert len(found) == 5
    assert found[:3] == [
        ("ImageNet class 985", pytest.approx(0.5)),
        ("ImageNet class 281", pytest.approx(0.3)),
        ("ImageNet class 7", pytest.approx(0.1)),
    ]


def test_one_classifier_is_built_and_runs_in_one_thread_at_a_time(built):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: classify(DEFAULT, encoded(), Limits()), range(16)))
    assert len({str(classes) for classes in found}) == 1
    assert built == [32]


def test_the_classifier_is_built_before_the_first_request(built, serving, folder):
    write_index(folder / "default.pkl", facts=DEFAULT)
    client = serving(embedder=Colours(DEFAULT), index="default.pkl")
    assert built == [32]
    answer = client.post("/search/image/", **upload())
    assert len(answer.json()["classifications"]) == 5
    assert built == [32]
