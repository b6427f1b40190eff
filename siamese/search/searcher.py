"""Searcher, which finds the pictures or items of an index most similar to query pictures."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import msgspec
import numpy as np
from numpy.typing import NDArray

from siamese.errors import GoneError, InputError, NotFoundError, UnavailableError
from siamese.evaluation.calibration import read_calibration
from siamese.indexes import Index, LabelFilter
from siamese.search.ranking import Ranker
from siamese.search.reranking import Reranker, Rows, Vectors

if TYPE_CHECKING:
    from siamese.embedding.embedder import Embedder, Source


class Result(msgspec.Struct, frozen=True):
    """Picture found by a search.

    Attributes
    ----------
    rank : int
        Position in the ranking, from 1.
    distance : float
        Euclidean distance to the query, even if the results are ranked by another score.
    item_id, filename, labels : str, str, list of str
    """

    rank: int
    distance: float
    item_id: str
    filename: str
    labels: list[str]


class QueryResult(msgspec.Struct, frozen=True):
    """Results for one query, best first.

    Attributes
    ----------
    query : str
        Name of the query picture.
    results : list of Result
    in_catalogue : bool or None
        Whether the nearest result, ignoring `max_distance`, is within `Searcher.threshold`. None
        if there is no threshold.
    """

    query: str
    results: list[Result]
    in_catalogue: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return a dict such as ``{"query": …, "results": [{"rank": 1, …}, …], …}``."""
        return msgspec.to_builtins(self)


class SearchOptions(TypedDict, total=False):
    """Keyword arguments shared by all searches.

    Attributes
    ----------
    offset : int, default=0
        Number of results to skip: for the second page of 10 results, 10.
    labels : LabelFilter, optional
        Which pictures to search, by their labels; all by default.
    max_distance : float, optional
        Leave out results farther than this from the query.
    rerank : {"none", "expansion", "reciprocal"} or Reranker, optional
        How to rank the pictures; by distance to the query by default.
    by_item : {"best", "mean"}, optional
        Return one result per item, its best picture. Items are ranked by the score of that
        picture ("best") or by the mean score of their three best pictures ("mean").
    """

    offset: int
    labels: LabelFilter
    max_distance: float | None
    rerank: Reranker | str | None
    by_item: str | None


class Searcher:
    """Searcher that finds the pictures in an index that are most similar to query pictures.

    Parameters
    ----------
    embedder : Embedder
        Embedder for the query pictures.
    index : Index
        Index to search, as returned by `siamese.open_index`.

    Attributes
    ----------
    threshold : float or None
        Distance beyond which a query counts as not in the catalogue, from the model's calibration;
        see `siamese.evaluation.calibration`. None if uncalibrated or if the gallery is augmented.

    Raises
    ------
    InputError
        If another model made the index: vectors of different models cannot be compared. An
        index that does not record its model is accepted with a warning if the dimensions agree.

    Examples
    --------
    >>> searcher = Searcher(embedder, open_index("search_index.pkl"))  # doctest: +SKIP
    >>> searcher.search(["query.jpg"], k=5, by_item="best")  # doctest: +SKIP
    """

    def __init__(self, embedder: Embedder, index: Index) -> None:
        _require_same_model(embedder, index)
        self.embedder = embedder
        self.index = index
        facts = embedder.facts
        calibration = read_calibration(facts.path, facts.fingerprint) if facts.path else None
        # Thresholds are calibrated on plain vectors; augmentation changes the distances.
        self.threshold = calibration.threshold if calibration and not index.augmented else None

    def search(
        self,
        sources: Sequence[Source],
        k: int = 10,
        *,
        together: bool = False,
        own_items: Sequence[str | None] | None = None,
        **options: Unpack[SearchOptions],
    ) -> list[QueryResult]:
        """Find the pictures in the index that are most similar to each query picture.

        Parameters
        ----------
        sources : sequence of path, bytes or PIL.Image.Image
            Query pictures.
        k : int, default=10
            Number of results per query; fewer if the index has fewer.
        together : bool, default=False
            Treat all pictures as views of one object, and search once with their mean vector.
        own_items : sequence of str or None, optional
            Item ID for each query (one if `together`); pictures of that item are left out.
        **options
            See `SearchOptions`.

        Returns
        -------
        list of QueryResult
            One per query, in the given order. Queries that are not paths are named by their
            positions: ``picture 1``, ``picture 2``, ….

        Raises
        ------
        InputError
            If some queries are not usable pictures (all are listed), or an option is invalid.
        """
        ranker = Ranker(self.index, k, **options)  # check the options before the slow part
        vectors = self.embedder.embed(sources)
        names = [
            os.fspath(source) if isinstance(source, str | os.PathLike) else f"picture {number}"
            for number, source in enumerate(sources, 1)
        ]
        if together:
            vectors = mean_vector(vectors, ", ".join(names))[None]
            names = [" + ".join(names)]
        return self._search(ranker, vectors, names, self._rows_of_items(own_items, len(vectors)))

    def search_vectors(
        self,
        vectors: Vectors,
        k: int = 10,
        *,
        names: Sequence[str] | None = None,
        own_items: Sequence[str | None] | None = None,
        **options: Unpack[SearchOptions],
    ) -> list[QueryResult]:
        """Find the pictures in the index that are most similar to each query vector.

        Parameters
        ----------
        vectors : ndarray of float, shape (n, d)
            Unit-length query vectors, computed by the model that made the index.
        k : int, default=10
            Number of results per query; fewer if the index has fewer.
        names : sequence of str, length n, optional
            Names of the queries; ``picture 1``, ``picture 2``, … by default.
        own_items, **options
            See `search`.

        Returns
        -------
        list of QueryResult

        Raises
        ------
        InputError
            If the vectors have the wrong dimensions, or an option is invalid.
        """
        ranker = Ranker(self.index, k, **options)
        if names is None:
            names = [f"picture {number}" for number in range(1, len(vectors) + 1)]
        return self._search(ranker, vectors, names, self._rows_of_items(own_items, len(vectors)))

    def search_similar(
        self,
        picture: str | int,
        k: int = 10,
        *,
        exclude_own_item: bool = False,
        **options: Unpack[SearchOptions],
    ) -> QueryResult:
        """Find the pictures in the index that are most similar to another picture in it.

        The picture itself is never among the results, even if several items share its file.

        Parameters
        ----------
        picture : str or int
            Filename or row; see `find_row`.
        k : int, default=10
            Number of results; fewer if the index has fewer.
        exclude_own_item : bool, default=False
            Also leave out the other pictures of the same item; implied by `by_item`.
        **options
            See `SearchOptions`.

        Returns
        -------
        QueryResult
            The results, with the picture's filename as `query`.

        Raises
        ------
        NotFoundError
            If the index has no such picture.
        InputError
            If an option is invalid.
        """
        ranker = Ranker(self.index, k, **options)
        row = self.find_row(picture)
        (own,) = self.index.metadata_of([row])
        if exclude_own_item or options.get("by_item") is not None:
            excluded = self.index.find(item_id=own["item_id"])
        else:
            excluded = self.index.find(filename=own["filename"])
        vector = self.index.vectors([row])
        (found,) = self._search(ranker, vector, [own["filename"]], [excluded])
        return found

    def find_row(self, picture: str | int) -> int:
        """Return the row of a picture given by its filename, or by its row as an int or a string.

        A string that is both a filename and a row is taken as a filename.

        Raises
        ------
        NotFoundError
            If the index has no such picture.
        """
        if isinstance(picture, str) and len(rows := self.index.find(filename=picture)):
            return int(rows[0])
        # Milvus rows are 63-bit keys.
        if re.fullmatch(r"[0-9]{1,19}", str(picture)) and (row := int(picture)) < 2**63:
            try:
                (known,) = self.index.metadata_of([row])
                # Some backends still return the metadata of a removed row.
                if row in self.index.find(item_id=known["item_id"], filename=known["filename"]):
                    return row
            except (IndexError, KeyError, InputError) as error:
                if isinstance(error, UnavailableError) and not isinstance(error, GoneError):
                    raise
        raise NotFoundError(f"{picture}: no such picture in the index")

    def _rows_of_items(self, item_ids: Sequence[str | None] | None, queries: int) -> list[Rows]:
        """Return, for each query, the rows of its own item's pictures; none if its ID is None."""
        item_ids = item_ids or [None] * queries
        if len(item_ids) != queries:
            raise InputError(f"own_items has {len(item_ids)} entries for {queries} queries")
        return [
            np.empty(0, np.intp) if item_id is None else self.index.find(item_id=item_id)
            for item_id in item_ids
        ]

    def _search(
        self, ranker: Ranker, vectors: Vectors, names: Sequence[str], excluded: Sequence[Rows]
    ) -> list[QueryResult]:
        pages = ranker.rank(vectors, excluded)
        # Make one call for all queries, because with Milvus each call is a request.
        rows = np.concatenate([page.rows for page in pages]) if pages else np.empty(0, np.intp)
        metadata = iter(self.index.metadata_of(rows))
        return [
            QueryResult(
                name,
                [
                    Result(rank, distance, **next(metadata))
                    for rank, distance in enumerate(page.distances.tolist(), ranker.offset + 1)
                ],
                None if self.threshold is None else page.nearest <= self.threshold,
            )
            for name, page in zip(names, pages, strict=True)
        ]


def mean_vector(vectors: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Return the unit-length mean Σ v_i / ‖Σ v_i‖ of `vectors`; errors mention `name`.

    Examples
    --------
    >>> mean_vector(np.array([[1, 0], [0, 1]], np.float32), "two views")
    array([0.70710677, 0.70710677], dtype=float32)
    """
    mean = vectors.mean(axis=0)
    length = np.linalg.norm(mean)
    if not length:
        raise InputError(f"{name}: the vectors are opposite to each other and have no mean")
    return mean / length


def _require_same_model(embedder: Embedder, index: Index) -> None:
    facts, made_by = embedder.facts, index.model
    if made_by is not None and made_by.fingerprint != facts.fingerprint:
        maker = made_by.path or made_by.name
        raise InputError(
            f"{index.name}: made by the model {maker!r} with fingerprint "
            f"{made_by.fingerprint[:12]!r}, not by {facts.name!r} with {facts.fingerprint[:12]!r}; "
            "search with the model that made it, or make the index again"
        )
    if index.embedding_size != facts.embedding_size:
        raise InputError(
            f"{index.name}: its vectors have {index.embedding_size} dimensions, those of "
            f"{facts.name} have {facts.embedding_size}; search with the model that made it"
        )
    if made_by is None:
        warnings.warn(
            f"{index.name}: does not record which model made it; if that was not "
            f"{facts.name}, the results mean nothing",
            stacklevel=3,
        )
