"""What the index holds: GET /about, /labels, /items/…, /images/…, /thumbnails/…."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import FileResponse

from siamese.server.errors import ApiError
from siamese.server.gallery import media_type, thumbnail
from siamese.server.index_versions import IndexVersion
from siamese.server.routes.search_form import answer, service_of
from siamese.server.schemas import About, Item, Labels, errors
from siamese.server.service import Service

router = APIRouter(tags=["catalogue"])
CACHED = {"Cache-Control": "private, max-age=3600"}


@router.get("/about", response_model=About, responses=errors(503))
async def about(service: Annotated[Service, Depends(service_of)]) -> Response:
    """What is served, and what a client must keep to."""
    generation, settings = service.current, service.settings
    facts = generation.searcher.embedder.facts
    return answer(
        {
            "pictures": generation.pictures,
            "model": {
                "name": facts.name,
                "fingerprint": facts.fingerprint,
                "embedding_size": facts.embedding_size,
                "picture_size": facts.picture_size,
            },
            "threshold": generation.searcher.threshold,
            "index": generation.version,
            "images": settings.image_dir is not None,
            "max_upload_bytes": settings.limits.upload_bytes,
            "formats": settings.limits.formats,
            "api_key": bool(settings.api_keys),
        }
    )


@router.get("/labels", response_model=Labels, responses=errors(401, 503))
async def labels(service: Annotated[Service, Depends(service_of)]) -> Response:
    """All labels, the most frequent first."""
    counts = await service.in_pool(service.current.searcher.index.label_counts)
    return answer({"labels": [{"label": label, "pictures": n} for label, n in counts.items()]})


@router.get("/items/{item_id:path}", response_model=Item, responses=errors(401, 404, 422, 503))
async def item(item_id: str, service: Annotated[Service, Depends(service_of)]) -> Response:
    """An item with its pictures."""
    return answer(await service.in_pool(_item, service.current, item_id, service))


@router.get(
    "/images/{filename:path}",
    response_class=FileResponse,
    responses={
        200: {"content": {"image/*": {}}, "description": "The file as it is."},
        **errors(401, 404, 422, 503),
    },
)
async def image(filename: str, service: Annotated[Service, Depends(service_of)]) -> Response:
    """A picture of the index, as it is."""
    path = await service.in_pool(_path, service, filename)
    kind = await service.in_pool(media_type, path)
    return FileResponse(path, media_type=kind, headers=CACHED)


@router.get(
    "/thumbnails/{filename:path}",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {}}, "description": "A JPEG."},
        **errors(401, 404, 422, 503),
    },
)
async def small_image(
    filename: str,
    service: Annotated[Service, Depends(service_of)],
    size: Annotated[int, Query(ge=16, le=1024, description="Pixels of the longer side.")] = 256,
) -> Response:
    """A picture of the index, made smaller."""
    content = await service.in_pool(lambda: thumbnail(_path(service, filename), size))
    return Response(content, media_type="image/jpeg", headers=CACHED)


def _path(service: Service, filename: str) -> Any:
    if not service.current.has(filename):
        raise ApiError(404, f"{filename}: no such picture in the index")
    return service.gallery.path_of(filename)


def _item(generation: IndexVersion, item_id: str, service: Service) -> dict[str, Any]:
    index = generation.searcher.index
    rows = index.find(item_id=item_id)
    if not len(rows):
        raise ApiError(404, f"{item_id}: no such item in the index")
    pictures = index.metadata_of(rows)
    return {
        "item_id": item_id,
        # Those of an item belong to all of its pictures; each once, in their order.
        "labels": list(dict.fromkeys(label for of in pictures for label in of["labels"])),
        "pictures": [
            {
                "row": int(row),
                "filename": of["filename"],
                "image_url": service.gallery.image_url(of["filename"]),
                "thumbnail_url": service.gallery.thumbnail_url(of["filename"]),
            }
            for row, of in zip(rows, pictures, strict=True)
        ],
    }
