"""A server process under load loses no request when its index is replaced or when it stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import socket
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
from tests.server import process
from tests.server.conftest import COLOURS, encoded, write_index

CLIENTS = 16


# Each server is forked from a process that has imported everything: starting Python takes longer.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.server.process", "sklearn.neighbors"])


class Server:
    """A server in a process of its own, and its log."""

    def __init__(self, folder: Path, drain_seconds: float) -> None:
        self.log = folder / "log"
        receiver, sender = PROCESSES.Pipe(duplex=False)
        self.process = PROCESSES.Process(target=process.main, args=(folder, drain_seconds, sender))
        self.process.start()
        sender.close()
        self.url = receiver.recv()
        self.wait_for(lambda: httpx.get(f"{self.url}/ready").status_code == 200)

    def wait_for(self, holds: Callable[[], bool]) -> None:
        for _ in range(3000):
            with contextlib.suppress(httpx.HTTPError):
                if holds():
                    return
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def wait_for_exit(self) -> int:
        """Return the exit code."""
        self.process.join(60)
        return self.process.exitcode

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["event"] == name]


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server."""
    servers = []

    def start(drain_seconds: float = 0.5) -> Server:
        servers.append(Server(folder, drain_seconds))
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.process.join()


class Load:
    """Clients that search until the server is gone, half of them on a new connection each time."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[httpx.Response] = []
        self.lost: list[str] = []
        self.stop = threading.Event()
        self.threads = [
            threading.Thread(target=self._search, args=[bool(number % 2)])
            for number in range(CLIENTS)
        ]
        for thread in self.threads:
            thread.start()

    def _search(self, keeps_connection: bool) -> None:
        content = encoded((230, 30, 30))
        headers = {} if keeps_connection else {"Connection": "close"}
        with httpx.Client(timeout=60, headers=headers) as client:
            while not self.stop.is_set():
                try:
                    files = {"image": ("a.png", content)}
                    answer = client.post(f"{self.url}/search", files=files, data={"k": 12})
                    self.answers.append(answer)
                except httpx.ConnectError:  # the server is gone; this request was not accepted
                    return
                except httpx.HTTPError as error:
                    self.lost.append(repr(error))

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(60)


def versions(answers: list[httpx.Response]) -> set[tuple[str, str]]:
    """Return the index version of the answers, each with the prefix of its items."""
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
def test_no_answer_is_lost_or_mixed_when_the_index_is_replaced(start, folder):
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
def test_a_broken_index_is_logged_and_the_old_one_is_served(start, folder):
    server = start()
    about = httpx.get(f"{server.url}/about").json()
    for content in (b"no index at all", b""):
        failed = len(server.events("index not reloaded"))
        (folder / "search_index.pkl").write_bytes(content)
        server.wait_for(lambda failed=failed: len(server.events("index not reloaded")) > failed)
        assert httpx.get(f"{server.url}/about").json() == about
    event = server.events("index not reloaded")[-1]
    assert event["level"] == "error"
    assert event["still_served"] == about["index"]
    (folder / "search_index.pkl").unlink()
    assert httpx.get(f"{server.url}/ready").status_code == 200
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'siamese_index_reloads_total{outcome="failed"}' in metrics
    # A reload on request fails too, and is logged again.
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
    assert server.wait_for_exit() == TERMINATED
    load.end()
    assert load.lost == []
    assert all(answer.status_code == 200 for answer in load.answers)
    assert len(server.events("request")) >= len(load.answers)
    assert server.events("stopped")


@pytest.mark.slow
def test_a_draining_server_is_not_ready_and_closes_connections(start):
    server = start(30)
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/health").headers.get("connection") != "close"
        server.signal(signal.SIGTERM)
        server.wait_for(lambda: client.get("/ready").status_code == 503)
        answer = client.post("/search", files={"image": ("a.png", encoded())})
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"
        server.signal(signal.SIGTERM)  # a second one skips the wait
    assert server.wait_for_exit() == TERMINATED


@pytest.mark.slow
def test_sighup_reloads_the_index_and_ctrl_c_stops_the_server(start):
    server = start(30)
    server.signal(signal.SIGHUP)
    server.wait_for(lambda: len(server.events("index reloaded")) == 1)
    server.signal(signal.SIGINT)
    assert server.wait_for_exit() == INTERRUPTED


def test_an_address_in_use_is_an_error_of_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match=r"--host 127.0.0.1 --port \d+: .* in use"):
            bind_socket("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(InputError, match=r"--host no\.such\.host\.invalid"):
        bind_socket("no.such.host.invalid", 0)


def test_responses_on_a_kept_connection_are_not_delayed():
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
