"""Middleware that checks API keys and limits the number, size and duration of requests."""

from __future__ import annotations

import asyncio
import hmac

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from siamese.server.errors import error_response
from siamese.server.prometheus import Metrics
from siamese.server.settings import Limits

PUBLIC_PATHS = frozenset(
    {"/", "/about", "/docs", "/health", "/openapi.json", "/ready", "/search/health/"}
)
"""Paths that need no API key and are exempt from the limit on concurrent requests."""

FORM_BYTES = 100_000
"""Maximum size of a form's fields and boundaries, in addition to the pictures."""

DISCARD_SECONDS = 2.0
DISCARD_BYTES = 20_000_000
"""Limits on reading the rest of a refused request; see `_refuse`."""


def is_public(path: str) -> bool:
    """Return whether a path needs no API key."""
    return path in PUBLIC_PATHS or path.startswith("/static/")


class ApiKeyMiddleware:
    """Middleware that requires a key as a Bearer token or X-API-Key, if any keys are configured."""

    def __init__(self, app: ASGIApp, keys: tuple[str, ...], metrics: Metrics) -> None:
        self._app = app
        self._keys = [key.encode() for key in keys]
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        needs_key = scope["type"] == "http" and self._keys and not is_public(scope["path"])
        if not needs_key or self._has_key(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        self._metrics.refused.labels("key").inc()
        await _refuse(error_response(401, "give an API key"), scope, receive, send)

    def _has_key(self, headers: Headers) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        # Compare with every key in constant time, so that timing reveals nothing about the keys.
        encoded = given.encode("latin-1")
        return sum(hmac.compare_digest(encoded, key) for key in self._keys) > 0


class ConcurrencyLimitMiddleware:
    """Middleware that refuses new requests while the maximum number is being handled."""

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics) -> None:
        self._app = app
        self._limit = limits.in_flight
        self._metrics = metrics
        self._count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_public(scope["path"]) or scope["path"] == "/metrics":
            await self._app(scope, receive, send)
            return
        if self._count >= self._limit:
            self._metrics.refused.labels("busy").inc()
            busy = error_response(503, "the server is busy; try again later")
            await _refuse(busy, scope, receive, send)
            return
        self._count += 1
        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, send)
        finally:
            self._count -= 1
            self._metrics.in_flight.dec()


class RequestLimitMiddleware:
    """Middleware that ends requests that have too large a body or take too long."""

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics) -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        max_bytes = self._limits.upload_bytes + FORM_BYTES
        content_length = Headers(scope=scope).get("content-length", "0")
        is_too_large = not content_length.isdecimal() or int(content_length) > max_bytes
        bytes_read = 0
        is_body_complete = has_started_response = False

        async def limited_receive() -> Message:
            nonlocal bytes_read, is_too_large, is_body_complete
            message = await receive()
            bytes_read += len(message.get("body", b""))
            is_body_complete = not message.get("more_body", False)
            if bytes_read > max_bytes:
                is_too_large = True
                raise ClientDisconnect  # makes the application stop reading
            return message

        async def tracked_send(message: Message) -> None:
            nonlocal has_started_response
            if not is_too_large:
                has_started_response = True
                await send(message)

        try:
            if not is_too_large:
                async with asyncio.timeout(self._limits.seconds):
                    await self._app(scope, limited_receive, tracked_send)
        except ClientDisconnect:
            if not is_too_large:
                raise
        except TimeoutError:
            if has_started_response:  # too late for an error response; close the connection
                raise
            self._metrics.refused.labels("time").inc()
            status, what = (503, "answer") if is_body_complete else (408, "upload")
            reason = f"the {what} took more than {self._limits.seconds:g} seconds"
            await error_response(status, reason)(scope, receive, send)
        if is_too_large and not has_started_response:
            self._metrics.refused.labels("size").inc()
            response = error_response(413, f"more than {self._limits.upload_bytes:,} bytes")
            if is_body_complete:
                await response(scope, receive, send)
            else:
                await _refuse(response, scope, receive, send)


async def _refuse(response: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a response to a request whose body has not been fully read.

    Closing a connection with unread data would reset it, and the client might lose the response.
    To avoid this, the rest of the body is first read and discarded, up to a limit. A client that
    waits for permission to send the body (``Expect: 100-continue``) gets the response at once.
    """
    if "expect" not in Headers(scope=scope):
        try:
            async with asyncio.timeout(DISCARD_SECONDS):
                bytes_read, has_more = 0, True
                while has_more and bytes_read < DISCARD_BYTES:
                    message = await receive()
                    bytes_read += len(message.get("body", b""))
                    has_more = message.get("more_body", False)
        except TimeoutError:
            pass
    await response(scope, receive, send)
