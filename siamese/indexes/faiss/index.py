"""Index for many pictures, in memory-mapped FAISS files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siamese.errors import InputError
from siamese.indexes.faiss import layout as faiss_layout
from siamese.indexes.faiss.filtered_view import FilteredView
from siamese.indexes.faiss.folder import FORMAT, Manifest, read_folder, write_folder
from siamese.indexes.faiss.layout import Layout, RecallSample, build_vectors, tune_graph
from siamese.indexes.faiss.picture_table import PictureTable
from siamese.indexes.faiss.vectors import (
    copy_to_memory,
    decode,
    is_graph,
    read_vectors,
    write_vectors,
)
from siamese.indexes.index import IndexedPicture, Metadata
from siamese.indexes.label_filter import EVERYTHING, LabelFilter
from siamese.indexes.validate import check_new_pictures, check_queries
from siamese.models.facts import ModelFacts
from siamese.utils.text import pluralize
from siamese.version import __version__

if TYPE_CHECKING:
    import faiss

MIN_RECALL = 0.98
"""Default minimum recall@10, the mean fraction of the 10 nearest pictures that searches find."""

CACHED_VIEWS = 8
"""Number of label filters whose views are cached."""

MANY_REMOVED = 0.2
"""Fraction of removed rows above which `FaissIndex.save` rebuilds a graph."""

MANY_ADDED = 0.05
"""Fraction of added rows above which `FaissIndex.save` remeasures a graph's recall."""


class FaissIndex:
    """FAISS index in a folder: exact search for few pictures, a graph for many; see `Index`.

    Create one with `build` or `open`. `save` keeps measured recall@10 at or above `min_recall`.
    Removed pictures are hidden from searches but keep their rows until `save` rebuilds the index.
    """

    def __init__(
        self,
        vectors: faiss.Index,
        pictures: PictureTable,
        model: ModelFacts,
        layout: Layout,
        *,
        min_recall: float,
        augmented: bool,
        unmeasured: int = 0,
        folder: Path | None = None,
        vectors_file: str | None = None,
    ) -> None:
        self.model = model
        self.layout = layout
        self.min_recall = min_recall
        self.augmented = augmented
        self._unmeasured = unmeasured
        self._folder = folder
        self._vectors_file = vectors_file
        self._set(vectors, pictures, is_mapped=folder is not None)

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
        """Build an index in memory, and print its layout to standard error."""
        data = np.asarray(vectors, np.float32)
        if not data.size:
            raise InputError("no pictures to index")
        pictures = check_new_pictures(data, metadata, model, "nothing indexed", contents)
        index, layout = build_vectors(data, min_recall)
        print(f"{pluralize(len(data), 'picture')}: {layout}", file=sys.stderr)
        return cls(
            index,
            PictureTable.from_metadata(pictures, contents),
            model,
            layout,
            min_recall=min_recall,
            augmented=augmented,
        )

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> FaissIndex:
        """Open the index in a folder, memory-mapping its vectors."""
        folder = Path(path)

        def read(manifest: Manifest, vectors_path: Path, pictures_path: Path) -> FaissIndex:
            vectors = read_vectors(vectors_path)
            pictures = PictureTable.open(pictures_path)
            if not (
                len(pictures) == vectors.ntotal == manifest.rows
                and pictures.is_present.sum() == manifest.pictures
                and vectors.d == manifest.embedding_size == manifest.model.embedding_size
                and is_graph(vectors) == (manifest.layout.kind == "graph")
                and 0 <= manifest.min_recall <= 1
            ):
                raise ValueError("its files do not match")
            return cls(
                vectors,
                pictures,
                manifest.model,
                manifest.layout,
                min_recall=manifest.min_recall,
                augmented=manifest.augmented,
                unmeasured=manifest.unmeasured,
                folder=folder,
                vectors_file=manifest.files["vectors"].name,
            )

        return read_folder(folder, read)

    @property
    def name(self) -> str:
        return "the index" if self._folder is None else str(self._folder)

    @property
    def embedding_size(self) -> int:
        return self._vectors.d

    def __len__(self) -> int:
        return self._count

    def query(
        self, X: ArrayLike, k: int = 10, labels: LabelFilter = EVERYTHING
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the nearest neighbours: exactly if filtered, else with recall `layout.recall`."""
        X = check_queries(np.ascontiguousarray(X, np.float32), k, self)
        view = self._view(labels)
        distances, rows = view.search(X, min(k, view.count))
        return np.sqrt(np.maximum(distances, 0, dtype=np.float64)), rows

    def metadata_of(self, rows: ArrayLike) -> list[Metadata]:
        return self._pictures.metadata_of(rows)

    def vectors(self, rows: ArrayLike) -> NDArray[np.float32]:
        """Return the vectors of the given rows; a graph's have only 11 or 8 bits of precision."""
        return decode(self._vectors, np.asarray(rows, np.intp))

    def find(self, *, item_id: str | None = None, filename: str | None = None) -> NDArray[np.intp]:
        return self._pictures.find(item_id, filename)

    def item_sizes(self, item_ids: Sequence[str]) -> NDArray[np.intp]:
        return self._pictures.item_sizes(item_ids)

    def label_counts(self) -> dict[str, int]:
        return self._pictures.labels.counts(self._pictures.is_present)

    def entries(self) -> Iterator[IndexedPicture]:
        return self._pictures.entries()

    def add(
        self,
        vectors: ArrayLike,
        metadata: Sequence[Mapping[str, Any]],
        contents: Sequence[bytes] | None = None,
    ) -> NDArray[np.intp]:
        data = np.ascontiguousarray(vectors, np.float32)
        pictures = check_new_pictures(
            data, metadata, self.model, f"{self.name}: nothing added", contents
        )
        count = len(self._pictures)
        index = self._vectors
        if self._is_mapped:  # a mapped index is read-only
            index = copy_to_memory(index)
        index.add(data)
        self._unmeasured += len(data)
        self._set(index, self._pictures.append(pictures, contents), is_mapped=False)
        return np.arange(count, count + len(data))

    def remove(self, rows: ArrayLike) -> None:
        self._set(self._vectors, self._pictures.remove(rows), is_mapped=self._is_mapped)

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Write the index; raise an `InputError` if its folder has changed since it was opened.

        The recall of a graph is remeasured if many pictures were added, and the graph is rebuilt if
        recall is too low or many pictures were removed. An exact index is rebuilt if any were
        removed, or if it has grown so large that it needs a graph.
        """
        import faiss

        folder = self._folder if path is None else Path(path)
        if folder is None:
            raise InputError("the index has no folder yet; give one")
        self._rebuild_if_needed()
        manifest = Manifest(
            format=FORMAT,
            backend="faiss",
            metric="euclidean",
            pictures=len(self),
            rows=len(self._pictures),
            unmeasured=self._unmeasured,
            embedding_size=self.embedding_size,
            model=self.model,
            layout=self.layout,
            min_recall=self.min_recall,
            augmented=self.augmented,
            versions={"siamese": __version__, "faiss": faiss.__version__},
            files={},
        )
        files = write_folder(
            folder,
            manifest,
            {
                "vectors": lambda path: write_vectors(self._vectors, path),
                "pictures": self._pictures.write,
            },
            replaces=self._vectors_file if folder == self._folder else None,
        )
        self._folder, self._vectors_file = folder, files["vectors"].name

    def _set(self, vectors: faiss.Index, pictures: PictureTable, *, is_mapped: bool) -> None:
        self._vectors: faiss.Index = vectors
        self._pictures: PictureTable = pictures
        self._is_mapped: bool = is_mapped
        self._count = int(pictures.is_present.sum())
        self._views: dict[LabelFilter, FilteredView] = {}

    def _view(self, labels: LabelFilter) -> FilteredView:
        """Return a view of the vectors that match a filter; the most recent views are cached."""
        views = self._views
        if (view := views.get(labels)) is None:
            mask = self._pictures.is_present
            if labels:
                mask = mask & self._pictures.labels.mask(labels)
            view = FilteredView(
                self._vectors, mask, self.layout.ef_search, is_filtered=bool(labels)
            )
            # Replace the dictionary, because other threads may be reading the old one.
            self._views = dict([*views.items()][1 - CACHED_VIEWS :]) | {labels: view}
        return view

    def _rebuild_if_needed(self) -> None:
        rows, has_graph = len(self._pictures), is_graph(self._vectors)
        removed = rows - self._count
        needs_graph = not has_graph and self._count > faiss_layout.MAX_EXACT
        if removed > (MANY_REMOVED * rows if has_graph else 0) or needs_graph:
            self._rebuild()
        elif has_graph and (
            self._unmeasured > MANY_ADDED * rows or self.layout.recall < self.min_recall
        ):
            sample = RecallSample(decode(self._vectors))
            self.layout = tune_graph(self._vectors, sample, self.min_recall)
            self._unmeasured = 0
            if self.layout.recall < self.min_recall:
                self._rebuild()

    def _rebuild(self) -> None:
        rows = np.flatnonzero(self._pictures.is_present)
        vectors, self.layout = build_vectors(decode(self._vectors, rows), self.min_recall)
        print(f"{pluralize(len(rows), 'picture')}: {self.layout}", file=sys.stderr)
        self._unmeasured = 0
        self._set(vectors, self._pictures.take(rows), is_mapped=False)
