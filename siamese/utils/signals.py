"""Stop cleanly on Ctrl-C and on SIGTERM, which `docker stop` sends."""

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
"""Exit codes after Ctrl-C and SIGTERM."""

GRACE_SECONDS = 5.0
"""Maximum seconds from SIGTERM to the end of the process; `docker stop` kills it after ten."""


class Terminated(KeyboardInterrupt):
    """SIGTERM was received; code that cleans up after Ctrl-C also cleans up after this."""


@contextlib.contextmanager
def handle_stop_signals(message: str) -> Iterator[None]:
    """Clean up, print a message and exit if Ctrl-C or SIGTERM stops the block.

    Python handles a signal only between two of its own instructions. If one takes longer than
    `GRACE_SECONDS`, such as a large batch of a large model, SIGTERM ends the process without
    clean-up. Outside the main thread, which alone receives signals, SIGTERM is not handled.
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
    """Raise `Terminated` on SIGTERM, and end the process if that takes too long."""
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
        if signal.getsignal(signal.SIGTERM) is _raise_terminated:  # no SIGTERM
            signal.signal(signal.SIGTERM, handler)
        writer.close()


def _raise_terminated(signum: int, frame: object) -> NoReturn:
    # A second SIGTERM would interrupt the clean-up, or change the exit code.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated
