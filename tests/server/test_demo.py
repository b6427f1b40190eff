"""`make serve` and `docker compose up` call the command correctly."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from examples import serve
from siamese.cli.main import cli
from siamese.indexes import BACKENDS, open_index
from tests.conftest import ROOT
from tests.server.conftest import FACTS


@pytest.fixture
def compose() -> dict:
    """Return compose.yaml with the defaults of its settings."""
    text = (ROOT / "compose.yaml").read_text()
    return yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))


def test_compose_serves_the_index_that_it_builds(compose):
    service = compose["services"]["serve"]
    assert "profiles" not in service
    program, command, *words = shlex.split(service["command"])
    assert (program, command) == ("siamese", "serve")
    given = cli.commands["serve"].make_context("serve", words).params
    assert given["host"] == "0.0.0.0"
    assert service["ports"] == [f"127.0.0.1:8000:{given['port']}"]
    assert f":{given['port']}/ready" in service["healthcheck"]["test"][-1]
    indexing = compose["services"]["demo-index"]
    assert shlex.split(indexing["command"])[-1] == given["index_place"]
    assert service["depends_on"] == {"demo-index": {"condition": "service_completed_successfully"}}


def test_both_services_get_the_token_of_milvus(compose):
    for name in ("serve", "demo-index"):
        assert "MILVUS_TOKEN" in compose["services"][name]["environment"]


@pytest.fixture
def demo_index(tmp_path):
    """Return a function that runs docker/demo_index.sh and returns its calls of `siamese`."""
    commands = tmp_path / "commands"
    commands.mkdir()
    calls = tmp_path / "calls"
    for name, script in {
        # Do not download the catalogue.
        "python": f'[ "$1" = -m ] && exit\nexec {shlex.quote(sys.executable)} "$@"',
        "siamese": f'echo "$@" >> {shlex.quote(str(calls))}',
    }.items():
        (commands / name).write_text(f"#!/bin/sh\n{script}\n")
        (commands / name).chmod(0o755)

    def run(index: object) -> tuple[int, list[str], str]:
        calls.write_text("")
        done = subprocess.run(
            ["sh", ROOT / "docker" / "demo_index.sh", str(index)],
            cwd=tmp_path,
            env={
                **os.environ,
                "PATH": f"{commands}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
            },
            capture_output=True,
            text=True,
        )
        return done.returncode, calls.read_text().splitlines(), done.stderr

    return run


@pytest.mark.slow
def test_the_demo_is_indexed_only_if_there_is_no_index(demo_index, tmp_path):
    def indexing(index):
        return f"index --labeled-data demo/emoji/items.json --output {index}"

    file = tmp_path / "mine.pkl"
    assert demo_index(file) == (0, [indexing(file)], "")
    file.write_bytes(b"somebody's own")
    assert demo_index(file) == (0, [], "")


@pytest.mark.slow
def test_an_existing_collection_is_not_replaced(demo_index, folder):
    from siamese.indexes.milvus.lite_folder import MilvusFolder

    milvus = MilvusFolder.from_path(folder / "search_index.milvus")
    code, commands, _ = demo_index(milvus.address)
    assert code == 0
    assert commands == [f"index --labeled-data demo/emoji/items.json --output {milvus.address}"]
    index = open_index(folder / "search_index.pkl")
    rows = range(len(index))
    BACKENDS["milvus"].build(
        milvus.address,
        index.vectors(rows),
        index.metadata_of(rows),
        [bytes(16)] * len(rows),
        FACTS,
    )
    assert demo_index(milvus.address) == (0, [], "")


@pytest.mark.slow
def test_nothing_is_indexed_if_milvus_does_not_answer(demo_index, tmp_path):
    code, commands, stderr = demo_index(f"unix:{tmp_path}/nobody")
    assert code == 1
    assert commands == []
    assert stderr.startswith("error: ")


def test_milvus_runs_only_with_its_profile(compose):
    for name in ("etcd", "minio", "milvus"):
        assert compose["services"][name]["profiles"] == ["milvus"]
        assert compose["services"][name]["healthcheck"]
    for name in ("etcd", "minio"):
        assert "ports" not in compose["services"][name]
    assert compose["services"]["demo-index"]["depends_on"]["milvus"]["required"] is False


def test_make_serve_without_the_demo_explains_how_to_build_it(monkeypatch, tmp_path):
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


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="there is always a display")
def test_a_page_is_opened_only_if_there_is_a_display(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not serve.has_display()
    monkeypatch.setenv("DISPLAY", ":0")
    assert serve.has_display()
