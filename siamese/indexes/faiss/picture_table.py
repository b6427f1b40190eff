"""The pictures of an index: an Arrow file that is mapped into memory and never parsed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamese.indexes.index import CONTENT_BYTES, IndexedPicture, Metadata
from siamese.indexes.label_filter import LabelTable

if TYPE_CHECKING:
    import pyarrow as pa

NO_CONTENT = bytes(CONTENT_BYTES)
"""Stands for an unknown hash."""


class PictureTable:
    """Item, filename, labels and content of each row; a removed picture keeps its row.

    Parameters
    ----------
    table : pyarrow.Table
        See `table_schema`.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._item, self._filename, self._labels, self._content, self._here = (
            _combine_chunks(column) for column in table.columns
        )

    @classmethod
    def from_metadata(
        cls, metadata: Sequence[Metadata], contents: Sequence[bytes] | None
    ) -> PictureTable:
        """Create a table with one row per picture."""
        import pyarrow as pa

        contents = [NO_CONTENT] * len(metadata) if contents is None else contents
        columns = [
            pa.array([picture["item_id"] for picture in metadata], pa.string()).dictionary_encode(),
            [picture["filename"] for picture in metadata],
            _encode_labels(picture["labels"] for picture in metadata),
            contents,
            np.ones(len(metadata), np.bool_),
        ]
        return cls(pa.table(columns, schema=table_schema()))

    @classmethod
    def open(cls, path: Path) -> PictureTable:
        """Map a file into memory.

        Raises
        ------
        ValueError
            If it is not such a table, or is inconsistent.
        """
        import pyarrow as pa

        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            if not table.schema.equals(table_schema()):
                raise ValueError("its columns are not those of an index")
            table.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # an error of the system, not of the contents
            raise ValueError(str(error).splitlines()[0]) from None
        if any(column.null_count for column in table.columns):
            raise ValueError("a column of its pictures has a missing value")
        pictures = cls(table)
        for names in (pictures._item.dictionary, pictures._labels.values.dictionary):
            if names.null_count:
                raise ValueError("an item or a label of its pictures has no name")
        return pictures

    def write(self, path: Path) -> None:
        """Write the table to an Arrow file."""
        import pyarrow as pa

        with path.open("wb") as file, pa.ipc.new_file(file, table_schema()) as writer:
            writer.write_table(self.table.combine_chunks())

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def is_present(self) -> NDArray[np.bool_]:
        """Whether the picture of each row has not been removed, a bool array of shape (n,)."""
        bits = np.frombuffer(self._here.buffers()[1] or b"", np.uint8)
        first, count = self._here.offset, len(self._here)
        return np.unpackbits(bits, bitorder="little")[first : first + count].view(np.bool_)

    @cached_property
    def labels(self) -> LabelTable:
        """The labels of all rows."""
        return LabelTable(
            self._labels.values.dictionary.to_pylist(),
            _to_numpy(self._labels.flatten().indices),
            np.diff(_to_numpy(self._labels.offsets)),
        )

    def metadata_of(self, rows: ArrayLike) -> list[Metadata]:
        """Return the metadata of some rows."""
        item, filename, labels = self._item, self._filename, self._labels
        return [
            {
                "item_id": item[row].as_py(),
                "filename": filename[row].as_py(),
                "labels": labels[row].as_py(),
            }
            for row in np.asarray(rows, np.intp).tolist()
        ]

    def find(self, item_id: str | None, filename: str | None) -> NDArray[np.intp]:
        """Return the present rows of an item, of a file, or of both."""
        import pyarrow.compute as pc

        mask = self.is_present
        if item_id is not None:
            mask = mask & (self._item_numbers == self._number_of_item.get(item_id, -1))
        if filename is not None and not _is_utf8(filename):
            return np.empty(0, np.intp)
        if filename is not None:
            mask = mask & pc.equal(self._filename, filename).to_numpy(zero_copy_only=False)
        return np.flatnonzero(mask)

    def item_sizes(self, item_ids: Sequence[str]) -> NDArray[np.intp]:
        """Count the present pictures of some items."""
        numbers = [self._number_of_item.get(item_id, -1) for item_id in item_ids]
        return self._sizes[numbers]

    def entries(self) -> Iterator[IndexedPicture]:
        """Iterate over the present pictures."""
        row = 0
        for batch in self.table.to_batches(max_chunksize=2**14):
            columns = (batch.column(number).to_pylist() for number in range(5))
            for item_id, filename, labels, content, is_present in zip(*columns, strict=True):
                if is_present:
                    metadata = Metadata(item_id=item_id, filename=filename, labels=labels)
                    yield IndexedPicture(row, metadata, None if content == NO_CONTENT else content)
                row += 1

    def label_counts(self) -> dict[str, int]:
        """Count the labels of the present pictures; see `Index.label_counts`."""
        return self.labels.counts(self.is_present)

    def append(
        self, metadata: Sequence[Metadata], contents: Sequence[bytes] | None
    ) -> PictureTable:
        """Return a table with further rows."""
        import pyarrow as pa

        added = PictureTable.from_metadata(metadata, contents).table
        joined = pa.concat_tables([self.table, added]).unify_dictionaries()
        return PictureTable(joined.combine_chunks())

    def remove(self, rows: ArrayLike) -> PictureTable:
        """Return a table in which some rows are no longer present."""
        import pyarrow as pa

        is_present = self.is_present.copy()
        is_present[np.asarray(rows, np.intp)] = False
        number = self.table.schema.get_field_index("here")
        return PictureTable(self.table.set_column(number, "here", pa.array(is_present)))

    def take(self, rows: NDArray[np.intp]) -> PictureTable:
        """Return a table of some rows, in their order."""
        return PictureTable(self.table.take(rows).combine_chunks())

    @cached_property
    def _number_of_item(self) -> dict[str, int]:
        names = self._item.dictionary.to_pylist()
        return {name: number for number, name in enumerate(names)}

    @cached_property
    def _item_numbers(self) -> NDArray[np.int32]:
        return _to_numpy(self._item.indices)

    @cached_property
    def _sizes(self) -> NDArray[np.intp]:
        """Number of pictures per item; the last one, 0, is of unknown items."""
        return np.bincount(
            self._item_numbers[self.is_present], minlength=len(self._number_of_item) + 1
        )


def table_schema() -> pa.Schema:
    """Return the columns of the file; ``here`` is False for a removed picture."""
    import pyarrow as pa

    name = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            ("item_id", name),
            ("filename", pa.string()),
            ("labels", pa.list_(name)),
            ("content", pa.binary(CONTENT_BYTES)),
            ("here", pa.bool_()),
        ]
    )


def _encode_labels(labels: Iterable[list[str]]) -> pa.ListArray:
    """Encode lists of labels as lists of numbers, without repeated labels in a list."""
    import pyarrow as pa

    lists = pa.array([list(dict.fromkeys(names)) for names in labels], pa.list_(pa.string()))
    return pa.ListArray.from_arrays(lists.offsets, lists.values.dictionary_encode())


def _is_utf8(text: str) -> bool:
    """Check whether a name can be in the table; one from the command line may have other bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _to_numpy(array: pa.Array) -> NDArray[np.int32]:
    """View int32 values without a copy; `to_numpy` would import pandas if it is installed."""
    values = np.frombuffer(array.buffers()[1] or b"", np.int32)
    return values[array.offset : array.offset + len(array)]


def _combine_chunks(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, without a copy if it has one chunk."""
    if column.num_chunks == 1:
        return column.chunk(0)
    import pyarrow as pa

    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
