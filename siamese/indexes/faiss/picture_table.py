"""What a folder index knows of its pictures: an Arrow file, mapped into memory, never parsed."""

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
"""Stands where it is not known which file was embedded."""


class PictureTable:
    """Item, filename, labels and content of each row; a removed row keeps its place.

    Parameters
    ----------
    table : as `schema` says
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._item, self._filename, self._labels, self._content, self._here = (
            _one_chunk(column) for column in table.columns
        )

    @classmethod
    def from_metadata(
        cls, metadata: Sequence[Metadata], contents: Sequence[bytes] | None
    ) -> PictureTable:
        """Make one of what is known of each row, none removed."""
        import pyarrow as pa

        contents = [NO_CONTENT] * len(metadata) if contents is None else contents
        columns = [
            pa.array([known["item_id"] for known in metadata], pa.string()).dictionary_encode(),
            [known["filename"] for known in metadata],
            _label_lists(known["labels"] for known in metadata),
            contents,
            np.ones(len(metadata), np.bool_),
        ]
        return cls(pa.table(columns, schema=schema()))

    @classmethod
    def open(cls, path: Path) -> PictureTable:
        """Map a file into memory.

        Raises
        ------
        ValueError
            It is no such table, or one that does not hold together.
        """
        import pyarrow as pa

        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            if not table.schema.equals(schema()):
                raise ValueError("its columns are not those of an index")
            table.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the system's, which says nothing of the file's content
            raise ValueError(str(error).splitlines()[0]) from None
        if any(column.null_count for column in table.columns):
            raise ValueError("a picture without one of its facts")
        made = cls(table)
        for names in (made._item.dictionary, made._labels.values.dictionary):
            if names.null_count:
                raise ValueError("an item or a label of no name")
        return made

    def write(self, path: Path) -> None:
        """Write it as an Arrow file."""
        import pyarrow as pa

        with path.open("wb") as file, pa.ipc.new_file(file, schema()) as writer:
            writer.write_table(self.table.combine_chunks())

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def here(self) -> NDArray[np.bool_]:
        """Which rows are not removed, bool (n,)."""
        bits = np.frombuffer(self._here.buffers()[1] or b"", np.uint8)
        first, count = self._here.offset, len(self._here)
        return np.unpackbits(bits, bitorder="little")[first : first + count].view(np.bool_)

    @cached_property
    def labels(self) -> LabelTable:
        """The labels of all rows."""
        return LabelTable(
            self._labels.values.dictionary.to_pylist(),
            _numbers(self._labels.flatten().indices),
            np.diff(_numbers(self._labels.offsets)),
        )

    def metadata_of(self, rows: ArrayLike) -> list[Metadata]:
        """Return what is known of some rows."""
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
        """Return the rows of an item, a file, or both, that are not removed."""
        import pyarrow.compute as pc

        found = self.here
        if item_id is not None:
            found = found & (self._item_numbers == self._items.get(item_id, -1))
        if filename is not None and not _is_utf8(filename):
            return np.empty(0, np.intp)
        if filename is not None:
            found = found & pc.equal(self._filename, filename).to_numpy(zero_copy_only=False)
        return np.flatnonzero(found)

    def item_sizes(self, item_ids: Sequence[str]) -> NDArray[np.intp]:
        """Return how many pictures each of some items has."""
        numbers = [self._items.get(item_id, -1) for item_id in item_ids]
        return self._sizes[numbers]

    def entries(self) -> Iterator[IndexedPicture]:
        """Walk over the rows that are not removed."""
        row = 0
        for batch in self.table.to_batches(max_chunksize=2**14):
            columns = (batch.column(place).to_pylist() for place in range(5))
            for item_id, filename, labels, content, here in zip(*columns, strict=True):
                if here:
                    known = Metadata(item_id=item_id, filename=filename, labels=labels)
                    yield IndexedPicture(row, known, None if content == NO_CONTENT else content)
                row += 1

    def label_counts(self) -> dict[str, int]:
        """See `Index.label_counts`."""
        return self.labels.counts(self.here)

    def with_more(
        self, metadata: Sequence[Metadata], contents: Sequence[bytes] | None
    ) -> PictureTable:
        """Return one with further rows after these."""
        import pyarrow as pa

        more = PictureTable.from_metadata(metadata, contents).table
        joined = pa.concat_tables([self.table, more]).unify_dictionaries()
        return PictureTable(joined.combine_chunks())

    def without(self, rows: ArrayLike) -> PictureTable:
        """Return one with some rows removed, at their places."""
        import pyarrow as pa

        here = self.here.copy()
        here[np.asarray(rows, np.intp)] = False
        place = self.table.schema.get_field_index("here")
        return PictureTable(self.table.set_column(place, "here", pa.array(here)))

    def of_rows(self, rows: NDArray[np.intp]) -> PictureTable:
        """Return one with some of the rows, in that order."""
        return PictureTable(self.table.take(rows).combine_chunks())

    @cached_property
    def _items(self) -> dict[str, int]:
        names = self._item.dictionary.to_pylist()
        return {name: number for number, name in enumerate(names)}

    @cached_property
    def _item_numbers(self) -> NDArray[np.int32]:
        return _numbers(self._item.indices)

    @cached_property
    def _sizes(self) -> NDArray[np.intp]:
        """How many pictures each item has; the last one is of an item that is not there."""
        return np.bincount(self._item_numbers[self.here], minlength=len(self._items) + 1)


def schema() -> pa.Schema:
    """The columns of the file."""
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


def _label_lists(labels: Iterable[list[str]]) -> pa.ListArray:
    """Lists of numbered names; no label twice in a list."""
    import pyarrow as pa

    lists = pa.array([list(dict.fromkeys(of_row)) for of_row in labels], pa.list_(pa.string()))
    return pa.ListArray.from_arrays(lists.offsets, lists.values.dictionary_encode())


def _is_utf8(text: str) -> bool:
    """Whether a name can be in the table; one from the command line may be of other bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _numbers(array: pa.Array) -> NDArray[np.int32]:
    """An array of int32 without a copy; pyarrow's own way first imports pandas, if it is there."""
    whole = np.frombuffer(array.buffers()[1] or b"", np.int32)
    return whole[array.offset : array.offset + len(array)]


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array, without a copy where it is one."""
    if column.num_chunks == 1:
        return column.chunk(0)
    import pyarrow as pa

    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
