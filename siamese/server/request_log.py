"""The outermost layer: each request gets a name, safe headers, a line in the log, its figures."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from siamese.server.errors import error
from siamese.server.logs import LOGGER
from siamese.server.service import Service

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""On every answer: a browser runs nothing but the page's own files, and guesses no types."""


class Observed:
    """Logs and counts requests, and lets no exception out."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if re.fullmatch(r"[\w.-]{1,64}", given, re.A) else uuid.uuid4().hex
        started = time.perf_counter()
        status = 0

        async def with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if not self._service.ready:  # stopping: clients shall ask elsewhere
                    headers["Connection"] = "close"
            await send(message)

        problem = None
        try:
            await self._app(scope, receive, with_headers)
        except ClientDisconnect:
            status = status or 499
        except Exception as exception:
            problem = exception
            if not status:
                why = f"internal error; the log tells more under {request_id}"
                await error(500, why)(scope, receive, with_headers)
            else:
                raise  # an answer was cut off: only the end of the connection can tell
        finally:
            seconds = time.perf_counter() - started
            self._note(scope, status, seconds, request_id, problem)

    def _note(
        self,
        scope: Scope,
        status: int,
        seconds: float,
        request_id: str,
        problem: Exception | None,
    ) -> None:
        route = getattr(scope.get("route"), "path", "other")
        metrics = self._service.metrics
        metrics.requests.labels(route, str(status)).inc()
        metrics.request_seconds.labels(route).observe(seconds)
        client = scope.get("client")
        LOGGER.log(
            logging.INFO if problem is None else logging.ERROR,
            "request",
            exc_info=problem,
            extra={
                "fields": {
                    "request_id": request_id,
                    "client": client[0] if client else None,
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "ms": round(seconds * 1000, 1),
                }
            },
        )
