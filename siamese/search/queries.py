"""What to search for: pictures, folders of pictures, lists; and searching for many of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import msgspec
import numpy as np

from siamese.data.catalogue import Catalogue
from siamese.data.images import PictureError, picture_suffixes, square_picture
from siamese.errors import InputError
from siamese.utils.files import visible_files
from siamese.utils.progress import progress
from siamese.utils.text import pluralize
from siamese.utils.threads import in_threads

if TYPE_CHECKING:
    from PIL import Image

    from siamese.data.catalogue import Skipped
    from siamese.data.remote_files import File, Folder
    from siamese.embedding.embedder import Embedder
    from siamese.indexes import Index
    from siamese.search.searcher import Options, QueryResult, Searcher

BATCH = 256
"""Queries that are searched for at once."""


@dataclass(frozen=True)
class Query:
    """A picture to search for.

    Attributes
    ----------
    path : its file
    filename : what it is called in an index that has it, relative to the folder of its pictures
    item_id : its item, where that is known
    named : whether it was asked for by its own name, and so must be usable
    """

    path: File
    filename: str
    item_id: str | None = None
    named: bool = False

    def own_item(self, index: Index) -> str | None:
        """The item it is of: the one that is known, or that of its file in the index."""
        if self.item_id is not None:
            return self.item_id
        rows = index.find(filename=self.filename)
        return index.metadata_of(rows[:1])[0]["item_id"] if len(rows) else None


def queries_of(
    images: Sequence[Path], listed: Path | None = None, image_dir: Folder | None = None
) -> list[Query]:
    """Gather what to search for, in the order given.

    Parameters
    ----------
    images : pictures, and folders all of whose pictures are meant
    listed : labelled data (.json), whose pictures lie in `image_dir`; or a text with a picture's
        path a line
    image_dir : folder of the pictures of the index, where it is known

    Raises
    ------
    InputError
        There is nothing to search for, or the list cannot be read.
    """
    found: list[Query] = []
    suffixes = picture_suffixes() if any(map(Path.is_dir, images)) else set()
    for image in images:
        if image.is_dir():
            files = sorted(visible_files(image))
            pictures = [file for file in files if file.suffix.lower() in suffixes]
            if not pictures:
                raise InputError(f"{image}: no picture in this folder")
            found += (Query(file, _filename(file, image_dir)) for file in pictures)
        else:
            found.append(Query(image, _filename(image, image_dir), named=True))
    if listed is not None and listed.suffix.lower() == ".json":
        catalogue = Catalogue.read(listed, image_dir)
        found += (
            Query(catalogue.path_of(picture), picture.filename, picture.item_id)
            for picture in catalogue.pictures
        )
    elif listed is not None:
        try:
            lines = listed.read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "no text in UTF-8"
            raise InputError(f"{listed}: unreadable ({why})") from None
        found += (
            Query(Path(line.strip()), _filename(Path(line.strip()), image_dir))
            for line in lines
            if line.strip()
        )
    if not found:
        raise InputError(f"{listed or 'nothing'}: no picture to search for; name at least one")
    return found


def search_each(
    searcher: Searcher,
    queries: Sequence[Query],
    k: int,
    skipped: list[Skipped],
    *,
    exclude_own_item: bool = False,
    **options: Unpack[Options],
) -> Iterator[QueryResult]:
    """Search for one picture after the other, with progress where they are many.

    Parameters
    ----------
    skipped : gets the queries that are no usable pictures, unless they are `named`
    exclude_own_item : leave the pictures of a query's own item out of its results
    options : see `siamese.search.searcher.Options`

    Raises
    ------
    InputError
        Listing every query that is named and no usable picture.
    """
    unknown = 0
    with progress("searching", len(queries)) as bar:
        for start in range(0, len(queries), BATCH):
            some = queries[start : start + BATCH]
            usable, pictures = _opened(searcher.embedder, some, skipped)
            if exclude_own_item:
                own = [query.own_item(searcher.index) for query in usable]
                options["own_items"] = own
                unknown += own.count(None)
            yield from searcher.search_vectors(
                searcher.embedder.embed(pictures),
                k,
                names=[str(query.path) for query in usable],
                **options,
            )
            bar.update(len(some))
    if unknown:
        print(
            f"{pluralize(unknown, 'query', 'queries')} of no known item: the index has no such "
            "file (say where its pictures lie with --image-dir)",
            file=sys.stderr,
        )


def search_together(
    searcher: Searcher,
    queries: Sequence[Query],
    k: int,
    skipped: list[Skipped],
    *,
    exclude_own_item: bool = False,
    **options: Unpack[Options],
) -> Iterator[QueryResult]:
    """Search once for the one thing that all pictures are views of; as `search_each`.

    Raises
    ------
    InputError
        Or the pictures are of several items, whose own is to be left out.
    """
    usable, pictures = _opened(searcher.embedder, queries, skipped)
    if not usable:
        return
    if exclude_own_item:
        known = (query.own_item(searcher.index) for query in usable)
        own = sorted({item_id for item_id in known if item_id is not None})
        if len(own) > 1:
            raise InputError(
                "--together --exclude-own-item: the pictures are of several items, "
                f"{own[0]} and {own[1]}; leave one of the two out"
            )
        options["own_items"] = own or None
    name = " + ".join(str(query.path) for query in usable)
    for found in searcher.search(pictures, k, together=True, **options):
        yield msgspec.structs.replace(found, query=name)


def _opened(
    embedder: Embedder, queries: Sequence[Query], skipped: list[Skipped]
) -> tuple[list[Query], list[Image.Image]]:
    """Those that are pictures, and the pictures, as small and square as the model wants them."""
    from PIL import Image

    from siamese.data.catalogue import Skipped

    def square(query: Query) -> np.ndarray | str:
        try:
            return square_picture(query.path, embedder.facts.picture_size)
        except PictureError as error:
            return str(error)

    usable, pictures, problems = [], [], []
    with closing(in_threads(square, queries, ahead=BATCH)) as squares:
        for query, outcome in zip(queries, squares, strict=True):
            if not isinstance(outcome, str):
                usable.append(query)
                pictures.append(Image.fromarray(outcome))
            elif query.named:
                problems.append(f"{query.path}: {outcome}")
            else:
                skipped.append(Skipped(query.item_id or "", str(query.path), outcome))
    if problems:
        raise InputError(problems)
    return usable, pictures


def _filename(path: Path, image_dir: Folder | None) -> str:
    """The path as an index would have it."""
    if isinstance(image_dir, Path) and path.resolve().is_relative_to(image_dir.resolve()):
        return path.resolve().relative_to(image_dir.resolve()).as_posix()
    return os.fspath(path)
