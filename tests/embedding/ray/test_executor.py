"""What needs no Ray: the flags, what travels, how a cluster is divided, the seam."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import siamese.embedding.ray.cluster as cluster
from siamese import __version__
from siamese.cli.main import main
from siamese.embedding.ray.cluster import Workers, one_line, require_ray, workers
from siamese.embedding.ray.executor import _task_size
from siamese.embedding.ray.tables import (
    files_table,
    outcomes_table,
    read_files,
    read_outcomes,
    refusal_table,
)
from siamese.embedding.ray.worker import look
from siamese.embedding.store_rows import FileState, StoredOutcome
from siamese.errors import InputError
from siamese.utils.threads import count_cores, limit_cores


@pytest.fixture
def no_ray(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(cluster, "find_spec", lambda name: None if name == "ray" else found(name))


def run(monkeypatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["siamese", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("embed", "--executor"),
        ("index", "--executor"),
        ("evaluate", "--executor"),
        ("report", "--executor"),
        ("embed", "--engine"),  # the former name
    ],
)
def test_a_missing_ray_is_reported_at_once(no_ray, monkeypatch, capsys, command, flag):
    assert run(monkeypatch, command, "--labeled-data", "gone.json", flag, "ray") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Ray is not installed; pip install 'keras-image-similarity-training[ray]'" in line


def test_help_shows_the_new_name_of_the_flag_only(monkeypatch, capsys):
    assert run(monkeypatch, "embed", "--help") == 0
    text = capsys.readouterr().out
    assert "--executor [local|ray]" in text and "--engine" not in text


def test_an_address_without_the_executor_is_refused(monkeypatch, capsys):
    words = ["embed", "--ray-address", "10.0.0.1:6379", "--labeled-data", "gone.json"]
    assert run(monkeypatch, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: --ray-address: needs --executor ray; give that too"


def test_the_extra_is_more_than_ray_alone(monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None if name == "fsspec" else object())
    with pytest.raises(InputError, match="pip install"):
        require_ray()


@pytest.mark.parametrize("address", ["10.0.0.1", "host:port", ":6379", "http://"])
def test_what_is_no_address(address):
    with pytest.raises(InputError, match="give HOST:PORT"):
        cluster._require_answer(address)


def test_where_nothing_answers():
    with pytest.raises(InputError, match=r"127\.0\.0\.1:1: no Ray cluster answers there"):
        cluster._require_answer("127.0.0.1:1")


# --- what travels


def test_files_travel_whatever_kind_of_path_they_are():
    files = {"a.jpg": Path("/photos/a.jpg"), "ü/b.jpg": Path("/photos/ü/b.jpg")}
    assert read_files(files_table({**files, "c": Path("c")}, list(files))) == files


def test_outcomes_travel_as_they_are():
    state = FileState(7, 1_700_000_000_123_456_789, bytes(range(16)))
    vectors = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    entries = [
        StoredOutcome("a.jpg", state, vectors[0]),
        StoredOutcome("gone.jpg", None, "file missing"),
        StoredOutcome("text.jpg", state, "not a picture"),
        StoredOutcome("b.jpg", state, vectors[1]),
    ]
    got, ran = read_outcomes(outcomes_table(entries, "openvino", "bfloat16"))
    assert ran == {("openvino", "bfloat16")}
    assert [one[:2] for one in got] == [one[:2] for one in entries]
    assert [one.outcome for one in got[1:3]] == ["file missing", "not a picture"]
    for row, one in ((0, got[0]), (1, got[3])):
        assert one.outcome.dtype == np.float32 and one.outcome.tobytes() == vectors[row].tobytes()
    broken, _ = read_outcomes(outcomes_table(entries[1:3], "openvino", "float32"))
    assert broken == entries[1:3]
    assert read_outcomes(outcomes_table([], "", "")) == ([], set())


def test_a_refusal_travels_as_an_error():
    with pytest.raises(InputError, match="another model"):
        read_outcomes(refusal_table("another model"))
    assert refusal_table("no").schema == outcomes_table([], "", "").schema


# --- how a cluster is divided


@pytest.mark.parametrize(
    ("nodes", "gpu", "divided"),
    [
        ([(2, 0)], True, Workers(1, 2, 0)),
        ([(8, 0), (8, 0), (0, 0)], True, Workers(2, 8, 0)),
        ([(64, 0)], True, Workers(4, 16, 0)),
        ([(8, 0), (4, 0)], True, Workers(3, 4, 0)),
        ([(1, 0), (16, 0), (16, 0)], True, Workers(2, 16, 0)),
        ([(3, 0), (2, 0)], True, Workers(2, 2, 0)),
        ([(16, 4), (8, 1), (32, 0)], True, Workers(5, 4, 1)),
        ([(16, 4), (8, 1)], False, Workers(3, 8, 0)),
        ([(2, 4)], True, Workers(4, 1, 1)),
    ],
    ids=str,
)
def test_how_a_cluster_is_divided(nodes, gpu, divided, monkeypatch):
    resources = [{"Resources": {"CPU": cpus, "GPU": gpus}} for cpus, gpus in nodes]
    monkeypatch.setattr(cluster, "_nodes", lambda: resources)
    assert workers(gpu) == divided


def test_a_cluster_without_processors(monkeypatch):
    monkeypatch.setattr(cluster, "_nodes", lambda: [{"Resources": {}}])
    with pytest.raises(InputError, match="no CPUs"):
        workers(True)


def test_tasks_are_whole_batches_and_enough_for_all():
    assert _task_size(1_000_000, 8, 32) == 512
    assert _task_size(300, 2, 32) == 32
    assert _task_size(3000, 4, 32) == 160
    assert _task_size(10, 4, 32) == 32
    assert _task_size(1_000_000, 8, 1000) == 1000


def test_what_keeps_a_node_from_embedding(tmp_path):
    (tmp_path / "a.jpg").touch()
    there, gone = tmp_path / "a.jpg", tmp_path / "gone.jpg"
    assert look(__version__, [gone, there]) is None
    assert look(__version__, []) is None
    assert "version" in look("0", [there])
    assert f"{gone} is not there" in look(__version__, [gone])


def test_of_a_traceback_the_last_line():
    assert one_line(RuntimeError("Traceback:\n  File x\nValueError: no\n\n")) == "ValueError: no"
    assert one_line(RuntimeError()) == "RuntimeError"


def test_a_process_keeps_no_more_cores_busy_than_it_is_given(monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "")  # so that it is put back
    try:
        limit_cores(1)
        assert count_cores() == 1
    finally:
        count_cores.cache_clear()
