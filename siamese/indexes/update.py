"""Incremental updates of an index to match its catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from siamese.indexes.index import Index, IndexedPicture, Metadata


class Changes(NamedTuple):
    """Numbers of added, changed and removed pictures."""

    added: int
    changed: int
    removed: int


def update_index(
    index: Index,
    vectors: NDArray[np.float32],
    metadata: Sequence[Metadata],
    contents: Sequence[bytes],
) -> Changes:
    """Make an index contain exactly the given pictures, once each, without saving it.

    A picture is skipped if its item, filename, labels and file contents are unchanged. If the
    index does not store hashes of the contents, vectors are compared instead. An interrupted update
    can simply be repeated.
    """
    number_of = {
        (picture["item_id"], picture["filename"]): number for number, picture in enumerate(metadata)
    }

    def is_unchanged(entry: IndexedPicture, number: int) -> bool:
        if set(entry.metadata["labels"]) != set(metadata[number]["labels"]):
            return False
        if entry.content is not None:
            return entry.content == contents[number]
        return np.array_equal(index.vectors([entry.row])[0], vectors[number])

    stale, changed, removed = [], [], 0
    for entry in index.entries():
        number = number_of.pop((entry.metadata["item_id"], entry.metadata["filename"]), None)
        if number is None:  # not in the catalogue, or a duplicate
            removed += 1
        elif is_unchanged(entry, number):
            continue
        else:
            changed.append(number)
        stale.append(entry.row)
    added = list(number_of.values())
    # Add before removing, so that a concurrent search finds every picture.
    written = added + changed
    if written:
        rows = index.add(
            vectors[written],
            [metadata[number] for number in written],
            [contents[number] for number in written],
        )
        stale = list(np.setdiff1d(stale, rows))  # a replaced picture keeps its row
    if stale:
        index.remove(stale)
    return Changes(len(added), len(changed), removed)
