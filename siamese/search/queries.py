"""Query pictures from files, folders and lists, and how to search for them in batches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np
from numpy.typing import NDArray

from siamese.data.catalogue import Catalogue, Skipped
from siamese.data.images import PictureError, picture_suffixes, square_picture
from siamese.data.remote_files import File, Folder
from siamese.errors import InputError
from siamese.indexes import Index
from siamese.search.searcher import QueryResult, Searcher, SearchOptions, mean_vector
from siamese.utils.artefacts import Artefact, describe_artefact, require_artefact
from siamese.utils.files import walk_visible_files
from siamese.utils.progress import progress_bar
from siamese.utils.text import pluralize
from siamese.utils.threads import map_in_threads

if TYPE_CHECKING:
    from siamese.embedding.embedder import Embedder

BATCH = 256
"""Number of queries embedded and searched for at once."""


@dataclass(frozen=True)
class Query:
    """Picture to search for."""

    path: File
    filename: str
    """Filename to look up in the index: relative to the image folder if the file is inside it."""
    item_id: str | None = None
    """ID of the picture's item, if known."""
    required: bool = False
    """Whether to raise an error if the picture is unusable, instead of skipping it."""

    def find_own_item(self, index: Index) -> str | None:
        """Return `item_id` if known, else the item ID of this filename in the index, or None."""
        if self.item_id is not None:
            return self.item_id
        rows = index.find(filename=self.filename)
        return index.metadata_of(rows[:1])[0]["item_id"] if len(rows) else None


def collect_queries(
    images: Sequence[Path], query_list: Path | None = None, image_dir: Folder | None = None
) -> list[Query]:
    """Collect the pictures to search for, in the given order.

    `images` are picture files, and folders whose pictures are all used. `query_list` is either
    labelled data (.json), with filenames relative to `image_dir`, or a text file with one path per
    line. `image_dir` is the folder of the indexed pictures, if known.
    """
    queries: list[Query] = []
    suffixes = picture_suffixes() if any(map(Path.is_dir, images)) else set()
    for image in images:
        if image.is_dir():
            files = sorted(walk_visible_files(image))
            pictures = [file for file in files if file.suffix.lower() in suffixes]
            if not pictures:
                require_artefact(image, "a folder of pictures")
                raise InputError(f"{image}: no picture in this folder")
            queries += (Query(file, _indexed_filename(file, image_dir)) for file in pictures)
        else:
            queries.append(Query(image, _indexed_filename(image, image_dir), required=True))
    if query_list is not None and query_list.suffix.lower() == ".json":
        catalogue = Catalogue.read(query_list, image_dir)
        queries += (
            Query(catalogue.path_of(picture), picture.filename, picture.item_id)
            for picture in catalogue.pictures
        )
    elif query_list is not None:
        paths = [Path(line.strip()) for line in _read_lines(query_list) if line.strip()]
        queries += (Query(path, _indexed_filename(path, image_dir)) for path in paths)
    if not queries:
        raise InputError(f"{query_list or 'nothing'}: no picture to search for; name at least one")
    return queries


def search_each(
    searcher: Searcher,
    queries: Sequence[Query],
    k: int,
    skipped: list[Skipped],
    *,
    exclude_own_item: bool = False,
    **options: Unpack[SearchOptions],
) -> Iterator[QueryResult]:
    """Search for each query and yield the results, showing progress if it takes long.

    An unusable picture raises an InputError if it is `required`; otherwise it is added to
    `skipped`. `exclude_own_item` leaves pictures of the query's own item out of its results.
    """
    unknown = 0
    with progress_bar("searching", len(queries)) as bar:
        for start in range(0, len(queries), BATCH):
            batch = queries[start : start + BATCH]
            usable, squares = _decode_queries(searcher.embedder, batch, skipped)
            own_items = None
            if exclude_own_item:
                own_items = [query.find_own_item(searcher.index) for query in usable]
                unknown += own_items.count(None)
            yield from searcher.search_vectors(
                searcher.embedder.embed_squares(squares),
                k,
                names=[str(query.path) for query in usable],
                own_items=own_items,
                **options,
            )
            bar.update(len(batch))
    if unknown:
        print(
            f"no known item for {pluralize(unknown, 'query', 'queries')}: the index has no such "
            "file (give the folder of its pictures with --image-dir)",
            file=sys.stderr,
        )


def search_together(
    searcher: Searcher,
    queries: Sequence[Query],
    k: int,
    skipped: list[Skipped],
    *,
    exclude_own_item: bool = False,
    **options: Unpack[SearchOptions],
) -> Iterator[QueryResult]:
    """Search once for the object that all queries show; see `search_each`.

    Nothing is yielded if no query is usable. With `exclude_own_item`, queries that belong to more
    than one item raise an InputError.
    """
    usable, squares = _decode_queries(searcher.embedder, queries, skipped)
    if not usable:
        return
    own_items = None
    if exclude_own_item:
        found = (query.find_own_item(searcher.index) for query in usable)
        own_items = sorted({item_id for item_id in found if item_id is not None})
        if len(own_items) > 1:
            raise InputError(
                "--together --exclude-own-item: the pictures belong to several items, "
                f"{own_items[0]} and {own_items[1]}; leave out one of the flags"
            )
    names = [" + ".join(str(query.path) for query in usable)]
    vector = mean_vector(searcher.embedder.embed_squares(squares), names[0])
    yield from searcher.search_vectors(vector[None], k, names=names, own_items=own_items, **options)


def _decode_queries(
    embedder: Embedder, queries: Sequence[Query], skipped: list[Skipped]
) -> tuple[list[Query], NDArray[np.uint8]]:
    """Return the usable queries and their pictures made square, as uint8 of shape (n, s, s, 3)."""
    size = embedder.facts.picture_size

    def decode(query: Query) -> np.ndarray | str:
        try:
            return square_picture(query.path, size)
        except PictureError as error:
            return str(error)

    usable, squares, problems = [], [], []
    with closing(map_in_threads(decode, queries, ahead=BATCH)) as outcomes:
        for query, outcome in zip(queries, outcomes, strict=True):
            if not isinstance(outcome, str):
                usable.append(query)
                squares.append(outcome)
            elif query.required:
                described = describe_artefact(str(query.path), other_than=(Artefact.PICTURE,))
                why = outcome if described is None else f"not a picture but {described}"
                problems.append(f"{query.path}: {why}")
            else:
                skipped.append(Skipped(query.item_id or "", str(query.path), outcome))
    if problems:
        raise InputError(problems)
    return usable, np.array(squares, np.uint8).reshape(-1, size, size, 3)


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        require_artefact(path, "a list of pictures")
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"{path}: unreadable ({reason})") from None


def _indexed_filename(path: Path, image_dir: Folder | None) -> str:
    """Return a path relative to `image_dir`, or unchanged if it is outside that folder."""
    if isinstance(image_dir, Path) and path.resolve().is_relative_to(image_dir.resolve()):
        return path.resolve().relative_to(image_dir.resolve()).as_posix()
    return os.fspath(path)
