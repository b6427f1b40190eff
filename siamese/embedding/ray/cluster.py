"""Reaching a Ray cluster, or starting one on this machine, and leaving it as it was found."""

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

CONNECT_SECONDS = 10.0
"""How long a cluster may take to answer at all."""

LOOK_SECONDS = 120.0
"""How long a node may take to start a first process."""

BUSY_SECONDS = 5.0
"""How long what another run held a moment ago may take to become free."""

MAX_CORES = 16
"""Of one worker: a Python process of its own for each so many. Taken, not measured."""


class Workers(NamedTuple):
    """How a cluster is divided: so many actors, each of so many processors and GPUs."""

    actors: int
    cores: int
    gpus: int


def require_ray() -> None:
    """Refuse in one line where Ray Data is not installed."""
    if find_spec("ray") is None or find_spec("fsspec") is None:  # Ray Data's, not Ray's
        raise InputError(
            "--executor ray: Ray is not installed; pip install "
            "'keras-image-similarity-training[ray]', here and on every node"
        )


@contextlib.contextmanager
def connect_cluster(address: str | None) -> Iterator[None]:
    """Connect to a cluster, quietly; a program that is connected already stays so.

    Parameters
    ----------
    address : ``host:6379``, or ``ray://host:10001`` from outside; None for the cluster that
        RAY_ADDRESS names or this machine is part of, or else for one on this machine that ends
        with the block

    Raises
    ------
    InputError
        One line: nothing answers there, or it is of another version.
    """
    # Before Ray is imported: no report of its use to a server, no advice of its C++ parts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray.data  # which sets its loggers up

    with _quiet_loggers("ray", "ray.data"):
        if ray.is_initialized():
            yield
            return
        if address is not None:
            _require_answer(address)
        problem = None
        with suppress_stderr(), _own_signals():  # Ray sets a handler of its own
            try:
                ray.init(
                    address,
                    include_dashboard=False,
                    logging_level=logging.CRITICAL,
                    log_to_driver=False,
                )
            except Exception as error:  # its own, RuntimeError, ConnectionError, ValueError
                problem = error
        if problem is not None:
            where = "--executor ray" if address is None else f"--ray-address {address}"
            raise InputError(f"{where}: {one_line(problem)}") from problem
        try:
            yield
        finally:
            ray.shutdown()


def workers(gpu: bool) -> Workers:
    """Divide the cluster: a worker a GPU where there are any, or else a worker about a node.

    Workers are all of one size, so that any of them can be started again on any node. That is the
    largest with which nine of ten processors have work.

    Parameters
    ----------
    gpu : whether a GPU is of use

    Raises
    ------
    InputError
        The cluster has no processors to give.
    """
    sizes = [(int(cpus), int(gpus)) for cpus, gpus in map(_resources, _nodes())]
    with_gpu = [(cpus, gpus) for cpus, gpus in sizes if cpus and gpus] if gpu else []
    if with_gpu:
        cores = max(1, min(MAX_CORES, *(cpus // gpus for cpus, gpus in with_gpu)))
        return Workers(sum(gpus for _, gpus in with_gpu), cores, 1)
    nodes = [cpus for cpus, _ in sizes if cpus]
    if not nodes:
        raise InputError("the Ray cluster has no CPUs; start a node of it with some (--num-cpus)")

    def used(cores: int) -> int:
        return sum(cpus // cores * cores for cpus in nodes)

    choices = sorted({min(cpus, MAX_CORES) for cpus in nodes}, reverse=True)
    enough = min(0.9 * sum(nodes), max(map(used, choices)))
    cores = next(cores for cores in choices if used(cores) >= enough)
    return Workers(used(cores) // cores, cores, 0)


def require_nodes(sample: Sequence[File]) -> None:
    """Look around on every node before long work.

    Parameters
    ----------
    sample : files that are there; each node must see one

    Raises
    ------
    InputError
        A line a node that cannot embed.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from siamese.embedding.ray.worker import look

    asked = []
    for node in [node for node in _nodes() if any(_resources(node))]:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(look).options(num_cpus=0, scheduling_strategy=there)
        asked.append((node["NodeManagerAddress"], task.remote(__version__, list(sample))))
    problems = []
    for node, answer in asked:
        try:
            problem = ray.get(answer, timeout=LOOK_SECONDS)
        except ray.exceptions.GetTimeoutError:
            problem = f"has not answered in {LOOK_SECONDS:.0f} seconds"
        except ray.exceptions.RayError as error:
            problem = (
                f"cannot run this package ({one_line(error)}); install version {__version__} on "
                "every node"
            )
        if problem is not None:
            problems.append(f"node {node}: {problem}")
    if problems:
        raise InputError(problems)


def say_if_busy(divided: Workers) -> None:
    """Say on standard error where others have all that a worker needs: it then waits, unheard."""
    import ray

    kind, needed = ("GPU", divided.gpus) if divided.gpus else ("CPU", divided.cores)
    until = time.monotonic() + BUSY_SECONDS
    while ray.available_resources().get(kind, 0) < needed:
        if time.monotonic() > until:
            print(f"waiting for {pluralize(needed, kind)} of the Ray cluster", file=sys.stderr)
            return
        time.sleep(0.2)


def one_line(error: BaseException) -> str:
    """The last line that says something: Ray puts a traceback before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


def _nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _resources(node: dict[str, Any]) -> tuple[float, float]:
    return node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0)


def _require_answer(address: str) -> None:
    """Ray itself would try for a minute, and say it in many lines."""
    if address in ("auto", "local"):
        return
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or port is None:
        raise InputError(f"--ray-address {address}: give HOST:PORT, as ray start --head says it")
    try:
        with socket.create_connection((host, port), CONNECT_SECONDS):
            pass
    except OSError as error:
        raise UnavailableError(
            f"--ray-address {address}: no Ray cluster answers there ({error.strerror or error}); "
            "start it, or correct the address"
        ) from None


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what is to happen at SIGTERM as it was."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def _quiet_loggers(*names: str) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
