"""Outermost middleware, for request IDs, security headers, log lines and metrics."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from siamese.server.errors import error_response
from siamese.server.logs import LOGGER
from siamese.server.service import Service

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Default response headers: browsers run only this server's scripts and never sniff types."""


class RequestLogMiddleware:
    """Middleware that logs and counts requests, and answers unexpected exceptions with a 500."""

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

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if not self._service.ready:  # shutting down: make clients reconnect elsewhere
                    headers["Connection"] = "close"
            await send(message)

        problem = None
        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = status or 499
        except Exception as exception:
            problem = exception
            if status:  # too late for an error response; close the connection
                raise
            reason = f"internal error; see the log for {request_id}"
            await error_response(500, reason)(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - started
            self._record(scope, status, seconds, request_id, problem)

    def _record(
        self,
        scope: Scope,
        status: int,
        seconds: float,
        request_id: str,
        problem: Exception | None,
    ) -> None:
        # Use the route, not the path, because a Prometheus label must have few values.
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
