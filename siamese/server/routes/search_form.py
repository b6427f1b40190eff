"""The service and the form fields that several routes share."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from fastapi import Depends, Form, Request

from siamese.indexes import LabelFilter
from siamese.search.searcher import SearchOptions
from siamese.server.errors import ApiError
from siamese.server.service import Service

LAST_RANK = 10_000
"""Largest rank of a result: with `by_item`, each result needs a dozen pictures of the index."""


async def get_service(request: Request) -> Service:
    """Return the service of the application that received the request."""
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(get_service)]


class SearchForm(NamedTuple):
    """Form fields of a search: the number of results, and the options with an `offset`."""

    k: int
    options: SearchOptions


async def parse_search_form(
    k: Annotated[int, Form(ge=1, le=1000, description="Number of results.")] = 20,
    offset: Annotated[
        int, Form(ge=0, le=LAST_RANK, description="Number of first results to leave out.")
    ] = 0,
    any_label: Annotated[
        list[str] | None, Form(description="Only pictures with at least one of these labels.")
    ] = None,
    every_label: Annotated[
        list[str] | None, Form(description="Only pictures with all of these labels.")
    ] = None,
    no_label: Annotated[
        list[str] | None, Form(description="Only pictures with none of these labels.")
    ] = None,
    max_distance: Annotated[
        float | None,
        Form(ge=0, allow_inf_nan=False, description="Only pictures within this distance."),
    ] = None,
    by_item: Annotated[
        Literal["best", "mean"] | None,
        Form(
            description="One result per item, ranked by its best picture or the mean of its three "
            "best."
        ),
    ] = None,
    rerank: Annotated[
        Literal["none", "expansion", "reciprocal"],
        Form(description="Nearest first, or reordered by the neighbours of the results."),
    ] = "none",
) -> SearchForm:
    """Read the form fields of a search."""
    if offset + k > LAST_RANK:
        raise ApiError(422, f"offset, k: {offset} + {k} results, limit {LAST_RANK:,} together")
    options = SearchOptions(
        offset=offset,
        labels=LabelFilter.from_lists(any_label or (), every_label or (), no_label or ()),
        max_distance=max_distance,
        by_item=by_item,
        rerank=rerank,
    )
    return SearchForm(k, options)
