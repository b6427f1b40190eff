"""Health checks and metrics for operators: GET /health, /ready, /metrics."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from siamese.server.errors import ApiError
from siamese.server.routes.search_form import ServiceDep
from siamese.server.schemas import Health, describe_errors

router = APIRouter(tags=["operations"])


@router.get("/health")
async def health() -> Health:
    """Report that the process is alive; if this request fails, restart the server."""
    return Health(status="ok")


@router.get("/ready", responses=describe_errors(503))
async def ready(service: ServiceDep) -> Health:
    """Report that the server is ready; return 503 if it is stopping or cannot embed."""
    if not (service.ready and service.batcher.is_alive):
        raise ApiError(503, "stopping")
    return Health(status="ok")


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {}}, "description": "Metrics for Prometheus."},
        **describe_errors(401),
    },
)
async def metrics(service: ServiceDep) -> Response:
    """Return Prometheus metrics of requests, batches, the index and the process."""
    content = generate_latest(service.metrics.registry)
    return Response(content, media_type=CONTENT_TYPE_LATEST)
