"""Code that runs on the nodes of a Ray cluster: the workers, and the check before them."""

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

MAX_ATTEMPTS = 4  # nodes come and go, but a table that crashes so many workers is at fault itself


@dataclass(frozen=True)
class Job:
    """Settings of a run, which are put into the cluster once for all workers."""

    model: bytes = field(repr=False)  # a checkpoint
    name: str
    fingerprint: str
    runtime: RuntimeName
    precision: PrecisionName
    batch_size: int
    cores: int  # per worker
    sample: Sequence[File]  # existing files, of which every node must see at least one


class Worker:
    """Embeds tables of files, as an actor of Ray Data.

    `job` is a reference to a `Job`, and `attempts` a handle of an `AttemptCounter`. The model is
    loaded with the first table, so that a crash while loading counts as an attempt at that table.
    """

    def __init__(self, job: Any, attempts: Any) -> None:
        self._job = job
        self._attempts = attempts
        self._loaded: tuple[Job, Embedder] | None = None

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        """Embed a table from `files_to_table`; return one from `outcomes_to_table` or an error."""
        if not len(table):  # Ray Data calls with an empty table to learn the schema
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
    """Counts the attempts at each table. It is an actor of its own, because workers crash."""

    def __init__(self) -> None:
        self._attempts: Counter[str] = Counter()

    def add(self, first_filename: str) -> int:
        """Count an attempt at the table that starts with a filename; return the number so far."""
        self._attempts[first_filename] += 1
        return self._attempts[first_filename]


def find_problem(version: str, sample: Sequence[File]) -> str | None:
    """Return why this node cannot embed, or None if it can.

    It needs the driver's version of this package, and must see at least one file of the sample.
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
    """Load the model of a job, and check that it is the driver's."""
    import ray

    address = ray.util.get_node_ip_address()
    if problem := find_problem(__version__, job.sample):  # a node that joined later
        raise InputError(f"node {address}: {problem}")
    limit_cores(job.cores)  # the others belong to the other workers of the node
    from siamese.utils.keras_import import import_keras

    import_keras()
    from siamese.embedding.embedder import Embedder
    from siamese.models.checkpoints import load_model

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.hdf5")
        path.write_bytes(job.model)
        # Without a path, so that the converted model goes to the cache folder of the node.
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
