from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from siamese import __version__
from siamese.embedding.embedder import Embedder
from siamese.embedding.ray.executor import checkpoint_bytes
from siamese.embedding.ray.tables import files_to_table, table_to_outcomes
from siamese.embedding.ray.worker import MAX_ATTEMPTS, AttemptCounter, Job, Worker, find_problem
from siamese.errors import InputError
from siamese.utils.threads import count_cores, limit_cores


def test_a_node_needs_the_same_version_and_one_of_the_pictures(tmp_path):
    (tmp_path / "a.jpg").touch()
    existing, gone = tmp_path / "a.jpg", tmp_path / "gone.jpg"
    assert find_problem(__version__, [gone, existing]) is None
    assert find_problem(__version__, []) is None
    assert "version" in find_problem("0", [existing])
    assert f"{gone} and others are missing" in find_problem(__version__, [gone])


def test_a_process_uses_no_more_cores_than_it_is_given(monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "")  # so that it is restored
    try:
        limit_cores(1)
        assert count_cores() == 1
    finally:
        count_cores.cache_clear()


@pytest.fixture
def attempts(monkeypatch):
    """An attempt counter that is called as an actor, in this process and without Ray."""
    counter = AttemptCounter()
    ray = SimpleNamespace(
        get=lambda reference: reference,
        util=SimpleNamespace(get_node_ip_address=lambda: "10.0.0.2"),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr("siamese.embedding.ray.worker.limit_cores", lambda count: None)
    return SimpleNamespace(add=SimpleNamespace(remote=counter.add))


@pytest.fixture(scope="module")
def embedder(checkpoint):
    return Embedder.load(checkpoint, precision="float32")


@pytest.fixture
def job(embedder):
    return Job(
        model=checkpoint_bytes(embedder),
        name=embedder.facts.name,
        fingerprint=embedder.facts.fingerprint,
        runtime="tensorflow",
        precision="float32",
        batch_size=4,
        cores=1,
        sample=[],
    )


def test_a_worker_embeds_files(embedder, job, attempts, catalogue, tmp_path):
    files = {picture.filename: catalogue.path_of(picture) for picture in catalogue.pictures[:6]}
    files["gone.png"] = tmp_path / "gone.png"
    worker = Worker(job, attempts)
    outcomes, ran = table_to_outcomes(worker(files_to_table(files, list(files))))
    assert ran == {("tensorflow", "float32")}
    found = {outcome.filename: outcome.outcome for outcome in outcomes}
    assert found.pop("gone.png") == "file missing"
    vectors = embedder.embed([files[filename] for filename in found])
    np.testing.assert_allclose(list(found.values()), vectors, atol=1e-5)


def test_a_table_is_not_attempted_for_ever(job, attempts, tmp_path):
    table = files_to_table({"a.png": tmp_path / "a.png"}, ["a.png"])
    for _ in range(MAX_ATTEMPTS):
        attempts.add.remote("a.png")
    with pytest.raises(InputError, match=r"1 picture from a\.png on: crashed the worker in each"):
        table_to_outcomes(Worker(job, attempts)(table))


def test_a_worker_refuses_another_model(job, attempts, tmp_path):
    table = files_to_table({"a.png": tmp_path / "a.png"}, ["a.png"])
    other = Job(**{**vars(job), "fingerprint": "e" * 64})
    with pytest.raises(InputError, match=r"node 10\.0\.0\.2: .* is another model there"):
        table_to_outcomes(Worker(other, attempts)(table))
