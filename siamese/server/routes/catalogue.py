"""Contents of the index: GET /about, /labels, /items/…, /images/…, /thumbnails/…."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse

from siamese.errors import NotFoundError
from siamese.server.gallery import Gallery, detect_media_type, make_thumbnail
from siamese.server.index_versions import IndexVersion
from siamese.server.routes.search_form import ServiceDep
from siamese.server.schemas import About, Item, Label, Labels, Model, Picture, describe_errors
from siamese.server.service import Service

router = APIRouter(tags=["catalogue"])
CACHE_HEADERS = {"Cache-Control": "private, max-age=3600"}


@router.get("/about", responses=describe_errors(503))
async def about(service: ServiceDep) -> About:
    """Describe the served index, its model, and the limits on uploads."""
    version, settings = service.current, service.settings
    facts = version.searcher.embedder.facts
    return About(
        pictures=version.pictures,
        model=Model(
            name=facts.name,
            fingerprint=facts.fingerprint,
            embedding_size=facts.embedding_size,
            picture_size=facts.picture_size,
        ),
        threshold=version.searcher.threshold,
        index=version.id,
        images=settings.image_dir is not None,
        max_upload_bytes=settings.limits.upload_bytes,
        formats=list(settings.limits.formats),
        api_key=bool(settings.api_keys),
    )


@router.get("/labels", responses=describe_errors(401, 503))
async def labels(service: ServiceDep) -> Labels:
    """List all labels with their picture counts, the most frequent first."""
    counts = await service.in_pool(service.current.searcher.index.label_counts)
    return Labels(labels=[Label(label=label, pictures=n) for label, n in counts.items()])


@router.get("/items/{item_id:path}", responses=describe_errors(401, 404, 422, 503))
async def item(item_id: str, service: ServiceDep) -> Item:
    """Return an item and its pictures."""
    return await service.in_pool(_find_item, service.current, item_id, service.gallery)


@router.get(
    "/images/{filename:path}",
    response_class=FileResponse,
    responses={
        200: {"content": {"image/*": {}}, "description": "The original file."},
        **describe_errors(401, 404, 422, 503),
    },
)
async def image(filename: str, service: ServiceDep) -> FileResponse:
    """Return the original file of a picture in the index."""
    path = await service.in_pool(_path_of, service, filename)
    kind = await service.in_pool(detect_media_type, path)
    return FileResponse(path, media_type=kind, headers=CACHE_HEADERS)


@router.get(
    "/thumbnails/{filename:path}",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {}}, "description": "A JPEG thumbnail."},
        **describe_errors(401, 404, 422, 503),
    },
)
async def small_image(
    filename: str,
    service: ServiceDep,
    size: Annotated[
        int, Query(ge=16, le=1024, description="Maximum length of the longer side in pixels.")
    ] = 256,
) -> Response:
    """Return a thumbnail of a picture in the index."""
    content = await service.in_pool(lambda: make_thumbnail(_path_of(service, filename), size))
    return Response(content, media_type="image/jpeg", headers=CACHE_HEADERS)


def _path_of(service: Service, filename: str) -> Path:
    if not service.current.has_picture(filename):
        raise NotFoundError(f"{filename}: no such picture in the index")
    return service.gallery.find_file(filename)


def _find_item(version: IndexVersion, item_id: str, gallery: Gallery) -> Item:
    index = version.searcher.index
    rows = index.find(item_id=item_id)
    if not len(rows):
        raise NotFoundError(f"{item_id}: no such item in the index")
    metadata = index.metadata_of(rows)
    return Item(
        item_id=item_id,
        # Each picture repeats the labels of its item, so remove duplicates.
        labels=list(dict.fromkeys(label for picture in metadata for label in picture["labels"])),
        pictures=[
            Picture(
                row=int(row),
                filename=picture["filename"],
                image_url=gallery.url("images", picture["filename"]),
                thumbnail_url=gallery.url("thumbnails", picture["filename"]),
            )
            for row, picture in zip(rows, metadata, strict=True)
        ],
    )
