"""Stop cleanly on Ctrl-C, and on SIGTERM as `docker stop` sends it."""

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

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

TERMINATED = 143
"""Exit code after SIGTERM."""

GRACE_SECONDS = 5.0
"""Seconds from SIGTERM to the end of the process at the latest; `docker stop` kills after ten."""


class Terminated(KeyboardInterrupt):
    """SIGTERM was received. Code that cleans up after Ctrl-C also cleans up after this."""


@contextlib.contextmanager
def handle_stop_signals(message: str) -> Iterator[None]:
    """Print a message and exit when a signal stops the block.

    SIGTERM raises `Terminated` in the main thread and exits with 143, Ctrl-C exits with 130.
    Python handles a signal only between two of its own instructions. If one takes longer than
    `GRACE_SECONDS`, such as a large batch of a large model, the process ends without clean-up.

    Only the main thread receives signals: in any other thread, SIGTERM is not handled.

    Parameters
    ----------
    message : str
        The line for standard error.
    """
    printed = threading.Event()

    def print_message() -> None:
        printed.set()
        print(message, file=sys.stderr, flush=True)

    with _raise_on_sigterm(printed, message):
        try:
            yield
        except Terminated:
            print_message()
            sys.exit(TERMINATED)
        except KeyboardInterrupt:
            print_message()
            sys.exit(INTERRUPTED)


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
            while received := reader.recv(1):
                if received[0] == signal.SIGTERM:
                    break
            else:
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
        if signal.getsignal(signal.SIGTERM) is _raise_terminated:  # no SIGTERM: restore
            signal.signal(signal.SIGTERM, handler)
        writer.close()


def _raise_terminated(signum: int, frame: object) -> NoReturn:
    # A second SIGTERM would interrupt the clean-up, or change the exit code.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated
