"""A folder with an index and its model may be moved or mounted elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from siamese.indexes.model_path import find_moved_checkpoint
from siamese.models.facts import ModelFacts

MODEL = ModelFacts("a.hdf5", "f" * 64, 4, 32, "/home/me/project/checkpoints/a.hdf5")


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
def test_a_model_without_a_checkpoint_is_returned_as_it_is(project, model):
    assert find_moved_checkpoint(model, project / "search_index.pkl") is model
