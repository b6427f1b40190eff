"""Arrow tables that the driver and the workers of a Ray cluster exchange.

The driver sends tables of files, and the workers return tables of outcomes, one row per picture.
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


def files_to_table(files: Mapping[str, File], filenames: Sequence[str]) -> pyarrow.Table:
    """Make a table of the files of some filenames, which may be of any type of path."""
    import pyarrow as pa

    paths = [pickle.dumps(files[filename]) for filename in filenames]
    return pa.table(
        {"filename": pa.array(filenames, pa.string()), "path": pa.array(paths, pa.binary())}
    )


def table_to_files(table: pyarrow.Table) -> dict[str, File]:
    """Return the files of a table that `files_to_table` made."""
    names, paths = (table[name].to_pylist() for name in ("filename", "path"))
    return dict(zip(names, map(pickle.loads, paths), strict=True))


def outcomes_to_table(
    outcomes: Sequence[StoredOutcome], runtime: str, precision: str
) -> pyarrow.Table:
    """Make a table of outcomes and of the runtime and precision that computed them."""
    import pyarrow as pa

    states = [outcome.state or (None, None, None) for outcome in outcomes]
    sizes, times, contents = zip(*states, strict=True) if states else ((), (), ())
    results = [outcome.outcome for outcome in outcomes]
    vectors = [None if isinstance(result, str) else result for result in results]
    errors = [result if isinstance(result, str) else None for result in results]
    return pa.table(
        {
            "filename": pa.array([outcome.filename for outcome in outcomes], pa.string()),
            "size": pa.array(sizes, pa.int64()),
            "modified": pa.array(times, pa.int64()),
            "content": pa.array(contents, pa.binary(16)),
            "vector": pa.array(vectors, pa.list_(pa.float32())),
            "error": pa.array(errors, pa.string()),
            "ran": pa.array([f"{runtime} {precision}"] * len(outcomes), pa.string()),
        }
    )


def error_to_table(reason: str) -> pyarrow.Table:
    """Make a table of outcomes that says why a worker cannot embed.

    Ray would bury an exception in its own messages.
    """
    import pyarrow as pa

    schema = outcomes_to_table([], "", "").schema
    return pa.Table.from_pylist([{**dict.fromkeys(schema.names), "error": reason}], schema)


def table_to_outcomes(table: pyarrow.Table) -> tuple[list[StoredOutcome], set[tuple[str, str]]]:
    """Return the content of a table that `outcomes_to_table` made.

    Parameters
    ----------
    table : pyarrow.Table

    Returns
    -------
    outcomes : list of StoredOutcome
    ran : set of (str, str)
        Every pair of runtime and precision.

    Raises
    ------
    InputError
        If `error_to_table` made the table.
    """
    if table["filename"].null_count:
        raise InputError(table["error"].to_pylist()[0])
    column = table["vector"].combine_chunks()
    count = len(column) - column.null_count
    # Rows of one array, not a list of floats per picture.
    values = column.flatten().to_numpy(zero_copy_only=False)
    vectors = iter(values.reshape(count, -1) if count else np.empty((0, 0), np.float32))

    def make_outcome(
        filename: str, size: int | None, modified: int, content: bytes, error: str | None
    ) -> StoredOutcome:
        state = None if size is None else FileState(size, modified, content)
        result: Outcome = next(vectors) if error is None else error
        return StoredOutcome(filename, state, result)

    names = ("filename", "size", "modified", "content", "error")
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    outcomes = list(starmap(make_outcome, rows))
    ran = set()
    for value in table["ran"].unique().to_pylist():
        runtime, precision = value.split()
        ran.add((runtime, precision))
    return outcomes, ran
