"""Table of an index's pictures, in an Arrow file that is memory-mapped rather than parsed."""

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
"""Placeholder for an unknown hash."""


class PictureTable:
    """Table of each row's item, filename, labels and hash; removed pictures keep their rows."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._item, self._filename, self._labels, self._content, self._here = (
            _combine_chunks(column) for column in table.columns
        )

    @classmethod
    def from_metadata(
        cls, metadata: Sequence[Metadata], contents: Sequence[bytes] | None
    ) -> PictureTable:
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
        """Memory-map a file; raise a `ValueError` if it does not hold a valid table."""
        import pyarrow as pa

        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            if not table.schema.equals(table_schema()):
                raise ValueError("its columns are not those of an index")
            table.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # from the operating system, not about the contents
            raise ValueError(str(error).splitlines()[0]) from None
        if any(column.null_count for column in table.columns):
            raise ValueError("a column of its pictures has a missing value")
        pictures = cls(table)
        for names in (pictures._item.dictionary, pictures._labels.values.dictionary):
            if names.null_count:
                raise ValueError("an item or a label of its pictures has no name")
        return pictures

    def write(self, path: Path) -> None:
        import pyarrow as pa

        with path.open("wb") as file, pa.ipc.new_file(file, table_schema()) as writer:
            writer.write_table(self.table.combine_chunks())

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def is_present(self) -> NDArray[np.bool_]:
        """Boolean mask, of shape (n,), of the rows whose pictures have not been removed."""
        bits = np.frombuffer(self._here.buffers()[1] or b"", np.uint8)
        first, count = self._here.offset, len(self._here)
        return np.unpackbits(bits, bitorder="little")[first : first + count].view(np.bool_)

    @cached_property
    def labels(self) -> LabelTable:
        return LabelTable(
            self._labels.values.dictionary.to_pylist(),
            _to_numpy(self._labels.flatten().indices),
            np.diff(_to_numpy(self._labels.offsets)),
        )

    def metadata_of(self, rows: ArrayLike) -> list[Metadata]:
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
        import pyarrow as pa
        import pyarrow.compute as pc

        mask = self.is_present
        if item_id is not None:
            mask = mask & (self._item_numbers == self._number_of_item.get(item_id, -1))
        if filename is not None:
            try:
                name = pa.scalar(filename, pa.string())
            except UnicodeEncodeError:  # command-line arguments may hold invalid Unicode
                return np.empty(0, np.intp)
            mask = mask & pc.equal(self._filename, name).to_numpy(zero_copy_only=False)
        return np.flatnonzero(mask)

    def item_sizes(self, item_ids: Sequence[str]) -> NDArray[np.intp]:
        numbers = [self._number_of_item.get(item_id, -1) for item_id in item_ids]
        return self._sizes[numbers]

    def entries(self) -> Iterator[IndexedPicture]:
        batches = self.table.to_batches(max_chunksize=2**14)
        pictures = (picture for batch in batches for picture in batch.to_pylist())
        for row, picture in enumerate(pictures):
            content, is_present = picture.pop("content"), picture.pop("here")
            if is_present:
                yield IndexedPicture(row, picture, None if content == NO_CONTENT else content)

    def append(
        self, metadata: Sequence[Metadata], contents: Sequence[bytes] | None
    ) -> PictureTable:
        import pyarrow as pa

        added = PictureTable.from_metadata(metadata, contents).table
        joined = pa.concat_tables([self.table, added]).unify_dictionaries()
        return PictureTable(joined.combine_chunks())

    def remove(self, rows: ArrayLike) -> PictureTable:
        import pyarrow as pa

        is_present = self.is_present.copy()
        is_present[np.asarray(rows, np.intp)] = False
        number = self.table.schema.get_field_index("here")
        return PictureTable(self.table.set_column(number, "here", pa.array(is_present)))

    def take(self, rows: NDArray[np.intp]) -> PictureTable:
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
        """Number of pictures per item number; the extra last entry is 0, for unknown items (-1)."""
        return np.bincount(
            self._item_numbers[self.is_present], minlength=len(self._number_of_item) + 1
        )


def table_schema() -> pa.Schema:
    """Return the Arrow schema of the file; ``here`` is False for removed pictures."""
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
    """Dictionary-encode the labels of each picture, dropping duplicates."""
    import pyarrow as pa

    lists = pa.array([list(dict.fromkeys(names)) for names in labels], pa.list_(pa.string()))
    return pa.ListArray.from_arrays(lists.offsets, lists.values.dictionary_encode())


def _to_numpy(array: pa.Array) -> NDArray[np.int32]:
    """View int32 values without copying; pyarrow's `to_numpy` would import pandas if installed."""
    values = np.frombuffer(array.buffers()[1] or b"", np.int32)
    return values[array.offset : array.offset + len(array)]


def _combine_chunks(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as a single array, without copying if it has one chunk."""
    if column.num_chunks == 1:
        return column.chunk(0)
    import pyarrow as pa

    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
