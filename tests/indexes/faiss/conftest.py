"""FAISS indexes in folders, exact and as a graph."""

from __future__ import annotations

import json

import pytest

from siamese.indexes import BACKENDS
from siamese.indexes.faiss import layout as faiss_layout
from tests.indexes.conftest import contents, facts, grouped, pictures

COUNT = 300


@pytest.fixture
def graphs(monkeypatch):
    """Build a graph from 41 vectors on."""
    monkeypatch.setattr(faiss_layout, "MAX_EXACT", 40)


def build(place, count=COUNT, **words):
    vectors, metadata = grouped(count), pictures(count)
    return BACKENDS["faiss"].build(place, vectors, metadata, contents(count), facts(), **words)


@pytest.fixture(params=["exact", "graph"])
def folder(request, tmp_path, monkeypatch):
    if request.param == "graph":
        monkeypatch.setattr(faiss_layout, "MAX_EXACT", 40)
    build(tmp_path / "index", min_recall=0.9)
    return tmp_path / "index"


def read_manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def rewrite_manifest(folder, **changes):
    (folder / "manifest.json").write_text(json.dumps(read_manifest(folder) | changes))
