from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from siamese.indexes.place import (
    embeddings_folder,
    find_moved_checkpoint,
    is_address,
    skipped_list,
)
from siamese.models.facts import ModelFacts

MODEL = ModelFacts("a.hdf5", "f" * 64, 4, 32, "/home/me/project/checkpoints/a.hdf5")


def test_each_collection_has_its_own_files(tmp_path):
    place = tmp_path / "a.milvus"
    assert embeddings_folder(place) == tmp_path / "a.embeddings"
    assert embeddings_folder(place, "shoes") == tmp_path / "a.shoes.embeddings"
    assert skipped_list(place, "shoes") == tmp_path / "a.shoes.skipped.json"
    assert embeddings_folder("http://host:19530", "shoes") == Path("shoes.embeddings")


def test_an_address_is_told_from_a_path():
    for address in ("http://host:19530", "HTTPS://a@b/db", "tcp://host", "unix:/run/milvus"):
        assert is_address(address)
    for path in ("search_index.pkl", "http", "ftp://host", Path("a/b")):
        assert not is_address(path)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a folder beside the working one."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "project" / "checkpoints").mkdir(parents=True)
    return tmp_path / "project"


def test_a_checkpoint_is_found_beside_its_index(project):
    index = project / "search_index.pkl"
    assert find_moved_checkpoint(MODEL, index) == MODEL
    (project / "a.hdf5").touch()
    assert find_moved_checkpoint(MODEL, index) == replace(MODEL, path=str(project / "a.hdf5"))
    (project / "checkpoints" / "a.hdf5").touch()
    found = replace(MODEL, path=str(project / "checkpoints" / "a.hdf5"))
    assert find_moved_checkpoint(MODEL, index) == found
    assert find_moved_checkpoint(found, index) is found


def test_the_checkpoint_of_an_index_on_a_server_is_found_in_the_working_folder(
    project, monkeypatch
):
    (project / "checkpoints" / "a.hdf5").touch()
    address = "http://milvus:19530"
    assert find_moved_checkpoint(MODEL, address) == MODEL
    monkeypatch.chdir(project.parent)
    found = replace(MODEL, path=str(project / "checkpoints" / "a.hdf5"))
    assert find_moved_checkpoint(MODEL, address) == found


@pytest.mark.parametrize("model", [None, replace(MODEL, path=None)])
def test_a_model_without_a_checkpoint_stays_the_same(project, model):
    assert find_moved_checkpoint(model, project / "search_index.pkl") is model
