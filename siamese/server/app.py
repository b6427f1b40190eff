"""Web application: its routes and the middleware around them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from siamese.server.errors import add_error_handlers
from siamese.server.json_encoding import ApiResponse
from siamese.server.limits import (
    ApiKeyMiddleware,
    ConcurrencyLimitMiddleware,
    RequestLimitMiddleware,
)
from siamese.server.logs import log
from siamese.server.request_log import RequestLogMiddleware
from siamese.server.routes import catalogue, health, legacy, page, search
from siamese.server.service import Service
from siamese.version import __version__

DESCRIPTION = (
    'Search a catalogue by picture. Every error is `{"error": "one line"}`; a 503 says in '
    "Retry-After when to try again. If the server needs an API key, send it as `Authorization: "
    "Bearer KEY` or `X-API-Key: KEY`."
)


def create_app(service: Service) -> FastAPI:
    """Create the ASGI application for a service; it closes the service on shutdown."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(_watch_index(service))
        yield
        watching.cancel()
        service.close()

    app = FastAPI(
        title="Image similarity search",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        default_response_class=ApiResponse,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    for routes in (search, catalogue, health, legacy, page):
        app.include_router(routes.router)
    app.mount("/static", StaticFiles(directory=page.STATIC), "static")
    add_error_handlers(app)

    # The middleware added last is the outermost.
    settings, metrics = service.settings, service.metrics
    app.add_middleware(RequestLimitMiddleware, limits=settings.limits, metrics=metrics)
    app.add_middleware(ConcurrencyLimitMiddleware, limits=settings.limits, metrics=metrics)
    app.add_middleware(ApiKeyMiddleware, keys=settings.api_keys, metrics=metrics)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "X-API-Key"],
            expose_headers=["Retry-After", "X-Request-ID"],
        )
    app.add_middleware(RequestLogMiddleware, service=service)
    return app


async def _watch_index(service: Service) -> None:
    """Check every `watch_seconds` whether the index has changed."""
    seconds = service.settings.watch_seconds
    while seconds:
        await asyncio.sleep(seconds)
        # Use a separate thread, because opening an index must not delay requests.
        try:
            await asyncio.to_thread(service.versions.refresh)
        except Exception as error:  # whatever went wrong, the next check may succeed
            log("index not checked", logging.ERROR, reason=str(error))
