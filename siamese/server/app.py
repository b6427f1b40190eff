"""The application: routes, and the guards around them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from siamese.errors import InputError, NotFoundError, UnavailableError
from siamese.server.errors import (
    ApiError,
    away,
    http_error,
    input_error,
    invalid,
    not_found,
    refused,
)
from siamese.server.limits import ApiKey, Bounded, InFlight
from siamese.server.logs import log
from siamese.server.request_log import Observed
from siamese.server.routes import catalogue, operations
from siamese.server.routes import legacy as older
from siamese.server.routes import search as searching
from siamese.server.routes.page import add_page
from siamese.server.service import Service
from siamese.version import __version__

DESCRIPTION = (
    'Search a catalogue by picture. Every error is `{"error": "one line"}`; 503 says with '
    "Retry-After when to come again. Where a key must be given, it goes in `Authorization: Bearer "
    "KEY` or `X-API-Key: KEY`."
)


def create_app(service: Service) -> FastAPI:
    """Make the ASGI application of a service.

    It closes the service when it ends.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(_watch(service))
        yield
        watching.cancel()
        service.close()

    app = FastAPI(
        title="Image similarity search",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    for routes in (searching, catalogue, operations, older):
        app.include_router(routes.router)
    add_page(app)
    app.add_exception_handler(ApiError, refused)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, http_error)  # type: ignore[arg-type]
    app.add_exception_handler(InputError, input_error)  # type: ignore[arg-type]
    app.add_exception_handler(UnavailableError, away)  # type: ignore[arg-type]
    app.add_exception_handler(NotFoundError, not_found)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, invalid)  # type: ignore[arg-type]

    # The last one added is met first.
    settings, metrics = service.settings, service.metrics
    app.add_middleware(Bounded, limits=settings.limits, metrics=metrics)
    app.add_middleware(InFlight, limits=settings.limits, metrics=metrics)
    app.add_middleware(ApiKey, keys=settings.api_keys, metrics=metrics)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "X-API-Key"],
            expose_headers=["Retry-After", "X-Request-ID"],
        )
    app.add_middleware(Observed, service=service)
    return app


async def _watch(service: Service) -> None:
    """Keep up with the index."""
    seconds = service.settings.watch_seconds
    while seconds:
        await asyncio.sleep(seconds)
        # In a thread of its own: to open an index must not hold up the requests.
        try:
            await asyncio.to_thread(service.generations.keep_up)
        except Exception as error:  # whatever it is, the next look may go well
            log("index not looked at", logging.ERROR, reason=str(error))
