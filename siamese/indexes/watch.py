"""Detection of index replacements."""

from __future__ import annotations

from collections.abc import Callable

from siamese.indexes.backend import Backend, State
from siamese.indexes.backends import recognise_backend
from siamese.indexes.place import Place


class Watch:
    """Watcher for replacements of the index at a place, even by another backend's."""

    def __init__(self, place: Place, collection: str) -> None:
        self._place = place
        self._collection = collection
        self._backend: Backend | None = None
        self._state: Callable[[], State | None]

    @property
    def changes_in_place(self) -> bool:
        backend = recognise_backend(self._place)
        return backend is not None and backend.changes_in_place

    def state(self) -> State | None:
        """Return a value that changes when the index is replaced, or None if it cannot be read."""
        backend = recognise_backend(self._place)
        if backend is None:
            return None
        if backend is not self._backend:
            self._backend = backend
            self._state = backend.watch(self._place, self._collection)
        return self._state()
