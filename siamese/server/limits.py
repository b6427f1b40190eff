"""What stands before every request: the API key, how many there are, how large, how long."""

from __future__ import annotations

import asyncio
import hmac

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from siamese.server.errors import error
from siamese.server.prometheus import Metrics
from siamese.server.settings import Limits

OPEN = frozenset({"/", "/about", "/docs", "/health", "/openapi.json", "/ready", "/search/health/"})
"""Paths that need no key, and are not counted: the page, which asks for the key, and probes."""

FORM_BYTES = 100_000
"""What fields and boundaries may take beside the pictures."""


def is_open(path: str) -> bool:
    """Whether a path needs no key."""
    return path in OPEN or path.startswith("/static/")


class ApiKey:
    """Lets in who has one of the keys, in ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``."""

    def __init__(self, app: ASGIApp, keys: tuple[str, ...], metrics: Metrics) -> None:
        self._app = app
        self._keys = [key.encode() for key in keys]
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        guarded = scope["type"] == "http" and self._keys and not is_open(scope["path"])
        if not guarded or self._is_known(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        self._metrics.refused.labels("key").inc()
        await _refuse(error(401, "give an API key"), scope, receive, send)

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        # All are compared, each in constant time: how long it takes tells nothing.
        encoded = given.encode("latin-1")
        return sum(hmac.compare_digest(encoded, key) for key in self._keys) > 0


class InFlight:
    """Turns away, at once, what comes while as many requests as allowed are being worked on."""

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics) -> None:
        self._app = app
        self._most = limits.in_flight
        self._metrics = metrics
        self._count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_open(scope["path"]) or scope["path"] == "/metrics":
            await self._app(scope, receive, send)
            return
        if self._count >= self._most:
            self._metrics.refused.labels("busy").inc()
            await _refuse(error(503, "too much to do; come again"), scope, receive, send)
            return
        self._count += 1
        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, send)
        finally:
            self._count -= 1
            self._metrics.in_flight.dec()


class Bounded:
    """Ends a request whose body is too large, or that takes too long."""

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics) -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._limits.upload_bytes + FORM_BYTES
        told = Headers(scope=scope).get("content-length", "0")
        read = 0
        too_large = not told.isdecimal() or int(told) > most
        whole = answering = False

        async def counted() -> Message:
            nonlocal read, too_large, whole
            message = await receive()
            read += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if read > most:
                too_large = True
                raise ClientDisconnect  # for the application there is no more
            return message

        async def noted(message: Message) -> None:
            nonlocal answering
            if not too_large:
                answering = True
                await send(message)

        try:
            if not too_large:
                async with asyncio.timeout(self._limits.seconds):
                    await self._app(scope, counted, noted)
        except ClientDisconnect:
            if not too_large:
                raise
        except TimeoutError:
            if answering:  # too late for another answer: the client sees the connection end
                raise
            self._metrics.refused.labels("time").inc()
            status, what = (503, "answer") if whole else (408, "upload")
            took = f"the {what} took more than {self._limits.seconds:g} seconds"
            await error(status, took)(scope, receive, send)
        if too_large and not answering:
            self._metrics.refused.labels("size").inc()
            why = f"more than {self._limits.upload_bytes:,} bytes"
            answer = error(413, why)
            await (answer(scope, receive, send) if whole else _refuse(answer, scope, receive, send))


async def _refuse(answer: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer without having read the body.

    Were it left unread, the connection would be reset, and with it what the client has not read
    of the answer. So what is on its way is thrown away first, as far as that is little; a client
    that waits to be told to go on (``Expect: 100-continue``) is answered at once.
    """
    if "expect" not in Headers(scope=scope):
        try:
            async with asyncio.timeout(2):
                read, more = 0, True
                while more and read < 20_000_000:
                    message = await receive()
                    read += len(message.get("body", b""))
                    more = message.get("more_body", False)
        except TimeoutError:
            pass
    await answer(scope, receive, send)
