"""What has changed between an index and its catalogue, and nothing more, is done again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from siamese.indexes.index import Index, IndexedPicture, Metadata


class Changes(NamedTuple):
    """How many pictures were added, changed and removed."""

    added: int
    changed: int
    removed: int


def bring_up_to_date(
    index: Index,
    vectors: NDArray[np.float32],
    metadata: Sequence[Metadata],
    contents: Sequence[bytes],
) -> Changes:
    """Make an index hold these pictures and no others; it is not saved.

    A picture is the same while its item, its filename, its labels and the bytes of its file are;
    where the index does not know the bytes, while its vector is. Stopped in between, doing it
    again ends in the same index.

    Parameters
    ----------
    vectors : (n, d), of length 1, of the model that made the index
    metadata : (n,), no item and filename twice
    contents : (n,), BLAKE2b of each file, 16 bytes
    """
    places = {(one["item_id"], one["filename"]): place for place, one in enumerate(metadata)}

    def same(entry: IndexedPicture, place: int) -> bool:
        if set(entry.metadata["labels"]) != set(metadata[place]["labels"]):
            return False
        if entry.content is not None:
            return entry.content == contents[place]
        return np.array_equal(index.vectors([entry.row])[0], vectors[place])

    stale, changed, removed = [], [], 0
    for entry in index.entries():
        place = places.get((entry.metadata["item_id"], entry.metadata["filename"]))
        if place is None:  # gone from the catalogue, or a second row of the same picture
            removed += 1
        else:
            del places[entry.metadata["item_id"], entry.metadata["filename"]]
            if same(entry, place):
                continue
            changed.append(place)
        stale.append(entry.row)
    added = list(places.values())
    # First what is new: whoever searches meanwhile misses nothing.
    new = added + changed
    if new:
        rows = index.add(
            vectors[new], [metadata[place] for place in new], [contents[place] for place in new]
        )
        stale = list(np.setdiff1d(stale, rows))  # what was replaced stays
    if stale:
        index.remove(stale)
    return Changes(len(added), len(changed), removed)
