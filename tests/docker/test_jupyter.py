"""`make notebook-cpu` starts JupyterLab, and a browser can use it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
from websocket import create_connection

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = "app/notebooks/train_siamese_network.ipynb"


class Jupyter(NamedTuple):
    port: int
    token: str

    def ask(self, path: str, body: object = None, token: str | None = None) -> Any:
        headers = {"Authorization": f"token {self.token if token is None else token}"}
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"http://127.0.0.1:{self.port}/{path}", data, headers)
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def run_cell(self, kernel: str, code: str) -> str:
        """Run a cell and return what it prints."""
        url = f"ws://127.0.0.1:{self.port}/api/kernels/{kernel}/channels?token={self.token}"
        channel = create_connection(url, timeout=120)
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3"}
        header |= {"username": "", "session": uuid.uuid4().hex}
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
        message = {"header": header, "content": content, "channel": "shell"}
        channel.send(json.dumps(message | {"parent_header": {}, "metadata": {}}))
        printed = ""
        while True:
            answer = json.loads(channel.recv())
            if answer["parent_header"].get("msg_id") != header["msg_id"]:
                continue
            if answer["msg_type"] in ("stream", "error"):
                printed += answer["content"].get("text", str(answer["content"]))
            if answer["msg_type"] == "status" and answer["content"]["execution_state"] == "idle":
                channel.close()
                return printed


@pytest.fixture(scope="module")
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def make(port: int) -> subprocess.Popen[str]:
    """Start `make notebook-cpu` without a terminal."""
    return subprocess.Popen(
        ["make", "notebook-cpu"],
        cwd=ROOT,
        env={**os.environ, "PORT": str(port), "DATA": str(ROOT / "docs")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def jupyter(port: int) -> Iterator[Jupyter]:
    with make(port) as started:
        output = ""
        assert started.stdout is not None
        for line in started.stdout:
            output += line
            if url := re.search(rf"http://127\.0\.0\.1:{port}/lab/tree/(\S+)\?token=(\w+)", line):
                break
        else:
            pytest.fail(f"make notebook-cpu printed no address: {output}")
        assert url[1] == NOTEBOOK
        server = Jupyter(port, url[2])
        for _ in range(100):
            try:
                server.ask("api/status")
                break
            except (URLError, ConnectionError):
                time.sleep(0.3)
        yield server
        ids = subprocess.run(
            ["docker", "ps", "--quiet", "--filter", f"publish={port}"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        subprocess.run(["docker", "stop", *ids], check=True, capture_output=True)


def test_requests_without_the_token_are_refused(jupyter: Jupyter):
    for token in ("", "wrong"):
        with pytest.raises(HTTPError) as refused:
            jupyter.ask(f"api/contents/{NOTEBOOK}", token=token)
        assert refused.value.code == 403


def test_with_the_token_the_notebook_opens_and_runs_a_cell(jupyter: Jupyter):
    opened = jupyter.ask(f"api/contents/{NOTEBOOK}")
    assert opened["type"] == "notebook" and opened["writable"]
    assert "Train a siamese network" in opened["content"]["cells"][0]["source"]
    session = {"path": NOTEBOOK, "name": "", "type": "notebook", "kernel": {"name": "python3"}}
    kernel = jupyter.ask("api/sessions", session)["kernel"]["id"]
    assert jupyter.run_cell(kernel, "print(6 * 7)") == "42\n"
    code = "from siamese.models.devices import describe_device; print(describe_device())"
    assert "no GPU" in jupyter.run_cell(kernel, code)
    code = "import os; print(sorted(os.listdir('/data')))"
    assert "command-line.md" in jupyter.run_cell(kernel, code)


def test_the_port_is_published_on_localhost_only(jupyter: Jupyter):
    ports = subprocess.run(
        ["docker", "ps", "--format", "{{.Ports}}", "--filter", f"publish={jupyter.port}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert ports.strip() == f"127.0.0.1:{jupyter.port}->{jupyter.port}/tcp"


def test_a_port_in_use_is_reported_in_one_line(jupyter: Jupyter):
    with make(jupyter.port) as second:
        output, _ = second.communicate(timeout=300)
    assert second.returncode != 0
    assert (
        f"port {jupyter.port} is already in use; choose another: PORT={jupyter.port + 1}" in output
    )
