"""In-memory cache of decoded training pictures."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import numpy as np

from siamese.data.images import PictureError, square_picture
from siamese.data.remote_files import File, count_reader_threads
from siamese.errors import InputError
from siamese.utils.progress import progress_bar
from siamese.utils.threads import map_in_threads

MEMORY_LIMIT = 4 * 2**30
"""Default maximum size of the cache in bytes."""


class PictureCache:
    """Cache of square pictures, indexed by row; those that do not fit are decoded on each access.

    The constructor decodes every file, in parallel threads, so that all broken files are known
    before the first epoch.

    Parameters
    ----------
    paths : sequence of Path or RemoteFile
        File of each row.
    picture_size : int
        Side length in pixels.
    memory_limit : int, default 4 GiB
        Maximum size of the cache in bytes.

    Attributes
    ----------
    broken : dict of int to str
        Reason why a file cannot be used, by row.
    """

    def __init__(
        self, paths: Sequence[File], picture_size: int, memory_limit: int = MEMORY_LIMIT
    ) -> None:
        self.paths = list(paths)
        self.picture_size = picture_size
        self.broken: dict[int, str] = {}
        capacity = memory_limit // (3 * picture_size**2)
        shape = (min(len(self.paths), capacity), picture_size, picture_size, 3)
        self._cached = np.empty(shape, np.uint8)

        rows = range(len(self.paths))
        threads = count_reader_threads(self.paths)
        with (
            closing(map_in_threads(self._open, rows, 1024, threads)) as reasons,
            progress_bar("opening", len(rows)) as bar,
        ):
            for row, reason in zip(rows, reasons, strict=True):
                if reason is not None:
                    self.broken[row] = reason
                bar.update()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> np.ndarray:
        """Return a picture as uint8 of shape (s, s, 3); the row must not be in `broken`."""
        if row < len(self._cached):
            return self._cached[row]
        try:
            return square_picture(self.paths[row], self.picture_size)
        except PictureError as error:
            raise InputError(
                f"{self.paths[row]}: {error}, though it was fine at the start; restore it and "
                "train with --resume"
            ) from error

    def _open(self, row: int) -> str | None:
        try:
            picture = square_picture(self.paths[row], self.picture_size)
        except PictureError as error:
            return str(error)
        if row < len(self._cached):
            self._cached[row] = picture
        return None
