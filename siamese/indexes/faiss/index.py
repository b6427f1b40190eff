"""The index for many pictures: FAISS on disk, mapped into memory, changed without a rebuild."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamese.errors import InputError
from siamese.indexes.faiss import vectors as faiss_vectors
from siamese.indexes.faiss.filtered_view import Part
from siamese.indexes.faiss.folder import FORMAT, File, Manifest, read_folder, write_folder
from siamese.indexes.faiss.picture_table import PictureTable
from siamese.indexes.index import IndexedPicture, Metadata
from siamese.indexes.label_filter import EVERYTHING, LabelFilter
from siamese.indexes.validate import checked_queries, given_parts
from siamese.models.facts import ModelFacts
from siamese.utils.text import pluralize
from siamese.version import __version__

if TYPE_CHECKING:
    import faiss

MIN_RECALL = 0.98
PARTS = 8
"""Filters whose pictures are kept at hand."""
MANY_REMOVED = 0.2
"""From this share of removed rows on, a graph is linked anew when it is saved."""
MANY_ADDED = 0.05
"""From this share of new rows on, recall is measured again when it is saved."""


class FaissIndex:
    """Nearest neighbours in a folder, exact for few pictures, by a graph for many; see `Index`.

    Made by `build` or `open`. What is removed keeps its row, unfound, until `save` makes the index
    anew because there is much of it.

    Attributes
    ----------
    name : what to call the index in a message: its folder, once it has one
    model : facts about the model whose vectors these are
    found : how the vectors are laid out, and how well they are found
    min_recall : the share of the nearest pictures that is to be found
    augmented : whether the vectors are mixed with their neighbours
    """

    def __init__(
        self,
        vectors: faiss.Index,
        pictures: PictureTable,
        model: ModelFacts,
        found: faiss_vectors.Found,
        *,
        min_recall: float,
        augmented: bool,
        unmeasured: int = 0,
        folder: Path | None = None,
        state: str | None = None,
    ) -> None:
        self.model = model
        self.found = found
        self.min_recall = min_recall
        self.augmented = augmented
        self._unmeasured = unmeasured
        self._folder = folder
        self._state = state
        self._vectors: faiss.Index
        self._pictures: PictureTable
        self._mapped: bool
        self._become(vectors, pictures, mapped=folder is not None)

    @classmethod
    def build(
        cls,
        vectors: ArrayLike,
        metadata: Sequence[Mapping[str, Any]],
        model: ModelFacts,
        contents: Sequence[bytes] | None = None,
        *,
        min_recall: float = MIN_RECALL,
        augmented: bool = False,
    ) -> FaissIndex:
        """Index vectors of length 1, and say on standard error how.

        Parameters
        ----------
        vectors : (n, d)
        metadata : (n,), the `Metadata` of each vector
        model : whose vectors they are
        contents : (n,), see `Entry.content`
        min_recall : the share of the 10 nearest pictures to be found, from 0 to 1
        augmented : whether the vectors are mixed with their neighbours

        Raises
        ------
        InputError
            If there is nothing to index, what is given does not fit together, or no setting finds
            as many.
        """
        data = np.asarray(vectors, np.float32)
        if not data.size:
            raise InputError("no picture to index")
        known = given_parts(data, metadata, model, "nothing indexed", contents)
        laid_out, found = faiss_vectors.build(data, min_recall)
        print(f"{pluralize(len(data), 'picture')}: {found}", file=sys.stderr)
        return cls(
            laid_out,
            PictureTable.from_metadata(known, contents),
            model,
            found,
            min_recall=min_recall,
            augmented=augmented,
        )

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> FaissIndex:
        """Open a folder; its vectors stay in the file, of which the system reads what is asked for.

        Raises
        ------
        InputError
            If the folder is missing, damaged, no index, or of a newer version.
        """
        folder = Path(path)

        def read(manifest: Manifest, paths: list[Path]) -> FaissIndex:
            vectors = faiss_vectors.read(paths[0])
            pictures = PictureTable.open(paths[1])
            if not (
                len(pictures) == vectors.ntotal == manifest.rows
                and pictures.here.sum() == manifest.pictures
                and vectors.d == manifest.embedding_size == manifest.model.embedding_size
                and faiss_vectors.is_graph(vectors) == (manifest.found.kind == "graph")
                and 0 <= manifest.min_recall <= 1
            ):
                raise ValueError("its files do not fit together")
            return cls(
                vectors,
                pictures,
                manifest.model,
                manifest.found,
                min_recall=manifest.min_recall,
                augmented=manifest.augmented,
                unmeasured=manifest.unmeasured,
                folder=folder,
                state=manifest.files["vectors"].name,
            )

        return read_folder(folder, ("vectors", "pictures"), read)

    @property
    def name(self) -> str:
        """Its folder, once it has one."""
        return "the index" if self._folder is None else str(self._folder)

    @property
    def embedding_size(self) -> int:
        """Dimensions of the vectors."""
        return self._vectors.d

    def __len__(self) -> int:
        return self._count

    def query(
        self, X: ArrayLike, k: int = 10, labels: LabelFilter = EVERYTHING
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """See `Index.query`; by a graph, about `found.recall` of the nearest are found.

        What labels keep is all compared, so that nothing is missed.
        """
        X = checked_queries(np.ascontiguousarray(X, np.float32), k, self)
        part = self._part(labels)
        distances, rows = part.nearest(X, min(k, part.count))
        return np.sqrt(np.maximum(distances, 0, dtype=np.float64)), rows

    def metadata_of(self, rows: ArrayLike) -> list[Metadata]:
        """See `Index.metadata_of`."""
        return self._pictures.metadata_of(rows)

    def vectors(self, rows: ArrayLike) -> NDArray[np.float32]:
        """See `Index.vectors`; as exact as they are kept, to 11 bits or 8 in a graph."""
        return faiss_vectors.decoded(self._vectors, np.asarray(rows, np.intp))

    def find(self, *, item_id: str | None = None, filename: str | None = None) -> NDArray[np.intp]:
        """See `Index.find`."""
        return self._pictures.find(item_id, filename)

    def item_sizes(self, item_ids: Sequence[str]) -> NDArray[np.intp]:
        """See `Index.item_sizes`."""
        return self._pictures.item_sizes(item_ids)

    def label_counts(self) -> dict[str, int]:
        """See `Index.label_counts`."""
        return self._pictures.label_counts()

    def entries(self) -> Iterator[IndexedPicture]:
        """See `Index.entries`."""
        return self._pictures.entries()

    def add(
        self,
        vectors: ArrayLike,
        metadata: Sequence[Mapping[str, Any]],
        contents: Sequence[bytes] | None = None,
    ) -> NDArray[np.intp]:
        """See `Index.add`; the vectors are linked to the graph that is there."""
        data = np.ascontiguousarray(vectors, np.float32)
        otherwise = f"{self.name}: nothing added"
        known = given_parts(data, metadata, self.model, otherwise, contents)
        count = len(self._pictures)
        if self._mapped:  # a file is not written to while others read it
            self._vectors = faiss_vectors.in_memory(self._vectors)
        self._vectors.add(data)
        self._unmeasured += len(data)
        self._become(self._vectors, self._pictures.with_more(known, contents), mapped=False)
        return np.arange(count, count + len(data))

    def remove(self, rows: ArrayLike) -> None:
        """See `Index.remove`."""
        self._become(self._vectors, self._pictures.without(rows), mapped=self._mapped)

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """See `Index.save`; the floor of recall is proven again where many vectors are new.

        Raises
        ------
        InputError
            If it cannot be written, or was changed by another run since it was opened.
        """
        folder = self._folder if path is None else Path(path)
        if folder is None:
            raise InputError("the index has no place yet; name its folder")
        self._settle()

        def manifest(files: dict[str, File]) -> Manifest:
            return Manifest(
                format=FORMAT,
                backend="faiss",
                metric="euclidean",
                pictures=len(self),
                rows=len(self._pictures),
                unmeasured=self._unmeasured,
                embedding_size=self.embedding_size,
                model=self.model,
                found=self.found,
                min_recall=self.min_recall,
                augmented=self.augmented,
                versions={"siamese": __version__, "faiss": faiss_vectors.version()},
                files=files,
            )

        written = write_folder(
            folder,
            manifest,
            {
                "vectors": (".faiss", lambda path: faiss_vectors.write(self._vectors, path)),
                "pictures": (".arrow", self._pictures.write),
            },
            replaces=self._state if folder == self._folder else None,
        )
        self._folder, self._state = folder, written.files["vectors"].name

    def _become(self, vectors: faiss.Index, pictures: PictureTable, *, mapped: bool) -> None:
        self._vectors, self._pictures, self._mapped = vectors, pictures, mapped
        self._count = int(pictures.here.sum())
        self._parts: dict[LabelFilter, Part] = {}

    def _part(self, labels: LabelFilter) -> Part:
        """What a search may find; the last ones are kept, because others ask for them again."""
        parts = self._parts
        if (part := parts.get(labels)) is None:
            mask = self._pictures.here
            if labels:
                mask = mask & self._pictures.labels.mask(labels)
            part = Part(self._vectors, mask, self.found.effort, filtered=bool(labels))
            # Another dictionary each time, because other threads look into this one.
            self._parts = dict([*parts.items()][1 - PARTS :]) | {labels: part}
        return part

    def _settle(self) -> None:
        """Lay the vectors out anew where too much has changed since."""
        rows, graph = len(self._pictures), faiss_vectors.is_graph(self._vectors)
        removed = rows - self._count
        grown = not graph and self._count > faiss_vectors.EXACT_PICTURES
        if removed > (MANY_REMOVED * rows if graph else 0) or grown:
            self._anew()
        elif graph and (
            self._unmeasured > MANY_ADDED * rows or self.found.recall < self.min_recall
        ):
            sample = faiss_vectors.Sample(faiss_vectors.decoded(self._vectors))
            self.found = faiss_vectors.measured(self._vectors, sample, self.min_recall)
            self._unmeasured = 0
            if self.found.recall < self.min_recall:
                self._anew()

    def _anew(self) -> None:
        here = np.flatnonzero(self._pictures.here)
        vectors = faiss_vectors.decoded(self._vectors, here)
        laid_out, self.found = faiss_vectors.build(vectors, self.min_recall)
        print(f"{pluralize(len(here), 'picture')}: {self.found}", file=sys.stderr)
        self._unmeasured = 0
        self._become(laid_out, self._pictures.of_rows(here), mapped=False)
