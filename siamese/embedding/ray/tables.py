"""What travels between the driver of a Ray cluster and its workers, as Arrow tables.

Files there, outcomes back, a row a picture: the one is written by the driver and read by a worker,
the other the other way round.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from itertools import starmap
from typing import TYPE_CHECKING

import numpy as np

from siamese.embedding.store_rows import FileState, Outcome, StoredOutcome
from siamese.errors import InputError

if TYPE_CHECKING:
    import pyarrow

    from siamese.data.remote_files import File


def files_table(files: Mapping[str, File], filenames: Sequence[str]) -> pyarrow.Table:
    """The files of some filenames; a path travels as it is, whatever kind of path it is."""
    import pyarrow as pa

    paths = [pickle.dumps(files[filename]) for filename in filenames]
    return pa.table(
        {"filename": pa.array(filenames, pa.string()), "path": pa.array(paths, pa.binary())}
    )


def read_files(table: pyarrow.Table) -> dict[str, File]:
    """What `files_table` was given."""
    names, paths = (table[name].to_pylist() for name in ("filename", "path"))
    return dict(zip(names, map(pickle.loads, paths), strict=True))


def outcomes_table(entries: Sequence[StoredOutcome], runtime: str, precision: str) -> pyarrow.Table:
    """What became of pictures, and what embedded them."""
    import pyarrow as pa

    states = [(None, None, None) if one.state is None else one.state for one in entries]
    sizes, times, contents = zip(*states, strict=True) if states else ((), (), ())
    vectors = [None if isinstance(one.outcome, str) else one.outcome for one in entries]
    errors = [one.outcome if isinstance(one.outcome, str) else None for one in entries]
    return pa.table(
        {
            "filename": pa.array([one.filename for one in entries], pa.string()),
            "size": pa.array(sizes, pa.int64()),
            "modified": pa.array(times, pa.int64()),
            "content": pa.array(contents, pa.binary(16)),
            "vector": pa.array(vectors, pa.list_(pa.float32())),
            "error": pa.array(errors, pa.string()),
            "ran": pa.array([f"{runtime} {precision}"] * len(entries), pa.string()),
        }
    )


def refusal_table(reason: str) -> pyarrow.Table:
    """Why a worker can embed nothing, in the form of outcomes: Ray would bury an exception."""
    import pyarrow as pa

    none = {"filename": None, "size": None, "modified": None, "content": None, "vector": None}
    schema = outcomes_table([], "", "").schema
    return pa.Table.from_pylist([{**none, "error": reason, "ran": None}], schema)


def read_outcomes(table: pyarrow.Table) -> tuple[list[StoredOutcome], set[tuple[str, str]]]:
    """What `outcomes_table` was given: the entries, and every (runtime, precision) among them.

    Raises
    ------
    InputError
        It is a `refusal_table`.
    """
    if table["filename"].null_count:
        raise InputError(table["error"].to_pylist()[0])

    def entry(
        filename: str, size: int | None, modified: int, content: bytes, error: str | None
    ) -> StoredOutcome:
        state = None if size is None else FileState(size, modified, content)
        outcome: Outcome = next(whole) if error is None else error
        return StoredOutcome(filename, state, outcome)

    vectors = table["vector"].combine_chunks()
    count = len(vectors) - vectors.null_count
    # The rows of one array, not a list of floats a picture.
    flat = vectors.flatten().to_numpy(zero_copy_only=False)
    whole = iter(flat.reshape(count, -1) if count else np.empty((0, 0), np.float32))
    columns = ("filename", "size", "modified", "content", "error")
    entries = list(starmap(entry, zip(*(table[one].to_pylist() for one in columns), strict=True)))
    ran = {(one.split()[0], one.split()[1]) for one in table["ran"].unique().to_pylist()}
    return entries, ran
