"""Server process, from binding the socket to the last response."""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import uvicorn

from siamese.errors import InputError
from siamese.server.app import create_app
from siamese.server.logs import log, log_to_stderr
from siamese.server.service import Service
from siamese.utils.signals import INTERRUPTED, TERMINATED

SHUTDOWN_SECONDS = 5.0
"""Time to finish the last responses, beyond the maximum duration of a request."""

LAST_REQUESTS_SECONDS = 0.3
"""Time that the last clients to connect have for sending their requests."""


def bind_socket(host: str, port: int) -> socket.socket:
    """Bind a socket without listening yet, to report a port in use before slow work."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio disables Nagle's algorithm only if the protocol is IPPROTO_TCP. Otherwise, it delays
    # the second response on a connection by 40 ms, until the client's acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"--host {host} --port {port}: {reason}; choose another") from None
    return listener


def format_url(listener: socket.socket) -> str:
    """Return the URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(service: Service, listener: socket.socket) -> int:
    """Serve until a signal arrives, finish the accepted requests, and return the exit code.

    - SIGTERM: report that the server is not ready. For `drain_seconds`, still accept requests, but
      close each connection after its response; then accept no more.
    - SIGINT (Ctrl-C): stop accepting requests at once; a second one drops those in progress.
    - SIGHUP: reopen the index.
    """
    log_to_stderr()
    config = uvicorn.Config(
        create_app(service),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        timeout_keep_alive=75,  # longer than a load balancer's, which should close first
        timeout_graceful_shutdown=int(service.settings.limits.seconds + SHUTDOWN_SECONDS),
    )
    server = _Server(config, service)
    server.run([listener])
    log("stopped")
    return TERMINATED if server.stop_signal == signal.SIGTERM else INTERRUPTED


class _Server(uvicorn.Server):
    """Uvicorn server that drains on SIGTERM and loses no pending request on shutdown.

    Uvicorn has no hooks for this, so two of its methods are overridden.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.stop_signal: int | None = None
        self._service = service
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals as event-loop callbacks, which do not interrupt running code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._start, self._reload)
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept the queued connections, give them time to send a request, then shut down.

        Uvicorn alone would drop connections that are still in the listen queue, or whose request
        has not been read yet.
        """
        for listener in sockets or []:
            await _accept_all(listener)
        for server in self.servers:  # the asyncio servers that Uvicorn started
            server.close()
        await asyncio.sleep(LAST_REQUESTS_SECONDS)
        await super().shutdown(sockets)

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> None:
        await asyncio.to_thread(self._service.versions.reload)

    def _stop(self, number: int) -> None:
        log("stopping", signal=signal.Signals(number).name, pid=os.getpid())
        self._service.ready = False
        if self.stop_signal is None and number == signal.SIGTERM:
            self._start(self._drain)
        elif self.stop_signal == signal.SIGINT == number:
            self.force_exit = True
        else:
            self.should_exit = True
        self.stop_signal = self.stop_signal or number

    async def _drain(self) -> None:
        await asyncio.sleep(self._service.settings.drain_seconds)
        self.should_exit = True


async def _accept_all(listener: socket.socket) -> None:
    """Let asyncio accept all connections in a socket's queue and create their protocols.

    The caller must close the socket before yielding to the event loop.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SHUTDOWN_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        is_quiet = False
        while not is_quiet and loop.time() < deadline:
            # One iteration of the event loop accepts connections; the next creates their protocols.
            is_quiet = not selector.select(0)
            await asyncio.sleep(0)
            is_quiet = is_quiet and not selector.select(0)
