"""The fields of a search, as they come in a form."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from fastapi import Form, Request, Response, UploadFile

from siamese.indexes import LabelFilter
from siamese.search.searcher import SearchOptions
from siamese.server.errors import ApiError
from siamese.server.json_encoding import json_bytes
from siamese.server.service import Service

DEEPEST = 10_000
"""Rank of the last result that can be asked for: by item, each needs a dozen pictures looked at."""

_Labels = list[str]


class SearchForm(msgspec.Struct, frozen=True):
    """How many results are wanted, from which on, and all else that a search may be told."""

    k: int
    offset: int
    options: SearchOptions


async def parse_search_form(
    k: Annotated[int, Form(ge=1, le=1000, description="How many results.")] = 20,
    offset: Annotated[
        int, Form(ge=0, le=DEEPEST, description="How many of the first to leave out.")
    ] = 0,
    any_label: Annotated[
        _Labels | None, Form(description="Only pictures with at least one of these labels.")
    ] = None,
    every_label: Annotated[
        _Labels | None, Form(description="Only pictures with all of these labels.")
    ] = None,
    no_label: Annotated[
        _Labels | None, Form(description="No picture with any of these labels.")
    ] = None,
    max_distance: Annotated[
        float | None, Form(ge=0, allow_inf_nan=False, description="Nothing farther than this.")
    ] = None,
    by_item: Annotated[
        Literal["best", "mean"] | None,
        Form(description="A result an item, ranked by its best picture or its three best."),
    ] = None,
    rerank: Annotated[
        Literal["none", "expansion", "reciprocal"],
        Form(description="Nearest first, or a better order by the neighbours of what is found."),
    ] = "none",
) -> SearchForm:
    """Read what a search is told beside its pictures.

    Raises
    ------
    Refusal
        If results farther down than `DEEPEST` are asked for.
    """
    if offset + k > DEEPEST:
        raise ApiError(422, f"offset, k: {offset} + {k} results, limit {DEEPEST:,} together")
    labels = LabelFilter.from_lists(any_label or (), every_label or (), no_label or ())
    return SearchForm(
        k,
        offset,
        SearchOptions(
            offset=offset, labels=labels, max_distance=max_distance, by_item=by_item, rerank=rerank
        ),
    )


async def service_of(request: Request) -> Service:
    """The service that a request is for."""
    service: Service = request.app.state.service
    return service


async def contents_of(images: list[UploadFile], service: Service) -> list[bytes]:
    """The bytes of the pictures of a query.

    Raises
    ------
    Refusal
        If they are too many.
    """
    most = service.settings.limits.pictures
    if len(images) > most:
        raise ApiError(422, f"image: {len(images)} pictures, limit {most}")
    return [await image.read() for image in images]


def answer(document: object) -> Response:
    """A document as JSON."""
    return Response(json_bytes(document), media_type="application/json")
