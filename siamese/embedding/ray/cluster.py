"""Connect to a Ray cluster, or start one on this machine, and check its nodes."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from siamese.data.remote_files import File
from siamese.errors import InputError, UnavailableError
from siamese.utils.keras_import import suppress_stderr
from siamese.utils.text import pluralize
from siamese.version import __version__

CONNECT_SECONDS = 10.0  # time limit for a cluster to accept a connection
NODE_START_SECONDS = 120.0  # time limit for a node to start its first process
BUSY_SECONDS = 5.0  # time for a run that just ended to free its resources
MAX_CORES = 16  # per worker (one Python process); an estimate, not a measured optimum


class WorkerPlan(NamedTuple):
    """Number of workers in a cluster, and the numbers of cores and GPUs per worker."""

    workers: int
    cores: int
    gpus: int


def require_ray() -> None:
    """Raise `InputError` if Ray, or fsspec, which Ray Data requires, is not installed."""
    if find_spec("ray") is None or find_spec("fsspec") is None:
        raise InputError(
            "--executor ray: Ray is not installed; pip install "
            "'keras-image-similarity-training[ray]', here and on every node"
        )


@contextlib.contextmanager
def connect_cluster(address: str | None) -> Iterator[None]:
    """Connect to a cluster, unless already connected, and silence Ray's output.

    `address` is as in `RayExecutor`. What is opened here is closed when the context ends.
    """
    # Set before importing Ray: send no usage reports, and print no messages from its C++ code.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray.data  # configures the loggers that are silenced below

    with contextlib.ExitStack() as cleanup:
        for name in ("ray", "ray.data"):
            logger = logging.getLogger(name)
            cleanup.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL + 1)
        if not ray.is_initialized():
            _initialize_ray(address)
            cleanup.callback(ray.shutdown)
        yield


def plan_workers(use_gpus: bool) -> WorkerPlan:
    """Divide the connected cluster into workers: one per GPU or, without GPUs, per group of cores.

    All workers have the same number of cores, so a lost one can restart on another node. Without
    GPUs, the largest number up to `MAX_CORES` that uses 90 % of all cores is chosen, if any does.
    """
    sizes = [(int(cpus), int(gpus)) for cpus, gpus in map(_resources, _live_nodes())]
    with_gpus = [(cpus, gpus) for cpus, gpus in sizes if cpus and gpus] if use_gpus else []
    if with_gpus:
        cores = max(1, min(MAX_CORES, *(cpus // gpus for cpus, gpus in with_gpus)))
        return WorkerPlan(sum(gpus for _, gpus in with_gpus), cores, 1)
    nodes = [cpus for cpus, _ in sizes if cpus]
    if not nodes:
        raise InputError("the Ray cluster has no CPUs; start one of its nodes with --num-cpus")

    def used_cores(cores: int) -> int:
        return sum(cpus // cores * cores for cpus in nodes)

    choices = sorted({min(cpus, MAX_CORES) for cpus in nodes}, reverse=True)
    enough = min(0.9 * sum(nodes), max(map(used_cores, choices)))
    cores = next(cores for cores in choices if used_cores(cores) >= enough)
    return WorkerPlan(used_cores(cores) // cores, cores, 0)


def require_ready_nodes(sample: Sequence[File]) -> None:
    """Raise `InputError` if any node cannot run this package or finds no file of `sample`."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from siamese.embedding.ray.worker import find_problem

    pending = []
    for node in [node for node in _live_nodes() if any(_resources(node))]:
        on_node = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(find_problem).options(num_cpus=0, scheduling_strategy=on_node)
        pending.append((node["NodeManagerAddress"], task.remote(__version__, list(sample))))
    problems = []
    for address, result in pending:
        try:
            problem = ray.get(result, timeout=NODE_START_SECONDS)
        except ray.exceptions.GetTimeoutError:
            problem = f"did not answer within {NODE_START_SECONDS:.0f} seconds"
        except ray.exceptions.RayError as error:
            problem = (
                f"cannot run this package ({last_line(error)}); install version {__version__} on "
                "every node"
            )
        if problem is not None:
            problems.append(f"node {address}: {problem}")
    if problems:
        raise InputError(problems)


def warn_if_busy(plan: WorkerPlan) -> None:
    """Print a note if the cluster is too busy to start a worker; Ray itself waits silently."""
    import ray

    kind, needed = ("GPU", plan.gpus) if plan.gpus else ("CPU", plan.cores)
    until = time.monotonic() + BUSY_SECONDS
    while ray.available_resources().get(kind, 0) < needed:
        if time.monotonic() > until:
            print(f"waiting for {pluralize(needed, kind)} of the Ray cluster", file=sys.stderr)
            return
        time.sleep(0.2)


def last_line(error: BaseException) -> str:
    """Return the last nonempty line of an error's message; Ray puts a traceback before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


def _live_nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _resources(node: dict[str, Any]) -> tuple[float, float]:
    """Return a node's numbers of CPUs and GPUs."""
    return node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0)


def _initialize_ray(address: str | None) -> None:
    import ray

    if address is not None:
        _require_answer(address)
    problem = None  # raised after the block, so that `suppress_stderr` does not show Ray's output
    handler = signal.getsignal(signal.SIGTERM)  # Ray replaces it
    with suppress_stderr():
        try:
            ray.init(
                address,
                include_dashboard=False,
                logging_level=logging.CRITICAL,
                log_to_driver=False,
            )
        except Exception as error:  # RayError, RuntimeError, ConnectionError or ValueError
            problem = error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)
    if problem is not None:
        where = "--executor ray" if address is None else f"--ray-address {address}"
        raise InputError(f"{where}: {last_line(problem)}") from problem


def _require_answer(address: str) -> None:
    """Raise an error if nothing listens at an address; Ray itself would retry for a minute."""
    if address in ("auto", "local"):
        return
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or port is None:
        raise InputError(
            f"--ray-address {address}: give HOST:PORT, as `ray start --head` prints it"
        )
    try:
        with socket.create_connection((host, port), CONNECT_SECONDS):
            pass
    except OSError as error:
        raise UnavailableError(
            f"--ray-address {address}: no Ray cluster answers there ({error.strerror or error}); "
            "start one, or correct the address"
        ) from None
