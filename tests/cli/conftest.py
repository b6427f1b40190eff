"""Run the `siamese` command in this process or another one, on a small catalogue."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from siamese.cli.main import cli
from siamese.data.catalogue import Catalogue
from tests.conftest import ROOT

SMALL = ("--backbone", "base_cnn", "--picture-size", "32", "--embedding-size", "16")
"""Options that train a small network in seconds."""


def invoke(*arguments: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def succeed(*arguments: object) -> Result:
    """Run a command that must succeed."""
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result


def fail(*arguments: object) -> list[str]:
    """Run a command that must exit with code 2, and return its error lines."""
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    lines = result.stderr.splitlines()
    return [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]


def start(*arguments: object, cwd: Path, program: str = "") -> subprocess.Popen[str]:
    """Start a command in a new process; `program` is Python to run first."""
    python = ["-c", f"{program}; import siamese.__main__"] if program else ["-m", "siamese"]
    # Child processes inherit ignored signals, and shells ignore Ctrl-C in background jobs.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, *python, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def items_json(catalogue: Catalogue) -> Path:
    """Return the JSON file of the small catalogue."""
    return catalogue.image_dir / "items.json"


@pytest.fixture(scope="session")
def index(items_json: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a BallTree index of the small catalogue."""
    path = tmp_path_factory.mktemp("index") / "search_index.pkl"
    arguments = ("--labeled-data", items_json, "--keras-model", checkpoint, "--output", path)
    succeed("index", *arguments)
    return path


@pytest.fixture
def copied_photos(catalogue: Catalogue, tmp_path: Path) -> Path:
    """Return a copy of the pictures and their items.json, which the test may change."""
    return Path(shutil.copytree(catalogue.image_dir, tmp_path / "photos"))


@pytest.fixture
def eager() -> Iterator[None]:
    """Train without compiling graphs, which takes longer than training the small network."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
