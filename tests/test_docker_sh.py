"""The container targets of the Makefile call Docker correctly and explain its errors.

Docker is a script here that logs its arguments; `make test-docker` uses a real one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from siamese.version import __version__

ROOT = Path(__file__).resolve().parent.parent

FAKE = """#!/bin/sh
echo "$*" >>"{log}"
case $1 in
version) {version} ;;
run) case "$*" in *--entrypoint*) {probe} ;; esac ;;
esac
"""


class Fake:
    """A PATH with a fake `docker` and the tools that the script needs, and nothing else."""

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


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2
    *before, line = done.stderr.splitlines()
    assert all(earlier.startswith("Building siamese:") for earlier in before)
    return line


def test_a_missing_docker_is_reported(fake: Fake) -> None:
    line = error_of(fake.run("bash", "cpu"))
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
def test_an_unreachable_engine_is_reported_with_a_remedy(
    fake: Fake, reason: str, remedy: str
) -> None:
    fake.docker(version=f'echo "{reason}" >&2; exit 1')
    assert remedy in error_of(fake.run("bash", "cpu"))


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        (
            'docker: Error response from daemon: could not select device driver "" with '
            "capabilities: [[gpu]].",
            "install the NVIDIA driver and the NVIDIA Container Toolkit",
        ),
        (
            "docker: Error response from daemon: driver failed programming external connectivity: "
            "failed to bind port 127.0.0.1:8888/tcp: address already in use.",
            "port 8888 is already in use; choose another: PORT=8889 make notebook",
        ),
        ("docker: Error response from daemon: no space left", "no space left"),
    ],
)
def test_errors_of_docker_run_are_reported_with_a_remedy(
    fake: Fake, reason: str, remedy: str
) -> None:
    fake.docker(probe=f"echo '{reason}' >&2; exit 125")
    line = error_of(fake.run("notebook", "gpu"))
    assert line.startswith("make notebook: ") and remedy in line


def test_a_missing_data_folder_is_reported(fake: Fake, tmp_path: Path) -> None:
    fake.docker()
    gone = tmp_path / "gone"
    assert f"DATA={gone}: no such folder" in error_of(fake.run("notebook", "cpu", DATA=str(gone)))
    assert "DATA=/my/folder make index-cpu" in error_of(fake.run("index", "cpu"))


def test_the_notebook_is_published_on_localhost_only(fake: Fake) -> None:
    fake.docker()
    assert fake.run("notebook", "cpu", PORT="9999").returncode == 0
    assert "--publish 127.0.0.1:9999:9999" in fake.last
    assert fake.last.endswith("--interactive siamese:cpu jupyter")
    assert "--gpus" not in fake.last and "--tty" not in fake.last


def test_containers_run_as_the_caller_in_the_checkout(fake: Fake, tmp_path: Path) -> None:
    fake.docker()
    data = tmp_path / "my data"
    data.mkdir()
    assert fake.run("bash", "gpu", DATA=str(data)).returncode == 0
    assert f"--user {os.getuid()}:{os.getgid()}" in fake.last
    assert f"--volume {ROOT}:/app --workdir /app --volume {data}:/data" in fake.last
    assert "--gpus all" in fake.last


def test_images_are_labelled_with_the_version(fake: Fake) -> None:
    fake.docker()
    fake.run("bash", "cpu")
    assert f"--build-arg VERSION={__version__} " in fake.log.read_text()


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
