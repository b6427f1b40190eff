"""`make serve` and `docker compose up` say what the command takes."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from examples import serve
from siamese.cli import cli
from tests.conftest import ROOT


@pytest.fixture
def compose() -> dict:
    """Return what is in compose.yaml, with the defaults of its settings."""
    text = (ROOT / "compose.yaml").read_text()
    return yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))


def test_compose_serves_what_it_indexes(compose):
    service = compose["services"]["serve"]
    assert "profiles" not in service
    program, verb, *words = shlex.split(service["command"])
    assert (program, verb) == ("siamese", "serve")
    given = cli.commands["serve"].make_context("serve", words).params
    assert given["host"] == "0.0.0.0"
    assert service["ports"] == [f"127.0.0.1:8000:{given['port']}"]
    assert f":{given['port']}/ready" in service["healthcheck"]["test"][-1]
    indexing = compose["services"]["demo-index"]
    assert shlex.split(indexing["command"])[-1] == given["index_path"]
    assert service["depends_on"] == {"demo-index": {"condition": "service_completed_successfully"}}


def test_milvus_comes_only_with_its_profile(compose):
    for name in ("etcd", "minio", "milvus"):
        assert compose["services"][name]["profiles"] == ["milvus"]
        assert compose["services"][name]["healthcheck"]
    for name in ("etcd", "minio"):
        assert "ports" not in compose["services"][name]
    assert compose["services"]["demo-index"]["depends_on"]["milvus"]["required"] is False


def test_without_the_demo_make_serve_says_how_to_make_it(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="make demo"):
        serve.main()


@pytest.mark.parametrize(("given", "port"), [("8123", "8123"), ("", "8000")])
def test_make_serve_serves_the_index_of_the_demo(monkeypatch, tmp_path, given, port):
    monkeypatch.chdir(tmp_path)
    Path("demo").mkdir()
    Path("demo/search_index.pkl").touch()
    monkeypatch.setenv("PORT", given)
    called, opened = [], []
    monkeypatch.setattr(serve, "cli", called.append)
    monkeypatch.setattr(serve, "open_page", opened.append)
    serve.main()
    assert called == [
        [
            *("serve", "--index", "demo/search_index.pkl"),
            *("--image-dir", "demo/emoji", "--port", port),
        ]
    ]
    assert opened == [f"http://127.0.0.1:{port}"]


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="there is always a screen")
def test_a_page_is_opened_only_where_there_is_a_screen(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not serve.has_screen()
    monkeypatch.setenv("DISPLAY", ":0")
    assert serve.has_screen()
