"""The flags and the size of tasks, without Ray."""

from __future__ import annotations

import importlib.util

import pytest

import siamese.embedding.ray.cluster as cluster
from siamese.cli.main import main
from siamese.embedding.ray.executor import task_size


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


def test_tasks_are_whole_batches_and_enough_for_all():
    assert task_size(1_000_000, 8, 32) == 512
    assert task_size(300, 2, 32) == 32
    assert task_size(3000, 4, 32) == 160
    assert task_size(10, 4, 32) == 32
    assert task_size(1_000_000, 8, 1000) == 1000
