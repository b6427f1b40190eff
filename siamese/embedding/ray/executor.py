"""Embedding on many machines: Ray Data streams files to actors, and what became of them back.

The driver alone writes the store. It is the one writer that the store wants, what a run did so far
is known the moment it comes back, and a run may go on with another engine. A vector is a hundredth
of the picture that it was made of, so that this one writer does not hold up a cluster.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from siamese.data.remote_files import file_exists
from siamese.embedding.ray.cluster import (
    Workers,
    connect_cluster,
    one_line,
    require_nodes,
    require_ray,
    say_if_busy,
    workers,
)
from siamese.embedding.ray.tables import entries_of, files_table
from siamese.embedding.ray.worker import MODEL, Job, Tries, Worker
from siamese.errors import InputError

if TYPE_CHECKING:
    import pyarrow

    from siamese.data.remote_files import File
    from siamese.embedding.embedder import Embedder
    from siamese.embedding.store import StoredOutcome

TASK_PICTURES = 512
"""Pictures of a task, at most: seconds of work, which a dead worker costs."""

TASKS = 4
"""Of each worker at least, so that all end at about the same time."""

SAMPLE = 16
"""Files of which every node must see one."""


class RayExecutor:
    """See `siamese.embedding.executor.Executor`.

    >>> embedder = Embedder.load("checkpoints/final_model.hdf5")
    >>> embedder.engine = RayEngine("10.0.0.1:6379")
    >>> embedder.embed_into(EmbeddingStore("embeddings"), catalogue)

    Parameters
    ----------
    address : of the cluster; see `siamese.embedding.ray.cluster.connect_cluster`

    Raises
    ------
    InputError
        Ray is not installed.
    """

    name = "ray"

    def __init__(self, address: str | None = None) -> None:
        require_ray()
        self.address = address
        self.ran = ("", "")

    def entries(
        self,
        embedder: Embedder,
        files: Mapping[str, File],
        filenames: Sequence[str],
        batch_size: int,
    ) -> Generator[list[StoredOutcome]]:
        """Embed files in a cluster, which must see them under the same paths.

        Raises
        ------
        InputError
            No cluster, a node that cannot embed, or pictures that end every worker.
        """
        if not filenames:
            return
        ran: set[tuple[str, str]] = set()
        with connect_cluster(self.address):
            sample = _sample(files, filenames)
            require_nodes(sample)
            runtime, precision = embedder.wanted
            divided = workers(gpu=runtime != "openvino")
            say_if_busy(divided)
            job = Job(
                model=_checkpoint(embedder),
                name=embedder.facts.name,
                fingerprint=embedder.facts.fingerprint,
                runtime=runtime,
                precision=precision,
                batch_size=batch_size,
                cores=divided.cores,
                sample=sample,
            )
            size = _task_size(len(filenames), divided.actors, batch_size)
            tables = [
                files_table(files, filenames[start : start + size])
                for start in range(0, len(filenames), size)
            ]
            with closing(_outcomes(job, tables, divided)) as outcomes:
                for table in outcomes:
                    entries, by = entries_of(table)
                    ran |= by
                    self.ran = _named(ran)
                    yield entries


def _outcomes(
    job: Job, tables: Sequence[pyarrow.Table], divided: Workers
) -> Generator[pyarrow.Table]:
    """Run a job over tables of files, and yield the tables of outcomes as they come."""
    import ray
    import ray.data

    # Both are held here, or they would go from the cluster.
    shared = ray.put(job)
    tries = ray.remote(Tries).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
    most = min(divided.actors, len(tables))
    files = ray.data.from_arrow(list(tables))
    files.context.enable_progress_bars = False
    files.context.print_on_execution_start = False
    files.context.raise_original_map_exception = True
    outcomes = files.map_batches(
        Worker,
        fn_constructor_args=[shared, tries],
        # Fewer when one is lost and there is no room for another, or when little is left to do.
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most, initial_size=most),
        batch_size=max(map(len, tables)),
        batch_format="pyarrow",
        num_cpus=None if divided.gpus else divided.cores,
        num_gpus=divided.gpus or None,
    )
    try:
        yield from outcomes.iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=1
        )
    except ray.exceptions.RayError as error:
        raise InputError(
            f"--engine ray: {one_line(error)} ({type(error).__name__}); what was embedded is kept, "
            "and the same command goes on"
        ) from error


def _checkpoint(embedder: Embedder) -> bytes:
    """The embedder's model as the bytes of a file, whatever it was made from."""
    model = embedder.model
    from siamese.models.checkpoints import save_model

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, MODEL)
        save_model(model, path)
        return path.read_bytes()


def _sample(files: Mapping[str, File], filenames: Sequence[str]) -> list[File]:
    """Some files, from all over the list, that are there."""
    some = filenames[:: max(1, len(filenames) // SAMPLE)]
    return [files[filename] for filename in some if file_exists(files[filename])]


def _task_size(pictures: int, workers: int, batch_size: int) -> int:
    """Whole batches, and work for all."""
    share = -(-pictures // (TASKS * workers))
    return max(batch_size, min(TASK_PICTURES, share) // batch_size * batch_size)


def _named(ran: set[tuple[str, str]]) -> tuple[str, str]:
    """What embedded, and how; several where the nodes differ, as "bfloat16, float32"."""
    runtimes, precisions = ({one[place] for one in ran} for place in (0, 1))
    return ", ".join(sorted(runtimes)), ", ".join(sorted(precisions))
