"""One process that serves: from the socket to the last answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any
from urllib.parse import urlunsplit

import uvicorn

from siamese.errors import InputError
from siamese.server.app import create_app
from siamese.server.logs import log, log_to_stderr
from siamese.server.service import Service
from siamese.utils.signals import INTERRUPTED, TERMINATED

LAST_SECONDS = 5.0
"""Beside a request's own time, for the last ones before the end."""
LAST_WORDS_SECONDS = 0.3
"""For what the last ones to connect have to say."""


def bind_socket(host: str, port: int) -> socket.socket:
    """Take the address, before anything that takes long; nobody is let in yet.

    Raises
    ------
    InputError
        If there is no such address here, or it is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off for sockets that are said to be of TCP, and no others;
    # with it, the second answer on a connection waits 40 ms for the client to confirm its head.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"--host {host} --port {port}: {reason}; choose another") from None
    return listener


def url_of(listener: socket.socket) -> str:
    """The address that a socket has."""
    host, port = listener.getsockname()[:2]
    return urlunsplit(("http", f"[{host}]:{port}" if ":" in host else f"{host}:{port}", "", "", ""))


def serve(service: Service, listener: socket.socket) -> int:
    """Serve until told to stop, then answer what was accepted.

    SIGTERM: not ready any more, `drain_seconds` during which requests are still taken and
    connections are closed after their answers, then nothing new. Ctrl-C: nothing new at once.
    SIGHUP: open the index again.

    Returns
    -------
    The exit code.
    """
    log_to_stderr()
    config = uvicorn.Config(
        create_app(service),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        timeout_keep_alive=75,  # longer than load balancers keep theirs, which are to close first
        timeout_graceful_shutdown=int(service.settings.limits.seconds + LAST_SECONDS),
    )
    server = _Server(config, service)
    server.run([listener])
    log("stopped")
    return TERMINATED if server.told == signal.SIGTERM else INTERRUPTED


class _Server(uvicorn.Server):
    """Hears signals through the event loop, so that nothing is broken off where it stands."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.told: int | None = None
        self._service = service
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._start, self._reload)
        yield

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> None:
        await asyncio.to_thread(self._service.versions.reload)

    def _stop(self, number: int) -> None:
        log("stopping", signal=signal.Signals(number).name, pid=os.getpid())
        self._service.ready = False
        if self.told is None and number == signal.SIGTERM:
            self._start(self._drain)
        elif self.told == signal.SIGINT == number:
            self.force_exit = True
        else:
            self.should_exit = True
        self.told = self.told or number

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take in who has connected already, then close.

        By itself uvicorn would drop connections that the system has taken and nobody has read
        from yet. To their clients those requests are accepted.
        """
        loop = asyncio.get_running_loop()
        for listener in sockets or []:
            loop.remove_reader(listener)
            await asyncio.sleep(0)  # those just taken become connections
            with contextlib.suppress(BlockingIOError):
                while True:
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    await loop.connect_accepted_socket(self._protocol, connection)
        for server in self.servers:
            server.close()
        await asyncio.sleep(LAST_WORDS_SECONDS)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = kind(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    async def _drain(self) -> None:
        await asyncio.sleep(self._service.settings.drain_seconds)
        self.should_exit = True
