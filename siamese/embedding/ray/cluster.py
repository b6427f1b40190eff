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

CONNECT_SECONDS = 10.0  # for a cluster to accept a connection
NODE_START_SECONDS = 120.0  # for a node to start its first process
BUSY_SECONDS = 5.0  # for the resources of a run that just ended to become free
MAX_CORES = 16  # per worker, which is one Python process; chosen, not measured


class WorkerPlan(NamedTuple):
    """Number of workers in a cluster, and of cores and GPUs per worker."""

    workers: int
    cores: int
    gpus: int


def require_ray() -> None:
    """Raise an error if Ray Data, which needs fsspec, is not installed."""
    if find_spec("ray") is None or find_spec("fsspec") is None:
        raise InputError(
            "--executor ray: Ray is not installed; pip install "
            "'keras-image-similarity-training[ray]', here and on every node"
        )


@contextlib.contextmanager
def connect_cluster(address: str | None) -> Iterator[None]:
    """Connect to a cluster without Ray's own output, or use the connection that exists.

    See `RayExecutor` for the address. A cluster that is started here ends with the context.
    """
    # Before Ray is imported: send no usage reports, and print no messages from its C++ parts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray.data  # it configures the loggers that are silenced here

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
    """Divide the connected cluster into workers: one per GPU, or else about one per node.

    All workers have the same size, so that any of them can be restarted on any node: the largest
    size that uses at least nine of ten cores.
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
    """Check that every node can embed and sees a file of the sample, before long work."""
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
    """Print a note if a worker must wait for other programs, because Ray waits silently."""
    import ray

    kind, needed = ("GPU", plan.gpus) if plan.gpus else ("CPU", plan.cores)
    until = time.monotonic() + BUSY_SECONDS
    while ray.available_resources().get(kind, 0) < needed:
        if time.monotonic() > until:
            print(f"waiting for {pluralize(needed, kind)} of the Ray cluster", file=sys.stderr)
            return
        time.sleep(0.2)


def last_line(error: BaseException) -> str:
    """Return the last nonempty line of a message, because Ray's begin with a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


def _live_nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _resources(node: dict[str, Any]) -> tuple[float, float]:
    """Return the numbers of CPUs and GPUs of a node."""
    return node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0)


def _initialize_ray(address: str | None) -> None:
    import ray

    if address is not None:
        _require_answer(address)
    problem = None  # raised after the block, because `suppress_stderr` would show Ray's output
    handler = signal.getsignal(signal.SIGTERM)  # which Ray replaces
    with suppress_stderr():
        try:
            ray.init(
                address,
                include_dashboard=False,
                logging_level=logging.CRITICAL,
                log_to_driver=False,
            )
        except Exception as error:  # Ray's own, RuntimeError, ConnectionError or ValueError
            problem = error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)
    if problem is not None:
        where = "--executor ray" if address is None else f"--ray-address {address}"
        raise InputError(f"{where}: {last_line(problem)}") from problem


def _require_answer(address: str) -> None:
    """Raise an error if nothing listens at an address; Ray would try for a minute."""
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
