"""The Makefile, the set-up and the pinned requirements keep what they promise."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# Stands for a Python: the environment it makes holds a copy of it, which only notes what pip
# was asked for, and fails where there is "no-network".
STAND_IN = """#!/bin/sh
case "$1 $2" in
"-m venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
"-m pip") [ ! -e no-network ] && sleep 0.2 && echo "$*" >>pip.log ;;
esac
"""


def pins(name: str) -> dict[str, Requirement]:
    """Return the requirements of a file by their names."""
    lines = (ROOT / name).read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.lstrip().startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def run_make(target: str) -> subprocess.CompletedProcess[str]:
    """Run make as from a shell, also where make runs these tests."""
    env = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return subprocess.run(["make", target], cwd=ROOT, env=env, capture_output=True, text=True)


class Checkout:
    """A checkout with nothing in it but the set-up, under a name with a space."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tools").mkdir(parents=True)
        shutil.copy(ROOT / "tools" / "setup.sh", folder / "tools")
        (folder / "requirements-dev.txt").write_text("keras==3.0\n")
        python = folder / "python"
        python.write_text(STAND_IN)
        python.chmod(0o755)

    def start(self, python: str = "./python") -> subprocess.Popen[str]:
        """Start the set-up, with pip."""
        return subprocess.Popen(
            ["sh", "tools/setup.sh"],
            cwd=self.folder,
            env={**os.environ, "PYTHON": python, "UV": ""},
            stderr=subprocess.PIPE,
            text=True,
        )

    def set_up(self) -> int:
        """Run the set-up to its end and return its exit status."""
        with self.start() as process:
            return process.wait()

    @property
    def times_done(self) -> int:
        """How often the set-up went as far as its last step, the project itself."""
        log = self.folder / "pip.log"
        return log.read_text().count("--editable .") if log.exists() else 0


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "my project")


def test_help_explains_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: (\S+)$", makefile, re.MULTILINE))
    shown = run_make("help").stdout
    assert {"demo", "test", "lint", "setup", "requirements", "clean"} <= targets
    assert set(re.findall(r"^  make (\S+) +\S", shown, re.MULTILINE)) == targets


def test_setup_is_made_once(checkout: Checkout) -> None:
    assert checkout.set_up() == 0
    assert checkout.set_up() == 0
    assert checkout.times_done == 1


def test_setup_is_made_once_by_two_at_the_same_time(checkout: Checkout) -> None:
    if not shutil.which("flock"):
        pytest.skip("no flock: two set-ups at once are not kept apart")
    with checkout.start() as one, checkout.start() as two:
        assert (one.wait(), two.wait()) == (0, 0)
    assert checkout.times_done == 1


def test_setup_is_made_anew_for_new_requirements(checkout: Checkout) -> None:
    checkout.set_up()
    (checkout.folder / "requirements-dev.txt").write_text("keras==3.1\n")
    assert checkout.set_up() == 0
    assert checkout.times_done == 2


def test_setup_is_made_anew_in_a_moved_project(checkout: Checkout) -> None:
    checkout.set_up()
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved"))
    assert checkout.set_up() == 0
    assert checkout.times_done == 2


def test_setup_that_failed_does_not_count(checkout: Checkout) -> None:
    no_network = checkout.folder / "no-network"
    no_network.touch()
    (checkout.folder / ".venv").mkdir()
    (checkout.folder / ".venv" / "of-an-earlier-one").touch()
    assert checkout.set_up() != 0
    no_network.unlink()
    assert checkout.set_up() == 0
    assert checkout.times_done == 1
    assert not (checkout.folder / ".venv" / "of-an-earlier-one").exists()


@pytest.mark.parametrize("python", ["no-such-python", "false"])
def test_setup_without_a_fit_python_says_so_in_one_line(checkout: Checkout, python: str) -> None:
    with checkout.start(python) as process:
        _, said = process.communicate()
    assert process.returncode != 0
    assert len(said.splitlines()) == 1
    assert python in said
    assert "PYTHON=" in said


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-dev.txt", "requirements-node.txt"]
)
def test_requirements_are_pinned(name: str) -> None:
    for requirement in pins(name).values():
        assert requirement.url is None
        assert [specifier.operator for specifier in requirement.specifier] == ["=="], requirement


def test_development_and_running_use_the_same_versions() -> None:
    development = pins("requirements-dev.txt")
    for name, requirement in pins("requirements.txt").items():
        # The documentation's tools need everywhere what others need on Windows alone.
        assert development[name].specifier == requirement.specifier


def test_requirements_are_complete() -> None:
    pinned = pins("requirements.txt")
    waiting = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
    seen = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        assert name in pinned, f"{name} is missing: make requirements"
        assert requirement.specifier.contains(next(iter(pinned[name].specifier)).version)
        waiting += map(Requirement, metadata.requires(name) or [])
    assert len(seen) > len(PYPROJECT["project"]["dependencies"])


def test_wheel_holds_the_whole_package(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77", reason="an older one can't read the licence")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(
        ROOT / "siamese", tmp_path / "siamese", ignore=shutil.ignore_patterns("__pycache__")
    )
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist", "."]
    subprocess.run([sys.executable, "-m", "pip", *build], cwd=tmp_path, check=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    package = tmp_path / "siamese"
    files = {path.relative_to(tmp_path).as_posix() for path in package.rglob("*") if path.is_file()}
    with ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == files


def test_both_images_are_built_alike() -> None:
    """What differs is the packages, what NVIDIA's toolkit reads, the name, and the tests' stage."""
    cpu, gpu = ((ROOT / f"Dockerfile.{device}").read_text() for device in ("cpu", "gpu"))
    before, stage, after = cpu.partition("# For make test-docker")
    shared = before + after[after.index("FROM runtime\n") :]
    added = [line for line in gpu.splitlines() if line not in shared.splitlines()]
    words = ("#", "requirements-gpu.txt", "NVIDIA_", "PYTHONDONTWRITEBYTECODE", "(GPU)")
    assert stage and added
    assert [line for line in added if not any(word in line for word in words)] == []
