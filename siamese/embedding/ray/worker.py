"""What runs on the nodes of a Ray cluster: a model in an actor, and a look around beforehand."""

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
from siamese.embedding.ray.tables import outcomes_table, read_files, refusal_table
from siamese.errors import InputError
from siamese.utils.text import pluralize
from siamese.utils.threads import limit_cores
from siamese.version import __version__

if TYPE_CHECKING:
    import pyarrow

    from siamese.data.remote_files import File
    from siamese.embedding.embedder import Embedder
    from siamese.embedding.runtimes.runtime import PrecisionName, RuntimeName

MODEL = "model.hdf5"

MAX_TRIES = 4
"""So often the same pictures are begun. Nodes come and go; what ends a worker every time is bad."""


@dataclass(frozen=True)
class Job:
    """What every worker needs; put into the cluster once, and fetched once by each node.

    Attributes
    ----------
    model : the bytes of a checkpoint
    name, fingerprint : what it must turn out to be
    runtime, precision : what is to run it, and how; see `siamese.embedding.runtimes.choose.open_runtime`
    batch_size : pictures at once
    cores : that a worker may keep busy
    sample : files of which a node must see one
    """

    model: bytes = field(repr=False)
    name: str
    fingerprint: str
    runtime: RuntimeName
    precision: PrecisionName
    batch_size: int
    cores: int
    sample: Sequence[File]


class Worker:
    """Embeds the pictures of one table after the other; Ray Data makes actors of it.

    Nothing is done before the first table, so that whatever goes wrong, also with the model, counts
    as a try of those pictures.

    Parameters
    ----------
    job : Ray's reference to a `Job`
    tries : the actor of a `Tries`
    """

    def __init__(self, job: Any, tries: Any) -> None:
        self._job = job
        self._tries = tries
        self._ready: tuple[Job, Embedder] | None = None

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        """Turn `siamese.embedding.ray.tables.files_table` into `outcomes_table` or `refusal_table`."""
        if not len(table):  # Ray Data asks with none for what comes of none
            return outcomes_table([], "", "")
        try:
            return self._outcomes(table)
        except InputError as error:
            return refusal_table(str(error))

    def _outcomes(self, table: pyarrow.Table) -> pyarrow.Table:
        import ray

        first = table["filename"][0].as_py()
        if ray.get(self._tries.begin.remote(first)) > MAX_TRIES:
            raise InputError(
                f"{pluralize(len(table), 'picture')} from {first} on: ended the worker each of the "
                f"{MAX_TRIES} times they were begun; is it out of memory? Give a smaller "
                "--batch-size, or start Ray with fewer --num-cpus"
            )
        if self._ready is None:
            job = ray.get(self._job)
            self._ready = job, _embedder(job)
        job, embedder = self._ready
        files = read_files(table)
        batches = LocalExecutor().embed_files(embedder, files, job.batch_size)
        outcomes = list(chain.from_iterable(batch.outcomes for batch in batches))
        return outcomes_table(outcomes, embedder.runtime.name, embedder.runtime.precision)


class Tries:
    """How often each table was begun, by its first filename. An actor of its own: workers die."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, first: str) -> int:
        """Count one more."""
        self._begun[first] += 1
        return self._begun[first]


def look(version: str, sample: Sequence[File]) -> str | None:
    """Say what keeps this node from embedding; None where nothing does."""
    if __version__ != version:
        return (
            f"has version {__version__} of this package, not {version}; install the same "
            "on every node"
        )
    if sample and not any(map(file_exists, sample)):
        return (
            f"sees no pictures: {sample[0]} is not there, nor are others; mount the same folder at "
            "the same path on every node"
        )
    return None


def _embedder(job: Job) -> Embedder:
    """The model of a job, made ready.

    Raises
    ------
    InputError
        It is another one here, or this node does not see the pictures.
    """
    if problem := look(__version__, job.sample):  # a node that came later
        raise InputError(f"node {this_node()}: {problem}")
    limit_cores(job.cores)  # and leave the others to the other workers of the node
    from siamese.utils.keras_import import import_keras

    import_keras()
    from siamese.embedding.embedder import Embedder
    from siamese.models.checkpoints import load_model

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, MODEL)
        path.write_bytes(job.model)
        # Without a path: what OpenVINO makes of it is kept in the node's cache folder.
        embedder = Embedder.from_model(
            load_model(path), job.name, runtime=job.runtime, precision=job.precision
        )
    if embedder.facts.fingerprint != job.fingerprint:
        raise InputError(
            f"node {this_node()}: {job.name} is another model there (fingerprint "
            f"{embedder.facts.fingerprint[:12]!r}, not {job.fingerprint[:12]!r}); install the same "
            "versions of this package and of Keras on every node"
        )
    return embedder


def this_node() -> str:
    """The address of the node that this runs on."""
    import ray

    return str(ray.util.get_node_ip_address())
