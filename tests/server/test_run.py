"""A real process under load: replaced indexes and the end lose nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from siamese.errors import InputError
from siamese.server.run import bind_socket
from siamese.utils.signals import INTERRUPTED, TERMINATED
from tests.conftest import ROOT
from tests.server.conftest import COLOURS, encoded, write_index

CLIENTS = 16


class Process:
    """A server, and what it says."""

    def __init__(self, folder: Path, drain: float) -> None:
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.server.process", folder, str(drain)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()
        assert self.url, self.log.read_text()
        self.wait_for(lambda: httpx.get(f"{self.url}/ready").status_code == 200)

    def wait_for(self, holds: Callable[[], bool]) -> None:
        for _ in range(1200):
            try:
                if holds():
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["event"] == name]


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Process]]:
    started = []

    def start(drain: float = 0.5) -> Process:
        started.append(Process(folder, drain))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
        one.process.stdout.close()


class Load:
    """Clients that search until nobody is there, half of them on a new connection each time."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[httpx.Response] = []
        self.lost: list[str] = []
        self.stop = threading.Event()
        self.threads = [
            threading.Thread(target=self._ask, args=[bool(number % 2)]) for number in range(CLIENTS)
        ]
        for thread in self.threads:
            thread.start()

    def _ask(self, keep: bool) -> None:
        content = encoded((230, 30, 30))
        headers = {} if keep else {"Connection": "close"}
        with httpx.Client(timeout=60, headers=headers) as client:
            while not self.stop.is_set():
                try:
                    files = {"image": ("a.png", content)}
                    answer = client.post(f"{self.url}/search", files=files, data={"k": 12})
                    self.answers.append(answer)
                except httpx.ConnectError:  # nobody there any more: that one was not accepted
                    return
                except httpx.HTTPError as error:
                    self.lost.append(repr(error))

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(60)


def versions(answers: list[httpx.Response]) -> set[tuple[str, str]]:
    """Return which index each answer names, with which prefix of its items; one prefix each."""
    seen = set()
    for answer in answers:
        assert answer.status_code == 200
        document = answer.json()
        prefixes = {result["item_id"].rpartition("/")[0] for result in document["results"]}
        assert len(document["results"]) == len(COLOURS)
        assert len(prefixes) == 1  # never a mixture
        seen.add((document["index"], *prefixes))
    return seen


@pytest.mark.slow
def test_a_replaced_index_is_served_and_no_answer_is_lost_or_mixed(start, folder):
    server = start()
    load = Load(server.url)
    server.wait_for(lambda: len(load.answers) > CLIENTS)
    for number in range(1, 4):
        before = len(server.events("index reloaded"))
        write_index(folder / "search_index.pkl", prefix=f"{number}/")
        server.wait_for(lambda before=before: len(server.events("index reloaded")) > before)
        count = len(load.answers)
        server.wait_for(lambda count=count: len(load.answers) > count + 2 * CLIENTS)
    load.end()
    assert load.lost == []
    seen = versions(load.answers)
    assert {prefix for _, prefix in seen} == {"", "1", "2", "3"}
    assert len(seen) == 4


@pytest.mark.slow
def test_a_broken_index_is_told_of_and_the_old_one_stays(start, folder):
    server = start()
    about = httpx.get(f"{server.url}/about").json()
    for content in (b"no index at all", b""):
        failed = len(server.events("index not reloaded"))
        (folder / "search_index.pkl").write_bytes(content)
        server.wait_for(lambda failed=failed: len(server.events("index not reloaded")) > failed)
        assert httpx.get(f"{server.url}/about").json() == about
    told = server.events("index not reloaded")[-1]
    assert told["level"] == "error"
    assert told["still_served"] == about["index"]
    (folder / "search_index.pkl").unlink()
    assert httpx.get(f"{server.url}/ready").status_code == 200
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'siamese_index_reloads_total{outcome="failed"}' in metrics
    # As it was told to look again: still broken, and told once more.
    failed = len(server.events("index not reloaded"))
    server.signal(signal.SIGHUP)
    server.wait_for(lambda: len(server.events("index not reloaded")) > failed)
    write_index(folder / "search_index.pkl", prefix="new/")
    server.wait_for(lambda: httpx.get(f"{server.url}/about").json()["index"] != about["index"])


@pytest.mark.slow
@pytest.mark.parametrize("drain", [0.0, 0.5])
def test_sigterm_under_load_loses_nothing(start, drain):
    server = start(drain)
    load = Load(server.url)
    server.wait_for(lambda: len(load.answers) > 3 * CLIENTS)
    server.signal(signal.SIGTERM)
    assert server.process.wait(60) == TERMINATED
    load.end()
    assert load.lost == []
    assert all(answer.status_code == 200 for answer in load.answers)
    assert len(server.events("request")) >= len(load.answers)
    assert server.events("stopped")


@pytest.mark.slow
def test_while_it_drains_it_is_not_ready_and_lets_its_clients_go(start):
    server = start(30)
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/health").headers.get("connection") != "close"
        server.signal(signal.SIGTERM)
        server.wait_for(lambda: client.get("/ready").status_code == 503)
        answer = client.post("/search", files={"image": ("a.png", encoded())})
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"
        server.signal(signal.SIGTERM)  # twice: no more patience
    assert server.process.wait(60) == TERMINATED


@pytest.mark.slow
def test_sighup_opens_the_index_again_and_ctrl_c_ends_it(start):
    server = start(30)
    server.signal(signal.SIGHUP)
    server.wait_for(lambda: len(server.events("index reloaded")) == 1)
    server.signal(signal.SIGINT)
    assert server.process.wait(60) == INTERRUPTED


def test_an_address_that_is_taken_is_told_in_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match=r"--host 127.0.0.1 --port \d+: .* in use"):
            bind_socket("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(InputError, match=r"--host no\.such\.host\.invalid"):
        bind_socket("no.such.host.invalid", 0)


def test_answers_on_a_kept_connection_are_not_held_back():
    async def accepted() -> int:
        found = asyncio.get_running_loop().create_future()

        async def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            sock = writer.get_extra_info("socket")
            found.set_result(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with bind_socket("127.0.0.1", 0) as listener:
            server = await asyncio.start_server(connected, sock=listener)
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.close()
            async with server:
                return await found

    assert asyncio.run(accepted())
