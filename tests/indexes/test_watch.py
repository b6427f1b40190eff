from __future__ import annotations

import shutil

import pytest

from siamese.indexes import BACKENDS
from siamese.indexes.watch import Watch
from tests.indexes.conftest import contents, facts, grouped, pictures


def build(backend, place, count=8, collection="pictures"):
    BACKENDS[backend].build(
        place, grouped(count), pictures(count), contents(count), facts(), collection=collection
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_state_changes_when_the_index_is_replaced(backend, tmp_path):
    place = tmp_path / "index"
    watch = Watch(place, "pictures")
    assert watch.state() is None and not watch.changes_in_place
    build(backend, place)
    first = watch.state()
    assert first is not None and watch.state() == first
    assert watch.changes_in_place == (backend == "milvus")
    build(backend, place, 12)
    second = watch.state()
    assert second is not None and second[1:] != first[1:]


def test_another_backend_may_take_the_place(tmp_path):
    place = tmp_path / "index"
    watch = Watch(place, "pictures")
    states = []
    for backend in BACKENDS:
        build(backend, place)
        states.append(watch.state())
        assert watch.changes_in_place == (backend == "milvus")
        if backend == "balltree":
            place.unlink()
        elif backend == "faiss":
            shutil.rmtree(place)
    assert len(set(states)) == 3 and None not in states


def test_without_the_collection_there_is_no_state(tmp_path):
    build("milvus", tmp_path / "index")
    assert Watch(tmp_path / "index", "shoes").state() is None
