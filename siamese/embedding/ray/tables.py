"""Arrow tables that the driver and the workers exchange, with one row per picture.

The driver sends tables of files, and the workers return tables of outcomes.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from siamese.embedding.store_rows import FileState, StoredOutcome, batch_outcomes, outcomes_to_batch
from siamese.errors import InputError

if TYPE_CHECKING:
    import pyarrow

    from siamese.data.remote_files import File


def files_to_table(files: Mapping[str, File], filenames: Sequence[str]) -> pyarrow.Table:
    """Make a table with the name and pickled `File` of each given filename."""
    import pyarrow as pa

    paths = [pickle.dumps(files[filename]) for filename in filenames]
    return pa.table(
        {"filename": pa.array(filenames, pa.string()), "path": pa.array(paths, pa.binary())}
    )


def table_to_files(table: pyarrow.Table) -> dict[str, File]:
    """Convert a table from `files_to_table` to a mapping from filename to `File`."""
    names, paths = (table[name].to_pylist() for name in ("filename", "path"))
    return dict(zip(names, map(pickle.loads, paths), strict=True))


def outcomes_to_table(
    outcomes: Sequence[StoredOutcome], runtime: str, precision: str
) -> pyarrow.Table:
    """Make a table of outcomes, with the runtime and precision used to compute them."""
    import pyarrow as pa

    table = pa.Table.from_batches([outcomes_to_batch(outcomes)])
    ran = pa.array([f"{runtime} {precision}"] * len(outcomes), pa.string())
    return table.append_column("ran", ran)


def error_to_table(reason: str) -> pyarrow.Table:
    """Make a table with a worker's error message; Ray would wrap an exception in one of its own."""
    import pyarrow as pa

    return pa.Table.from_pylist([{"error": reason}], outcomes_to_table([], "", "").schema)


def table_to_outcomes(table: pyarrow.Table) -> tuple[list[StoredOutcome], set[tuple[str, str]]]:
    """Return the outcomes in a table, and the (runtime, precision) pairs used to compute them.

    Raises `InputError` if the table is from `error_to_table`.
    """
    if table["filename"].null_count:
        raise InputError(table["error"][0].as_py())
    outcomes: list[StoredOutcome] = []
    for batch in table.to_batches():
        filenames, *states = (batch[name].to_pylist() for name in ("filename", *FileState._fields))
        for filename, *state, outcome in zip(
            filenames, *states, batch_outcomes(batch), strict=True
        ):
            stored = None if None in state else FileState(*state)
            outcomes.append(StoredOutcome(filename, stored, outcome))
    pairs = (value.split() for value in table["ran"].unique().to_pylist())
    return outcomes, {(runtime, precision) for runtime, precision in pairs}
