"""For whoever runs it: GET /health, /ready, /metrics."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from siamese.server.errors import ApiError
from siamese.server.routes.search_form import answer, service_of
from siamese.server.schemas import Health, errors
from siamese.server.service import Service

router = APIRouter(tags=["operations"])


@router.get("/health", response_model=Health)
async def health() -> Response:
    """Whether the process lives: if not, start it anew."""
    return answer({"status": "ok"})


@router.get("/ready", response_model=Health, responses=errors(503))
async def ready(service: Annotated[Service, Depends(service_of)]) -> Response:
    """Whether to send requests: not any more once it is told to stop."""
    if not (service.ready and service.batcher.alive):
        raise ApiError(503, "stopping")
    return answer({"status": "ok"})


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {}}, "description": "For Prometheus."},
        **errors(401),
    },
)
async def metrics(service: Annotated[Service, Depends(service_of)]) -> Response:
    """Figures of requests, batches, the index and the process."""
    content = generate_latest(service.metrics.registry)
    return Response(content, media_type=CONTENT_TYPE_LATEST)
