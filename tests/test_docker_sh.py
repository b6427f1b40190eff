"""What the container targets of the Makefile ask Docker for, and say where it cannot.

Docker is a script here that writes down its words; `make test-docker` asks a real one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

FAKE = """#!/bin/sh
echo "$*" >>"{log}"
case $1 in
version) {version} ;;
run) case "$*" in *--entrypoint*) {probe} ;; esac ;;
esac
"""


class Fake:
    """A folder that holds `docker` and what the script needs, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.log = folder / "log"
        for tool in ("sh", "sed", "id", "dirname", "git"):
            (self.bin / tool).symlink_to(shutil.which(tool) or tool)

    def docker(self, version: str = ":", probe: str = ":") -> None:
        path = self.bin / "docker"
        path.write_text(FAKE.format(log=self.log, version=version, probe=probe))
        path.chmod(0o755)

    def run(self, job: str, device: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(ROOT / "tools" / "docker.sh"), job, device],
            env={"PATH": str(self.bin), "HOME": os.environ.get("HOME", "/"), **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    @property
    def last(self) -> str:
        return self.log.read_text().splitlines()[-1]


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2
    *before, line = done.stderr.splitlines()
    assert all(one.startswith("Building siamese:") for one in before)
    return line


def test_without_docker(fake: Fake) -> None:
    line = refusal(fake.run("bash", "cpu"))
    assert line == (
        "make bash-cpu: Docker is not installed; see https://docs.docker.com/engine/install"
    )


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock", "start it"),
        ("permission denied while trying to connect", "usermod -aG docker"),
    ],
)
def test_without_an_engine(fake: Fake, reason: str, remedy: str) -> None:
    fake.docker(version=f'echo "{reason}" >&2; exit 1')
    assert remedy in refusal(fake.run("bash", "cpu"))


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        (
            'docker: Error response from daemon: could not select device driver "" with '
            "capabilities: [[gpu]].",
            "install NVIDIA's driver and its Container Toolkit",
        ),
        (
            "docker: Error response from daemon: driver failed programming external connectivity: "
            "failed to bind port 127.0.0.1:8888/tcp: address already in use.",
            "port 8888 is taken; choose another: PORT=8889 make notebook",
        ),
        ("docker: Error response from daemon: no space left", "no space left"),
    ],
)
def test_what_docker_cannot_do(fake: Fake, reason: str, remedy: str) -> None:
    fake.docker(probe=f"echo '{reason}' >&2; exit 125")
    line = refusal(fake.run("notebook", "gpu"))
    assert line.startswith("make notebook: ") and remedy in line


def test_data_that_is_not_there_or_not_named(fake: Fake, tmp_path: Path) -> None:
    fake.docker()
    gone = tmp_path / "gone"
    assert f"DATA={gone}: no such folder" in refusal(fake.run("notebook", "cpu", DATA=str(gone)))
    assert "DATA=/my/folder make index-cpu" in refusal(fake.run("index", "cpu"))


def test_the_notebook_is_published_on_this_machine_alone(fake: Fake) -> None:
    fake.docker()
    assert fake.run("notebook", "cpu", PORT="9999").returncode == 0
    assert "--publish 127.0.0.1:9999:9999" in fake.last
    assert fake.last.endswith("--interactive siamese:cpu jupyter")
    assert "--gpus" not in fake.last and "--tty" not in fake.last


def test_all_is_done_as_the_caller_in_the_checkout(fake: Fake, tmp_path: Path) -> None:
    fake.docker()
    data = tmp_path / "my data"
    data.mkdir()
    assert fake.run("bash", "gpu", DATA=str(data)).returncode == 0
    assert f"--user {os.getuid()}:{os.getgid()}" in fake.last
    assert f"--volume {ROOT}:/app --workdir /app --volume {data}:/data" in fake.last
    assert "--gpus all" in fake.last


def test_indexing_names_the_catalogue_and_the_model(fake: Fake, tmp_path: Path) -> None:
    fake.docker()
    fake.run("index", "cpu", DATA=str(tmp_path))
    assert fake.last.endswith("--export balltree --labeled-data /data/items.json")
    settings = {
        "LABELED_DATA": "/data/a.json",
        "IMAGE_DIR": "/data/photos",
        "KERAS_MODEL": "m.hdf5",
    }
    fake.run("index", "cpu", DATA=str(tmp_path), **settings)
    assert fake.last.endswith(
        "--labeled-data /data/a.json --image-dir /data/photos --keras-model m.hdf5"
    )
