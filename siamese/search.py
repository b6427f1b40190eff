"""Query pictures in, ranked items out: an embedder and the index that its model made."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from siamese.errors import InputError
from siamese.indexes import Index

if TYPE_CHECKING:
    from siamese.embedding import Embedder, Source


class Result(msgspec.Struct, frozen=True):
    """One picture of the index: its place in the ranking (from 1), how far it is, what it is."""

    rank: int
    distance: float
    item_id: str
    filename: str
    labels: list[str]


class QueryResult(msgspec.Struct, frozen=True):
    """The ranking for one query picture, nearest first."""

    query: str
    results: list[Result]

    def as_dict(self) -> dict[str, Any]:
        """As ``{"query": …, "results": [{"rank": …, "distance": …, …}, …]}``."""
        return msgspec.to_builtins(self)


class Searcher:
    """Search an index by picture.

    Parameters
    ----------
    embedder : makes the vectors of the query pictures
    index : as `siamese.open_index` returns it

    Raises
    ------
    InputError
        If another model made the index: distances between the vectors of two models mean
        nothing. An index that does not record its model is taken, with a warning, where at
        least the dimensions agree.
    """

    def __init__(self, embedder: Embedder, index: Index) -> None:
        facts, made_by = embedder.facts, index.model
        if made_by is not None and made_by["fingerprint"] != facts.fingerprint:
            maker = made_by["path"] or made_by["name"]
            raise InputError(
                f"{index.name}: made by the model {maker!r} of fingerprint "
                f"{made_by['fingerprint'][:12]!r}, not by {facts.name!r} of "
                f"{facts.fingerprint[:12]!r}; "
                "search with the model that made it, or make the index again"
            )
        if index.embedding_size != facts.embedding_size:
            raise InputError(
                f"{index.name}: holds vectors of {index.embedding_size} dimensions, {facts.name} "
                f"makes {facts.embedding_size}; search with the model that made it"
            )
        if made_by is None:
            warnings.warn(
                f"{index.name}: does not record which model made it; if that was not "
                f"{facts.name}, the results mean nothing",
                stacklevel=2,
            )
        self.embedder = embedder
        self.index = index

    def search(self, sources: Sequence[Source], k: int = 10) -> list[QueryResult]:
        """Find the pictures of the index that are nearest to each query picture.

        Parameters
        ----------
        sources : the query pictures: files, encoded bytes or PIL pictures
        k : how many results for each; fewer where the index has fewer

        Returns
        -------
        One ranking a query, in the order given. A query that is no file is named by its place,
        ``picture 1``.

        Raises
        ------
        InputError
            Listing every query that is no usable picture; or if k < 1.
        """
        distances, rows = self.index.query(self.embedder.embed(sources), k)
        metadata = self.index.metadata
        return [
            QueryResult(
                _name(source, place),
                [
                    Result(rank, float(distance), **metadata[row])
                    for rank, (distance, row) in enumerate(zip(near, at, strict=True), 1)
                ],
            )
            for place, (source, near, at) in enumerate(
                zip(sources, distances, rows, strict=True), 1
            )
        ]


def _name(source: Source, place: int) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else f"picture {place}"
