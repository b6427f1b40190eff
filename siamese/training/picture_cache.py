"""Prepared pictures at hand: each file is decoded once, and kept in memory while there is room."""

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
"""Bytes of prepared pictures kept in memory; the rest is decoded anew whenever it is drawn."""


class PictureStore:
    """Square pictures by row number.

    Every file is opened once at the start, in parallel, so that all broken ones are known before
    the first epoch and not after an hour.

    Parameters
    ----------
    paths : one file a row
    picture_size : pixels of a side
    memory_limit : bytes

    Attributes
    ----------
    broken : the reason by row, for the files that are no usable pictures
    """

    def __init__(
        self, paths: Sequence[File], picture_size: int, memory_limit: int = MEMORY_LIMIT
    ) -> None:
        self.paths = list(paths)
        self.picture_size = picture_size
        self.broken: dict[int, str] = {}
        room = memory_limit // (3 * picture_size**2)
        shape = (min(len(self.paths), room), picture_size, picture_size, 3)
        self._kept = np.empty(shape, np.uint8)

        rows = range(len(self.paths))
        with (
            closing(
                map_in_threads(self._open, rows, 1024, count_reader_threads(self.paths))
            ) as reasons,
            progress_bar("opening", len(rows)) as bar,
        ):
            for row, reason in zip(rows, reasons, strict=True):
                if reason is not None:
                    self.broken[row] = reason
                bar.update()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> np.ndarray:
        """The picture of a row that is not `broken`: uint8 (s, s, 3)."""
        if row < len(self._kept):
            return self._kept[row]
        try:
            return square_picture(self.paths[row], self.picture_size)
        except PictureError as error:
            raise InputError(f"{self.paths[row]}: {error}; it was fine at the start") from error

    def _open(self, row: int) -> str | None:
        try:
            picture = square_picture(self.paths[row], self.picture_size)
        except PictureError as error:
            return str(error)
        if row < len(self._kept):
            self._kept[row] = picture
        return None
