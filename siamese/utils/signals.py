"""Ctrl-C, and SIGTERM as `docker stop` sends it: one line, everything tidied up, an exit code."""

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
"""Exit code: stopped with Ctrl-C."""

TERMINATED = 143
"""Exit code: stopped with SIGTERM."""

GRACE_SECONDS = 5.0
"""From SIGTERM to the end, come what may: `docker stop` kills after ten."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came. Whatever tidies up after Ctrl-C tidies up after this."""


@contextlib.contextmanager
def handle_stop_signals(last_words: str) -> Iterator[None]:
    """End the process with `last_words` on standard error when it is told to stop.

    SIGTERM is raised as `Terminated` in the main thread, and exits with 143; Ctrl-C exits with
    130. Python hears a signal only between two of its own steps: where one step, such as a large
    batch of a large model, takes longer than `GRACE_SECONDS`, the process ends without it.

    Only the main thread can hear signals; in another this does nothing for SIGTERM.
    """
    said = threading.Event()

    def say() -> None:
        said.set()
        print(last_words, file=sys.stderr, flush=True)

    with _terminable(said, last_words):
        try:
            yield
        except Terminated:
            say()
            sys.exit(TERMINATED)
        except KeyboardInterrupt:
            say()
            sys.exit(INTERRUPTED)


@contextlib.contextmanager
def _terminable(said: threading.Event, last_words: str) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def watch() -> None:
        with reader:
            while heard := reader.recv(1):
                if heard[0] == signal.SIGTERM:
                    break
            else:
                return
            time.sleep(GRACE_SECONDS)
            if not said.is_set():
                os.write(2, f"{last_words}\n".encode())
            os._exit(TERMINATED)

    handler = signal.signal(signal.SIGTERM, _raise)
    descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor)
        if signal.getsignal(signal.SIGTERM) is _raise:  # not raised: the process goes on
            signal.signal(signal.SIGTERM, handler)
        writer.close()


def _raise(signum: int, frame: object) -> NoReturn:
    # Once is enough: a second one would break into the tidying up, or change the exit code.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated
