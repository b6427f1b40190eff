from __future__ import annotations

import numpy as np
import pytest

from siamese.errors import InputError
from siamese.indexes.faiss import layout as faiss_layout
from tests.indexes.conftest import SIZE, grouped
from tests.indexes.faiss.conftest import build, read_manifest


def test_the_layout_depends_on_the_number_of_pictures_and_is_reported(
    tmp_path, graphs, monkeypatch, capsys
):
    build(tmp_path / "few", 40)
    assert read_manifest(tmp_path / "few")["found"]["kind"] == "exact"
    assert capsys.readouterr().err == (
        "40 pictures: all pictures are compared, because there are few\n"
    )
    build(tmp_path / "many", 300)
    found = read_manifest(tmp_path / "many")["found"]
    assert (found["kind"], found["bits"], found["links"], found["effort"]) == ("graph", 16, 16, 64)
    assert found["recall"] > 0.98 and found["queries"] == 300
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(
        "300 pictures: a graph with 16 links per vector and 16 bits per number finds "
    )
    monkeypatch.setattr(faiss_layout, "MAX_HALF_BYTES", 300 * SIZE)
    build(tmp_path / "more", 300, min_recall=0.9)
    assert read_manifest(tmp_path / "more")["found"]["bits"] == 8
    sizes = [(tmp_path / name / "vectors-00001.faiss").stat().st_size for name in ("many", "more")]
    assert sizes[0] - sizes[1] == 300 * SIZE - 2 * SIZE * 4  # less the range of each dimension


def test_below_the_required_recall_a_larger_graph_is_built_before_it_fails(
    tmp_path, graphs, monkeypatch, capsys
):
    real = faiss_layout.RecallSample.recall
    tried = []

    def poor(sample, rows):
        tried.append(real(sample, rows))
        return 0.5 + 0.01 * len(tried)

    monkeypatch.setattr(faiss_layout.RecallSample, "recall", poor)
    with pytest.raises(InputError, match=r"--min-recall 0\.9: a graph finds at most 0\.64"):
        build(tmp_path / "index", min_recall=0.9)
    assert len(tried) == len(faiss_layout.EF_SEARCH) * len(faiss_layout.LINKS)
    assert not (tmp_path / "index").exists()
    tried.clear()
    build(tmp_path / "index", min_recall=0.575)
    assert read_manifest(tmp_path / "index")["found"]["links"] == 32
    assert "below 0.575, building a larger one" in capsys.readouterr().err


def test_recall_is_measured_against_comparing_with_all():
    vectors = grouped(500)
    sample = faiss_layout.RecallSample(vectors)
    every = np.linalg.norm(vectors - sample.queries[:, None], axis=2)
    nearest = np.argsort(every, axis=1)[:, :10]
    assert sample.recall(nearest) == 1
    half = nearest.copy()
    half[:, ::2] = np.argsort(every, axis=1)[:, 490:495]
    assert sample.recall(half) == 0.5
    assert sample.recall(np.full_like(nearest, -1)) == 0
    # Of equal vectors either counts.
    twice = np.concatenate([vectors, vectors])
    sample = faiss_layout.RecallSample(twice)
    every = np.linalg.norm(twice - sample.queries[:, None], axis=2)
    first = np.argsort(every, axis=1, kind="stable")[:, :10]
    assert sample.recall((first + 500) % 1000) == 1
