"""Embed on many machines: Ray Data streams file paths to workers, and vectors back.

Only the driver writes to the store, as in a local run, so any executor can continue an interrupted
run. A vector takes about 1 % of its picture's space, so one writer does not slow down the cluster.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from siamese.data.remote_files import file_exists
from siamese.embedding.executor import EmbeddedBatch
from siamese.embedding.ray import cluster
from siamese.embedding.ray.tables import files_to_table, table_to_outcomes
from siamese.embedding.ray.worker import AttemptCounter, Job, Worker
from siamese.errors import InputError

if TYPE_CHECKING:
    import pyarrow

    from siamese.data.remote_files import File
    from siamese.embedding.embedder import Embedder

MAX_TASK_PICTURES = 512  # a few seconds of work, lost if a worker dies
MIN_TASKS_PER_WORKER = 4  # so that all workers finish at about the same time
SAMPLE_SIZE = 16  # approximate number of files of which every node must find at least one


class RayExecutor:
    """Executor that embeds files on a Ray cluster.

    Parameters
    ----------
    address : str, optional
        ``host:6379``, or ``ray://host:10001`` from outside the cluster. The default is the
        cluster in RAY_ADDRESS, else the one this machine belongs to, else a new one started here.

    Raises
    ------
    InputError
        If Ray or fsspec is not installed.

    Examples
    --------
    >>> from siamese.embedding.embed_catalogue import embed_into_store
    >>> executor = RayExecutor("10.0.0.1:6379")  # doctest: +SKIP
    >>> embed_into_store(embedder, store, catalogue, executor=executor)  # doctest: +SKIP
    """

    name = "ray"

    def __init__(self, address: str | None = None) -> None:
        cluster.require_ray()
        self.address = address

    def embed_files(
        self, embedder: Embedder, files: Mapping[str, File], batch_size: int
    ) -> Generator[EmbeddedBatch]:
        """Embed files, which must have the same paths on every node; see `Executor.embed_files`."""
        filenames = list(files)
        if not filenames:
            return
        with cluster.connect_cluster(self.address):
            spread = filenames[:: max(1, len(filenames) // SAMPLE_SIZE)]
            sample = [files[filename] for filename in spread if file_exists(files[filename])]
            cluster.require_ready_nodes(sample)
            plan = cluster.plan_workers(use_gpus=embedder.requested_runtime != "openvino")
            cluster.warn_if_busy(plan)
            job = Job(
                model=checkpoint_bytes(embedder),
                name=embedder.facts.name,
                fingerprint=embedder.facts.fingerprint,
                runtime=embedder.requested_runtime,
                precision=embedder.requested_precision,
                batch_size=batch_size,
                cores=plan.cores,
                sample=sample,
            )
            size = task_size(len(filenames), plan.workers, batch_size)
            tables = [
                files_to_table(files, filenames[start : start + size])
                for start in range(0, len(filenames), size)
            ]
            with closing(_run(job, tables, plan)) as outcomes:
                for table in outcomes:
                    yield EmbeddedBatch(*table_to_outcomes(table))


def _run(
    job: Job, tables: Sequence[pyarrow.Table], plan: cluster.WorkerPlan
) -> Generator[pyarrow.Table]:
    """Embed tables of files on the cluster, yielding tables of outcomes as they are ready."""
    import ray
    import ray.data

    # Ray frees the job and the counter once this function's references to them are gone.
    job_reference = ray.put(job)
    counter = ray.remote(AttemptCounter)
    attempts = counter.options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
    workers = min(plan.workers, len(tables))
    files = ray.data.from_arrow(list(tables))
    files.context.enable_progress_bars = False
    files.context.print_on_execution_start = False
    files.context.raise_original_map_exception = True
    outcomes = files.map_batches(
        Worker,
        fn_constructor_args=[job_reference, attempts],
        # Allow fewer workers if one is lost and not replaced, or if little work is left.
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers),
        batch_size=max(map(len, tables)),
        batch_format="pyarrow",
        num_cpus=None if plan.gpus else plan.cores,
        num_gpus=plan.gpus or None,
    )
    try:
        yield from outcomes.iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=1
        )
    except ray.exceptions.RayError as error:
        reason = f"{cluster.last_line(error)} ({type(error).__name__})"
        remedy = "the vectors so far are stored: run the same command to continue"
        raise InputError(f"--executor ray: {reason}; {remedy}") from error


def checkpoint_bytes(embedder: Embedder) -> bytes:
    """Serialise the embedder's model as the content of a checkpoint file."""
    model = embedder.model
    from siamese.models.checkpoints import save_model

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.hdf5")
        save_model(model, path)
        return path.read_bytes()


def task_size(pictures: int, workers: int, batch_size: int) -> int:
    """Choose a number of pictures per task: a multiple of `batch_size` that keeps workers busy."""
    share = -(-pictures // (MIN_TASKS_PER_WORKER * workers))
    return max(batch_size, min(MAX_TASK_PICTURES, share) // batch_size * batch_size)
