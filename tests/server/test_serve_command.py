"""`siamese serve`, as a user types it."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from click.testing import CliRunner

from siamese.cli.main import cli
from siamese.server import run
from siamese.utils.signals import TERMINATED

pytestmark = pytest.mark.slow


@pytest.fixture
def listeners(monkeypatch):
    """Return the list of sockets that servers in this process bind."""
    bind_socket, listeners = run.bind_socket, []

    def record(host, port):
        listeners.append(bind_socket(host, port))
        return listeners[-1]

    monkeypatch.setattr(run, "bind_socket", record)
    return listeners


@pytest.fixture
def restored_loggers():
    """Restore the loggers that a server in this process configures."""
    loggers = [logging.getLogger(name) for name in ("siamese.server", "uvicorn.error")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.level, logger.propagate = handlers, level, propagate


@pytest.fixture
def ignored_sigterm():
    """Ignore SIGTERM outside of the server, where it would end the tests."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("restored_loggers", "ignored_sigterm")
def test_an_index_is_served_with_the_model_that_made_it(
    catalogue, checkpoint, tmp_path, listeners, monkeypatch
):
    before, after = tmp_path / "before", tmp_path / "after"
    (before / "checkpoints").mkdir(parents=True)
    model = shutil.copy(checkpoint, before / "checkpoints")
    indexed = CliRunner().invoke(
        cli,
        [
            *("index", "--labeled-data", str(catalogue.image_dir / "items.json")),
            *("--keras-model", str(model)),
            *("--output", str(before / "search_index.pkl")),
        ],
    )
    assert indexed.exit_code == 0, indexed.output
    # Like a container, which sees the project's folder at another place.
    before.rename(after)
    index = after / "search_index.pkl"
    monkeypatch.setenv("SIAMESE_API_KEY", "secret")

    def visit() -> str:
        try:
            url = wait_for(lambda: run.format_url(listeners[0]))
            with httpx.Client(base_url=url, headers={"X-API-Key": "secret"}, timeout=60) as client:
                about = wait_for(lambda: client.get("/about").json())
                assert about["model"]["name"] == checkpoint.name
                assert about["api_key"] is True
                for picture in catalogue.pictures[::16]:
                    content = catalogue.path_of(picture).read_bytes()
                    found = client.post("/search", files={"image": ("a.png", content)}).json()
                    assert found["results"][0]["filename"] == picture.filename
                    assert found["results"][0]["distance"] < 1e-3
                    image = client.get(found["results"][0]["image_url"])
                    assert image.content == content
                assert httpx.get(f"{url}/labels").status_code == 401
            return url
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:
        visitor = pool.submit(visit)
        # In the main thread, which alone receives signals.
        served = CliRunner().invoke(
            cli,
            [
                *("serve", "--index", str(index), "--port", "0"),
                *("--image-dir", str(catalogue.image_dir), "--drain-seconds", "0"),
            ],
        )
    assert served.exit_code == TERMINATED, served.output
    assert served.stdout == f"{visitor.result()}: 48 pictures of {index}\n"


def wait_for(work):
    """Return the result of a function once the server is there."""
    for _ in range(6000):
        try:
            return work()
        except (IndexError, httpx.ConnectError):
            time.sleep(0.01)
    return work()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--index", "none.pkl"], "none.pkl"),
        (["--image-dir", "none"], "--image-dir none: no such folder"),
        (["--api-key-file", "none"], "--api-key-file none"),
        (
            ["--tf-serving", "localhost:1", "--backbone", "MobileNetV2"],
            "--backbone and --tf-serving",
        ),
        (["--runtime", "openvino", "--tf-serving", "localhost:1"], "--runtime and --tf-serving"),
        (["--host", "192.0.2.1"], "--host 192.0.2.1 --port 8000"),
    ],
)
def test_an_invalid_call_is_an_error_of_one_line(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["serve", *words])
    assert done.exit_code == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert message in line


def test_with_tensorflow_serving_no_other_model_is_loaded(folder):
    words = ["--index", str(folder / "search_index.pkl"), "--port", "0"]
    address = "http://127.0.0.1:9"
    done = CliRunner().invoke(cli, ["serve", *words, "--tf-serving", address])
    assert done.exit_code == 2
    assert f"error: --tf-serving {address}: " in done.stderr
    assert "refused" in done.stderr
