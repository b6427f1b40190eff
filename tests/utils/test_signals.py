"""Send signals to real processes: one that can clean up, and some that cannot react."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from siamese.utils.signals import handle_stop_signals

ROOT = Path(__file__).resolve().parents[2]

CLEAN_UP = """
import time
from siamese.utils.signals import handle_stop_signals
with handle_stop_signals("stopped; goodbye"):
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)
"""

BUSY = """
import hashlib
from siamese.utils import signals
signals.GRACE_SECONDS = 0.1
with signals.handle_stop_signals("stopped; goodbye"):
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # takes many minutes
"""

WAITING = """
import threading, time
from siamese.utils import signals
signals.GRACE_SECONDS = 0.1
threading.Thread(target=time.sleep, args=(600,)).start()  # exit waits for it
with signals.handle_stop_signals("stopped; goodbye"):
    print("ready", flush=True)
    time.sleep(60)
"""


def run_and_signal(program: str, *signals: signal.Signals) -> tuple[int, str, list[str]]:
    """Return the exit code, standard output and the lines of standard error."""
    # A process inherits ignored signals, and background jobs of a shell ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for number in signals:
        process.send_signal(number)
    output, errors = process.communicate()
    return process.returncode, output, errors.splitlines()


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([signal.SIGTERM], 143),
        ([signal.SIGTERM] * 3, 143),
        ([signal.SIGINT], 130),
    ],
    ids=str,
)
def test_stopped_process_cleans_up(signals, code):
    assert run_and_signal(CLEAN_UP, *signals) == (code, "cleaned up\n", ["stopped; goodbye"])


@pytest.mark.parametrize("program", [BUSY, WAITING])
def test_process_that_cannot_react_ends_anyway(program):
    assert run_and_signal(program, signal.SIGTERM) == (143, "", ["stopped; goodbye"])


def test_handlers_are_restored():
    before = signal.getsignal(signal.SIGTERM)
    threads = set(threading.enumerate())
    with handle_stop_signals("not printed"):
        assert signal.getsignal(signal.SIGTERM) != before
        (watcher,) = set(threading.enumerate()) - threads
    watcher.join()
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_errors_pass_through(capsys):
    with pytest.raises(ZeroDivisionError), handle_stop_signals("not printed"):
        1 // 0  # noqa: B018
    assert capsys.readouterr().err == ""


def test_other_threads_are_unaffected():
    done = []

    def work() -> None:
        with handle_stop_signals("not printed"):
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
