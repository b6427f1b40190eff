"""Clean exit on Ctrl-C and on SIGTERM, which `docker stop` sends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after Ctrl-C and after SIGTERM."""

GRACE_SECONDS = 5.0
"""Maximum seconds from SIGTERM to process exit; `docker stop` kills the process after ten."""


class Terminated(KeyboardInterrupt):
    """Exception raised on SIGTERM; code that handles Ctrl-C handles it too."""


@contextlib.contextmanager
def handle_stop_signals(message: str) -> Iterator[None]:
    """Print a message and exit if Ctrl-C or SIGTERM interrupts the block, after its clean-up.

    Python cannot interrupt a call into native code, such as a large model's prediction. A process
    that is still running `GRACE_SECONDS` after SIGTERM is therefore ended without further
    clean-up. SIGTERM is handled only if this is called in the main thread.
    """
    printed = threading.Event()
    with _raise_on_sigterm(printed, message):
        try:
            yield
        except KeyboardInterrupt as stop:
            printed.set()
            print(message, file=sys.stderr, flush=True)
            sys.exit(TERMINATED if isinstance(stop, Terminated) else INTERRUPTED)


@contextlib.contextmanager
def _raise_on_sigterm(printed: threading.Event, message: str) -> Iterator[None]:
    """Raise `Terminated` on SIGTERM, and end the process after `GRACE_SECONDS` at the latest."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def watch() -> None:
        with reader:
            while (received := reader.recv(1)) != bytes([signal.SIGTERM]):
                if not received:  # the block has ended
                    return
            time.sleep(GRACE_SECONDS)
            if not printed.is_set():
                os.write(2, f"{message}\n".encode())
            os._exit(TERMINATED)

    handler = signal.signal(signal.SIGTERM, _raise_terminated)
    descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor)
        if signal.getsignal(signal.SIGTERM) is _raise_terminated:  # no SIGTERM was received
            signal.signal(signal.SIGTERM, handler)
        writer.close()


def _raise_terminated(signum: int, frame: object) -> NoReturn:
    # Ignore further SIGTERMs, which would interrupt the clean-up or change the exit code.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated
