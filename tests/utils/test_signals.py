"""Signals reach real processes here: one that can tidy up, and one that is deep in a long step."""

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

TIDY = """
import time
from siamese.utils.signals import handle_stop_signals
with handle_stop_signals("stopped; good bye"):
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("tidied up", flush=True)
"""

DEEP = """
import hashlib
from siamese.utils import signals as stopping
stopping.GRACE_SECONDS = 0.1
with stopping.handle_stop_signals("stopped; good bye"):
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # a single step, of many minutes
"""

HANGING = """
import threading, time
from siamese.utils import signals as stopping
stopping.GRACE_SECONDS = 0.1
threading.Thread(target=time.sleep, args=(600,)).start()  # the end waits for it
with stopping.handle_stop_signals("stopped; good bye"):
    print("ready", flush=True)
    time.sleep(60)
"""


def stopped(program: str, *signals: signal.Signals) -> tuple[int, str, list[str]]:
    """The exit code, what else it printed, and the lines on standard error."""
    # A process inherits what is ignored, and a shell's background ignores Ctrl-C.
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
    printed, told = process.communicate()
    return process.returncode, printed, told.splitlines()


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([signal.SIGTERM], 143),
        ([signal.SIGTERM] * 3, 143),
        ([signal.SIGINT], 130),
    ],
    ids=str,
)
def test_a_process_that_is_stopped_tidies_up(signals, code):
    assert stopped(TIDY, *signals) == (code, "tidied up\n", ["stopped; good bye"])


@pytest.mark.parametrize("program", [DEEP, HANGING])
def test_a_process_that_does_not_hear_ends_all_the_same(program):
    assert stopped(program, signal.SIGTERM) == (143, "", ["stopped; good bye"])


def test_everything_is_as_before_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    threads = set(threading.enumerate())
    with handle_stop_signals("not said"):
        assert signal.getsignal(signal.SIGTERM) != before
        (watcher,) = set(threading.enumerate()) - threads
    watcher.join()
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_errors_go_through(capsys):
    with pytest.raises(ZeroDivisionError), handle_stop_signals("not said"):
        1 // 0  # noqa: B018
    assert capsys.readouterr().err == ""


def test_in_another_thread_it_is_no_hindrance():
    done = []

    def work() -> None:
        with handle_stop_signals("not said"):
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
