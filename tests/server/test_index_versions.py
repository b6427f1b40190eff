"""The server follows an index that is replaced, broken for a while, or changed in place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from siamese.errors import UnavailableError
from siamese.indexes import BACKENDS, open_index
from siamese.search.searcher import Searcher
from siamese.server import index_versions as module
from siamese.server.index_versions import IndexVersion, IndexVersions
from siamese.server.prometheus import Metrics
from tests.server.conftest import COLOURS, FACTS, Colours, error_of, upload, write_index


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def open_versions(place, facts=FACTS) -> IndexVersions:
    embedder = Colours(facts)

    def load(before: Searcher | None) -> Searcher:
        index = open_index(place)
        made_by = index.model
        return Searcher(embedder if made_by == facts else Colours(made_by), index)

    return IndexVersions(load, place, Metrics())


def reloads(versions: IndexVersions, outcome: str) -> float:
    return versions._metrics.reloads.labels(outcome)._value.get()


def test_a_new_index_is_opened_once(folder):
    place = folder / "search_index.pkl"
    versions = open_versions(place)
    before = versions.current
    versions.refresh()
    assert versions.current is before
    write_index(place, prefix="new/")
    for _ in range(2):
        versions.refresh()
    assert reloads(versions, "done") == 1
    assert versions.current.id != before.id
    assert versions.current.searcher.index.metadata_of([0])[0]["item_id"].startswith("new/")


def test_copies_of_an_index_have_the_same_id(folder):
    import shutil

    place, copy = folder / "search_index.pkl", folder / "copy.pkl"
    shutil.copy2(place, copy)
    assert open_versions(place).current.id == open_versions(copy).current.id


def test_failed_reloads_are_retried_with_growing_delays(folder, clock):
    place = folder / "search_index.pkl"
    versions = open_versions(place)
    served, load = versions.current, versions._load
    versions._load = lambda before: (_ for _ in ()).throw(UnavailableError("the model is away"))
    write_index(place, prefix="new/")
    tries = []
    for _ in range(1000):
        failed = reloads(versions, "failed")
        versions.refresh()
        if reloads(versions, "failed") > failed:
            tries.append(clock.now - 1000)
        clock.now += 1
    assert tries == [0, 5, 15, 35, 75, 155, 315, 615, 915]
    assert versions.current is served
    versions._load = load
    clock.now += 300
    versions.refresh()
    assert versions.current.id != served.id
    assert versions.current.pictures == len(COLOURS)
    clock.now += 1000
    versions.refresh()
    assert reloads(versions, "done") == 1


@pytest.fixture
def milvus(folder):
    """Build a collection of the colours; return a function that builds it again."""
    tree = open_index(folder / "search_index.pkl")
    rows = list(range(len(tree)))
    place = folder / "search_index.milvus"

    def build(facts=FACTS):
        contents = [bytes(16)] * len(rows)
        metadata = tree.metadata_of(rows)
        return BACKENDS["milvus"].build(place, tree.vectors(rows), metadata, contents, facts)

    build()
    return build


@pytest.mark.slow
def test_a_collection_built_again_by_another_model_is_opened_with_that_model(milvus, folder):
    versions = open_versions(folder / "search_index.milvus")
    before = versions.current
    versions.refresh()
    assert versions.current is before
    other = replace(FACTS, fingerprint="d" * 64)
    milvus(other)
    seen = []
    load = versions._load
    versions._load = lambda searcher: seen.append(before.is_replaced) or load(searcher)
    versions.refresh()
    assert seen == [True]  # not searched with the old model while it is opened
    assert not versions.current.is_replaced
    assert versions.current.searcher.embedder.facts == other
    assert versions.current.id != before.id
    assert reloads(versions, "done") == 1


@pytest.mark.slow
def test_changes_of_a_collection_are_seen_after_a_while(milvus, folder, clock):
    place = folder / "search_index.milvus"
    versions = open_versions(place)
    version: IndexVersion = versions.current
    elsewhere = open_index(place)
    name, new = "shades/red-dark.png", "new.png"
    assert version.has_picture(name)
    assert not version.has_picture(new)
    row = elsewhere.find(filename=name)
    vector = elsewhere.vectors(row)
    elsewhere.remove(row)
    for added in (new, "newer.png"):
        metadata = {"item_id": "red", "filename": added, "labels": []}
        elsewhere.add(vector, [metadata], [bytes(16)])
    clock.now += module.FRESH_SECONDS
    assert not version.has_picture(name)
    assert version.has_picture(new)
    versions.refresh()
    assert versions.current is version
    assert version.pictures == len(COLOURS) + 1
    assert versions._metrics.pictures._value.get() == len(COLOURS) + 1


def test_a_replaced_version_is_not_searched(client):
    client.app.state.service.current.is_replaced = True
    for path, words in (("/search", upload()), ("/search/similar-to/0", {})):
        answer = client.post(path, **words)
        assert answer.status_code == 503
        assert "was replaced" in error_of(answer)


def test_a_replaced_file_is_served_until_the_new_one_is_open(folder):
    place = folder / "search_index.pkl"
    versions = open_versions(place)
    place.write_bytes(b"no index")
    versions.refresh()
    assert reloads(versions, "failed") == 1
    assert not versions.current.is_replaced


def test_about_does_not_query_the_index(client, monkeypatch):
    index = client.app.state.service.current.searcher.index

    def away(self):
        raise UnavailableError("nobody answers")

    monkeypatch.setattr(type(index), "__len__", away)
    assert client.get("/about").json()["pictures"] == len(COLOURS)
