"""Endpoints of the older search server, kept so that its clients still work unchanged."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, File, Form, Response, UploadFile
from fastapi.responses import HTMLResponse

from siamese.server.legacy_classifier import classify
from siamese.server.routes.search_form import ServiceDep
from siamese.server.schemas import Classification, Health, OlderFound, OlderSearch, describe_errors
from siamese.utils.templates import render

router = APIRouter(tags=["older server"])


@router.post(
    "/search/image/",
    response_model=OlderSearch,
    responses={
        200: {"content": {"text/html": {}}, "description": "JSON or an HTML page."},
        **describe_errors(400, 401, 408, 413, 415, 422, 503),
    },
)
async def search_image(
    image: Annotated[UploadFile, File(description="Picture to search for.")],
    service: ServiceDep,
    rows: Annotated[int, Form(ge=1, le=1000, description="Number of results.")] = 20,
    format: Annotated[Literal["json", "html"], Form(description="Response format.")] = "json",
) -> OlderSearch | Response:
    """Find similar pictures, using the older search server's form fields and response.

    Classifications are empty unless the served model is the pretrained default.
    """
    version = service.current
    content = await image.read()
    vector = await service.embed(version, [content])
    (found,) = await service.search(
        version, lambda searcher: searcher.search_vectors(vector[None], rows)
    )
    classes = await service.in_pool(
        classify, version.searcher.embedder.facts, content, service.settings.limits
    )
    document = OlderSearch(
        results=[
            OlderFound(
                distance=result.distance,
                filename=result.filename,
                item_id=result.item_id,
                image_url=service.gallery.url("images", result.filename),
            )
            for result in found.results
        ],
        classifications=[Classification(name=name, score=score) for name, score in classes],
    )
    if format == "html":
        page = render("siamese.server", "legacy_results.html", **document.model_dump())
        return HTMLResponse(page)
    return document


@router.get("/search/health/")
async def search_health() -> Health:
    """Report that the server is running."""
    return Health(status="UP")
