"""The older search server's two paths, so that its clients can move over unchanged."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Response, UploadFile
from fastapi.responses import HTMLResponse

from siamese.search.searcher import SearchOptions
from siamese.server.legacy_classifier import classify
from siamese.server.routes.search_form import answer, service_of
from siamese.server.schemas import Health, OlderSearch, errors
from siamese.server.service import Service
from siamese.utils.templates import render

router = APIRouter(tags=["older server"])


@router.post(
    "/search/image/",
    response_model=OlderSearch,
    responses={
        200: {"content": {"text/html": {}}, "description": "JSON, or a page."},
        **errors(400, 401, 408, 413, 415, 422, 503),
    },
)
async def search_image(
    image: Annotated[UploadFile, File(description="The picture.")],
    service: Annotated[Service, Depends(service_of)],
    rows: Annotated[int, Form(ge=1, le=1000, description="How many results.")] = 20,
    format: Annotated[Literal["json", "html"], Form(description="Of the answer.")] = "json",
) -> Response:
    """Find what looks like a picture, with the older server's words.

    Classifications are there only where the model is the pretrained default.
    """
    generation = service.current
    content = await image.read()
    vector = await service.embed(generation, [content])
    found = await service.search(generation, vector, rows, SearchOptions())
    classes = await service.in_pool(
        classify, generation.searcher.embedder.facts, content, service.settings.limits
    )
    document: dict[str, Any] = {
        "results": [
            {
                "distance": result.distance,
                "filename": result.filename,
                "item_id": result.item_id,
                "image_url": service.gallery.image_url(result.filename),
            }
            for result in found.results
        ],
        "classifications": [{"name": name, "score": score} for name, score in classes],
    }
    if format == "html":
        return HTMLResponse(render("siamese.server", "server_older.html", **document))
    return answer(document)


@router.get("/search/health/", response_model=Health)
async def search_health() -> Response:
    """Whether it is there."""
    return answer({"status": "UP"})
