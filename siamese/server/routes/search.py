"""Endpoints to search and embed: POST /search, /search/similar-to/…, /embed."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, File, Form, UploadFile

from siamese.search.searcher import QueryResult
from siamese.server.errors import ApiError
from siamese.server.gallery import Gallery
from siamese.server.index_versions import IndexVersion
from siamese.server.routes.search_form import SearchForm, ServiceDep, parse_search_form
from siamese.server.schemas import Embedding, Found, Search, describe_errors
from siamese.server.uploads import Crop

router = APIRouter(tags=["search"])
UPLOAD_ERRORS = describe_errors(400, 401, 408, 413, 415, 422, 503)


@router.post("/search", responses=UPLOAD_ERRORS)
async def search(
    image: Annotated[
        list[UploadFile], File(description="A picture, or several pictures of the same object.")
    ],
    form: Annotated[SearchForm, Depends(parse_search_form)],
    service: ServiceDep,
    crop: Annotated[
        str | None,
        Form(
            description="Part of the upright picture to search for: x,y,width,height, as "
            "fractions of its width and height.",
            examples=["0.25,0.1,0.5,0.8"],
        ),
    ] = None,
) -> Search:
    """Find pictures similar to a picture, or to several pictures of the same object.

    Several pictures form a single query, the mean of their vectors.
    """
    if crop and len(image) > 1:
        raise ApiError(422, "crop: applies to a single picture; send only one")
    limit = service.settings.limits.pictures
    if len(image) > limit:
        raise ApiError(422, f"image: {len(image)} pictures, limit {limit}")
    version = service.current
    contents = [await upload.read() for upload in image]
    vector = await service.embed(version, contents, Crop.parse(crop) if crop else None)
    (found,) = await service.search(
        version, lambda searcher: searcher.search_vectors(vector[None], form.k, **form.options)
    )
    name = " + ".join(upload.filename or "picture" for upload in image)
    return _document(name, found, form, version, service.gallery)


@router.post(
    "/search/similar-to/{picture:path}",
    responses=describe_errors(400, 401, 404, 408, 413, 422, 503),
)
async def search_similar(
    picture: str,
    form: Annotated[SearchForm, Depends(parse_search_form)],
    service: ServiceDep,
    exclude_own_item: Annotated[
        bool, Form(description="Also leave out other pictures of the same item.")
    ] = False,
) -> Search:
    """Find pictures similar to a picture in the index, given by its filename or row.

    The picture itself is never among the results. With by_item, its item is left out too.
    """
    version = service.current
    found = await service.search(
        version,
        lambda searcher: searcher.search_similar(
            picture, form.k, exclude_own_item=exclude_own_item, **form.options
        ),
    )
    return _document(picture, found, form, version, service.gallery)


@router.post("/embed", responses=UPLOAD_ERRORS)
async def embed(
    image: Annotated[UploadFile, File(description="Picture to embed.")], service: ServiceDep
) -> Embedding:
    """Return a picture's vector."""
    version = service.current
    vector = await service.embed(version, [await image.read()])
    fingerprint = version.searcher.embedder.facts.fingerprint
    return Embedding(embedding=vector.tolist(), fingerprint=fingerprint)


def _document(
    query: str, found: QueryResult, form: SearchForm, version: IndexVersion, gallery: Gallery
) -> Search:
    return Search(
        query=query,
        results=[
            Found(
                **msgspec.structs.asdict(result),
                similarity=1 - result.distance**2 / 2,
                image_url=gallery.url("images", result.filename),
                thumbnail_url=gallery.url("thumbnails", result.filename),
            )
            for result in found.results
        ],
        in_catalogue=found.in_catalogue,
        threshold=version.searcher.threshold,
        k=form.k,
        offset=form.options["offset"],
        index=version.id,
    )
