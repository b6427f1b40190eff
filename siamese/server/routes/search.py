"""Searching and embedding: POST /search, /search/similar-to/…, /embed."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, File, Form, Response, UploadFile

from siamese.search.searcher import QueryResult, Result
from siamese.server.errors import ApiError
from siamese.server.gallery import Gallery
from siamese.server.index_versions import IndexVersion
from siamese.server.routes.search_form import (
    SearchForm,
    answer,
    contents_of,
    parse_search_form,
    service_of,
)
from siamese.server.schemas import Embedding, Search, errors
from siamese.server.service import Service
from siamese.server.uploads import Crop

router = APIRouter(tags=["search"])
UPLOADED = errors(400, 401, 408, 413, 415, 422, 503)


@router.post("/search", response_model=Search, responses=UPLOADED)
async def search(
    image: Annotated[list[UploadFile], File(description="The picture; several of one thing.")],
    parse_search_form: Annotated[SearchForm, Depends(parse_search_form)],
    service: Annotated[Service, Depends(service_of)],
    crop: Annotated[
        str | None,
        Form(
            description="The part of the upright picture to search for: x,y,width,height in "
            "fractions, 0 to 1.",
            examples=["0.25,0.1,0.5,0.8"],
        ),
    ] = None,
) -> Response:
    """Find what looks like a picture.

    Several pictures are one query, by the mean of their vectors.
    """
    if crop and len(image) > 1:
        raise ApiError(422, "crop: belongs to one picture; send only that one")
    generation = service.current
    contents = await contents_of(image, service)
    vector = await service.embed(generation, contents, Crop.parse(crop) if crop else None)
    found = await service.search(generation, vector, parse_search_form.k, parse_search_form.options)
    name = " + ".join(upload.filename or "picture" for upload in image)
    return answer(_document(name, found, parse_search_form, generation, service.gallery))


@router.post(
    "/search/similar-to/{picture:path}",
    response_model=Search,
    responses=errors(400, 401, 404, 408, 413, 422, 503),
)
async def search_similar(
    picture: str,
    parse_search_form: Annotated[SearchForm, Depends(parse_search_form)],
    service: Annotated[Service, Depends(service_of)],
    exclude_own_item: Annotated[
        bool, Form(description="Leave out the other pictures of its item as well.")
    ] = False,
) -> Response:
    """Find what looks like a picture of the index, given by its filename or its row.

    That picture itself is not among the results; by item, its own item is not either.
    """
    generation = service.current
    found = await service.search_similar(
        generation, picture, parse_search_form.k, exclude_own_item, parse_search_form.options
    )
    return answer(_document(picture, found, parse_search_form, generation, service.gallery))


@router.post("/embed", response_model=Embedding, responses=UPLOADED)
async def embed(
    image: Annotated[UploadFile, File(description="The picture.")],
    service: Annotated[Service, Depends(service_of)],
) -> Response:
    """Turn a picture into its vector."""
    generation = service.current
    vector = await service.embed(generation, [await image.read()])
    fingerprint = generation.searcher.embedder.facts.fingerprint
    return answer({"embedding": vector.tolist(), "fingerprint": fingerprint})


def _document(
    query: str,
    found: QueryResult,
    parse_search_form: SearchForm,
    generation: IndexVersion,
    gallery: Gallery,
) -> dict[str, Any]:
    return {
        "query": query,
        "results": [_result(result, gallery) for result in found.results],
        "in_catalogue": found.in_catalogue,
        "threshold": generation.searcher.threshold,
        "k": parse_search_form.k,
        "offset": parse_search_form.offset,
        "index": generation.version,
    }


def _result(result: Result, gallery: Gallery) -> dict[str, Any]:
    return {
        **msgspec.to_builtins(result),
        "similarity": 1 - result.distance**2 / 2,
        "image_url": gallery.image_url(result.filename),
        "thumbnail_url": gallery.thumbnail_url(result.filename),
    }
