"""Service dependency and form fields shared by several routes."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from fastapi import Depends, Form, Request

from siamese.indexes import LabelFilter
from siamese.search.searcher import SearchOptions
from siamese.server.errors import ApiError
from siamese.server.service import Service

LAST_RANK = 10_000
"""Maximum of offset + k; with `by_item`, each result may take ranking a dozen pictures."""


async def get_service(request: Request) -> Service:
    """Return the service of the application that handles the request."""
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(get_service)]


class SearchForm(NamedTuple):
    """Parsed form fields of a search; `options` always contains `offset`."""

    k: int
    options: SearchOptions


async def parse_search_form(
    k: Annotated[int, Form(ge=1, le=1000, description="Number of results.")] = 20,
    offset: Annotated[int, Form(ge=0, le=LAST_RANK, description="Number of results to skip.")] = 0,
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
        Form(ge=0, allow_inf_nan=False, description="Maximum distance to the query."),
    ] = None,
    by_item: Annotated[
        Literal["best", "mean"] | None,
        Form(
            description="One result per item: items are ranked by the score of their best picture, "
            "or by the mean score of their three best."
        ),
    ] = None,
    rerank: Annotated[
        Literal["none", "expansion", "reciprocal"],
        Form(description="Nearest first (none), or re-ranked with neighbours in the index."),
    ] = "none",
) -> SearchForm:
    """Parse the form fields of a search."""
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
