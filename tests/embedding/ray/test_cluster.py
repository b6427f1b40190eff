from __future__ import annotations

import pytest

import siamese.embedding.ray.cluster as cluster
from siamese.embedding.ray.cluster import WorkerPlan, last_line, plan_workers, require_ray
from siamese.errors import InputError


def test_ray_without_ray_data_is_not_enough(monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None if name == "fsspec" else object())
    with pytest.raises(InputError, match="pip install"):
        require_ray()


@pytest.mark.parametrize("address", ["10.0.0.1", "host:port", ":6379", "http://"])
def test_an_invalid_address_is_refused(address):
    with pytest.raises(InputError, match="give HOST:PORT"):
        cluster._require_answer(address)


def test_an_address_where_nothing_answers_is_refused():
    with pytest.raises(InputError, match=r"127\.0\.0\.1:1: no Ray cluster answers there"):
        cluster._require_answer("127.0.0.1:1")


@pytest.mark.parametrize(
    ("nodes", "use_gpus", "plan"),
    [
        ([(2, 0)], True, WorkerPlan(1, 2, 0)),
        ([(8, 0), (8, 0), (0, 0)], True, WorkerPlan(2, 8, 0)),
        ([(64, 0)], True, WorkerPlan(4, 16, 0)),
        ([(8, 0), (4, 0)], True, WorkerPlan(3, 4, 0)),
        ([(1, 0), (16, 0), (16, 0)], True, WorkerPlan(2, 16, 0)),
        ([(3, 0), (2, 0)], True, WorkerPlan(2, 2, 0)),
        ([(16, 4), (8, 1), (32, 0)], True, WorkerPlan(5, 4, 1)),
        ([(16, 4), (8, 1)], False, WorkerPlan(3, 8, 0)),
        ([(2, 4)], True, WorkerPlan(4, 1, 1)),
    ],
    ids=str,
)
def test_a_cluster_is_divided_into_workers_of_one_size(nodes, use_gpus, plan, monkeypatch):
    resources = [{"Resources": {"CPU": cpus, "GPU": gpus}} for cpus, gpus in nodes]
    monkeypatch.setattr(cluster, "_live_nodes", lambda: resources)
    assert plan_workers(use_gpus) == plan


def test_a_cluster_without_cpus_is_refused(monkeypatch):
    monkeypatch.setattr(cluster, "_live_nodes", lambda: [{"Resources": {}}])
    with pytest.raises(InputError, match="no CPUs"):
        plan_workers(True)


def test_the_last_line_of_a_traceback_is_the_message():
    assert last_line(RuntimeError("Traceback:\n  File x\nValueError: no\n\n")) == "ValueError: no"
    assert last_line(RuntimeError()) == "RuntimeError"
