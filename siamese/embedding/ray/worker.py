"""Workers that embed files on the nodes of a Ray cluster, and a check of the nodes."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese.data.remote_files import file_exists
from siamese.embedding.executor import LocalExecutor
from siamese.embedding.ray.tables import error_to_table, outcomes_to_table, table_to_files
from siamese.errors import InputError
from siamese.utils.text import pluralize
from siamese.utils.threads import limit_cores
from siamese.version import __version__

if TYPE_CHECKING:
    import pyarrow

    from siamese.data.remote_files import File
    from siamese.embedding.embedder import Embedder
    from siamese.embedding.runtimes.runtime import PrecisionName, RuntimeName

MAX_ATTEMPTS = 4  # nodes may fail, but a table that crashes this many workers is the cause


@dataclass(frozen=True)
class Job:
    """Model and settings of a run, stored once in the cluster for all workers."""

    model: bytes = field(repr=False)  # content of a checkpoint file
    name: str
    fingerprint: str
    runtime: RuntimeName
    precision: PrecisionName
    batch_size: int
    cores: int  # per worker
    sample: Sequence[File]  # existing files; every node must find at least one


class Worker:
    """Ray Data actor that embeds tables of files.

    `job` is a Ray reference to a `Job`, and `attempts` a handle to an `AttemptCounter` actor. The
    model is loaded for the first table, so a crash while loading counts as an attempt.
    """

    def __init__(self, job: Any, attempts: Any) -> None:
        self._job = job
        self._attempts = attempts
        self._loaded: tuple[Job, Embedder] | None = None

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        """Embed a table from `files_to_table`; return a table of outcomes or of an error."""
        if not len(table):  # Ray Data passes an empty table to learn the schema
            return outcomes_to_table([], "", "")
        try:
            return self._embed(table)
        except InputError as error:
            return error_to_table(str(error))

    def _embed(self, table: pyarrow.Table) -> pyarrow.Table:
        import ray

        first = table["filename"][0].as_py()
        if ray.get(self._attempts.add.remote(first)) > MAX_ATTEMPTS:
            raise InputError(
                f"{pluralize(len(table), 'picture')} from {first} on: crashed the worker in each "
                f"of {MAX_ATTEMPTS} attempts, perhaps out of memory; give a smaller --batch-size, "
                "or start Ray with a smaller --num-cpus"
            )
        if self._loaded is None:
            job = ray.get(self._job)
            self._loaded = job, _load_embedder(job)
        job, embedder = self._loaded
        files = table_to_files(table)
        batches = LocalExecutor().embed_files(embedder, files, job.batch_size)
        outcomes = list(chain.from_iterable(batch.outcomes for batch in batches))
        return outcomes_to_table(outcomes, embedder.runtime.name, embedder.runtime.precision)


class AttemptCounter:
    """Actor that counts the attempts at each table, even if the workers crash."""

    def __init__(self) -> None:
        self._attempts: Counter[str] = Counter()

    def add(self, first_filename: str) -> int:
        """Count an attempt at the table whose first file is given; return its attempts so far."""
        self._attempts[first_filename] += 1
        return self._attempts[first_filename]


def find_problem(version: str, sample: Sequence[File]) -> str | None:
    """Return the reason why this node cannot embed, or None if it can.

    A node must have the driver's `version` of this package, and find a file of `sample`, if any.
    """
    if __version__ != version:
        return (
            f"has version {__version__} of this package, not {version}; install the same version "
            "on every node"
        )
    if sample and not any(map(file_exists, sample)):
        return (
            f"sees no pictures: {sample[0]} and others are missing there; mount the same folder at "
            "the same path on every node"
        )
    return None


def _load_embedder(job: Job) -> Embedder:
    """Load a job's model, and check that it has the same fingerprint as on the driver."""
    import ray

    address = ray.util.get_node_ip_address()
    if problem := find_problem(__version__, job.sample):  # the node may have joined late
        raise InputError(f"node {address}: {problem}")
    limit_cores(job.cores)  # the node's other workers use the other cores
    from siamese.utils.keras_import import import_keras

    import_keras()
    from siamese.embedding.embedder import Embedder
    from siamese.models.checkpoints import load_model

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.hdf5")
        path.write_bytes(job.model)
        # No path: the converted model must go to the user's cache, not a temporary folder.
        embedder = Embedder.from_model(
            load_model(path), job.name, runtime=job.runtime, precision=job.precision
        )
    if embedder.facts.fingerprint != job.fingerprint:
        raise InputError(
            f"node {address}: {job.name} is another model there (fingerprint "
            f"{embedder.facts.fingerprint[:12]!r}, not {job.fingerprint[:12]!r}); install the same "
            "versions of this package and of Keras on every node"
        )
    return embedder
