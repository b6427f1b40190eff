"""Whether an index is still the one that was opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from siamese.errors import InputError
from siamese.indexes.milvus.connection import Connection, is_milvus
from siamese.utils.artefacts import MANIFEST

ANSWER_SECONDS = 10.0
"""How long a Milvus may take to say what a name stands for."""

State = tuple[int | str, ...]
"""What is another once the index has been replaced. All but the first is alike on all machines."""


class Watch:
    """Looks at the place of an index.

    Parameters
    ----------
    place, collection : see `siamese.open_index`
    """

    def __init__(self, place: str | os.PathLike[str], collection: str) -> None:
        self._place = os.fspath(place)
        self._collection = collection
        self._milvus: Connection | None = None

    @property
    def changes_in_place(self) -> bool:
        """Whether what is added and removed is there without opening the index again."""
        return is_milvus(self._place)

    def state(self) -> State | None:
        """The state of the index; None where there is none to be seen just now."""
        if self.changes_in_place:
            try:
                return self._behind_alias()
            except InputError:  # away; whoever searches is told
                self._milvus = None
                return None
        return state_of(Path(self._place))

    def _behind_alias(self) -> State | None:
        """What the name of a collection stands for: of each that is made anew, another."""
        if self._milvus is None:
            self._milvus = Connection(self._place, must_exist=True)
        words: dict[str, Any] = {"timeout": ANSWER_SECONDS, "patient": False}
        if not self._milvus.call("has_collection", self._collection, **words):
            return None
        described = self._milvus.call("describe_collection", self._collection, **words)
        return (0, described["collection_name"])


def state_of(path: Path) -> State | None:
    """Inode, size and time of the file, or of the manifest that a folder's writer replaces last.

    None where there is neither: it is being replaced just now.
    """
    try:
        of = (path / MANIFEST if path.is_dir() else path).stat()
    except OSError:
        return None
    return of.st_ino, of.st_size, of.st_mtime_ns
