"""The Makefile, the setup script, the pinned requirements, the wheel and the Dockerfiles."""

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

# Fake Python: "-m venv" copies it into the environment, and "-m pip" logs its arguments, or fails
# if there is a file "no-network".
FAKE_PYTHON = """#!/bin/sh
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
    """Run make as from a shell, even if make runs these tests."""
    env = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return subprocess.run(["make", target], cwd=ROOT, env=env, capture_output=True, text=True)


class Checkout:
    """Checkout with only the setup script, in a folder with a space in its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tools").mkdir(parents=True)
        shutil.copy(ROOT / "tools" / "setup.sh", folder / "tools")
        (folder / "requirements-dev.txt").write_text("keras==3.0\n")
        python = folder / "python"
        python.write_text(FAKE_PYTHON)
        python.chmod(0o755)

    def start(self, python: str = "./python") -> subprocess.Popen[str]:
        """Start the setup with pip."""
        return subprocess.Popen(
            ["sh", "tools/setup.sh"],
            cwd=self.folder,
            env={**os.environ, "PYTHON": python, "UV": ""},
            stderr=subprocess.PIPE,
            text=True,
        )

    def set_up(self) -> int:
        """Run the setup and return its exit status."""
        with self.start() as process:
            return process.wait()

    @property
    def runs(self) -> int:
        """Number of complete runs; the last step installs the project itself."""
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


def test_a_second_setup_does_nothing(checkout: Checkout) -> None:
    assert checkout.set_up() == 0
    assert checkout.set_up() == 0
    assert checkout.runs == 1


def test_two_simultaneous_setups_run_once(checkout: Checkout) -> None:
    if not shutil.which("flock"):
        pytest.skip("setups do not wait for each other without flock")
    with checkout.start() as first, checkout.start() as second:
        assert (first.wait(), second.wait()) == (0, 0)
    assert checkout.runs == 1


def test_new_requirements_need_a_new_setup(checkout: Checkout) -> None:
    checkout.set_up()
    (checkout.folder / "requirements-dev.txt").write_text("keras==3.1\n")
    assert checkout.set_up() == 0
    assert checkout.runs == 2


def test_a_moved_project_needs_a_new_setup(checkout: Checkout) -> None:
    checkout.set_up()
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved"))
    assert checkout.set_up() == 0
    assert checkout.runs == 2


def test_a_failed_setup_is_repeated_from_scratch(checkout: Checkout) -> None:
    no_network = checkout.folder / "no-network"
    no_network.touch()
    (checkout.folder / ".venv").mkdir()
    (checkout.folder / ".venv" / "leftover").touch()
    assert checkout.set_up() != 0
    no_network.unlink()
    assert checkout.set_up() == 0
    assert checkout.runs == 1
    assert not (checkout.folder / ".venv" / "leftover").exists()


@pytest.mark.parametrize("python", ["no-such-python", "false"])
def test_a_missing_python_is_reported_in_one_line(checkout: Checkout, python: str) -> None:
    with checkout.start(python) as process:
        _, stderr = process.communicate()
    assert process.returncode != 0
    assert len(stderr.splitlines()) == 1
    assert python in stderr
    assert "PYTHON=" in stderr


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
        # Compare versions only: the documentation tools also need the packages for Windows.
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
        assert name in pinned, f"{name} is missing; run make requirements"
        assert requirement.specifier.contains(next(iter(pinned[name].specifier)).version)
        waiting += map(Requirement, metadata.requires(name) or [])
    assert len(seen) > len(PYPROJECT["project"]["dependencies"])


def test_wheel_holds_the_whole_package(tmp_path: Path) -> None:
    pytest.importorskip(
        "setuptools", minversion="77", reason="older versions cannot read the licence"
    )
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
    """Only the packages, NVIDIA's variables, the name and the stage of the tests differ."""
    cpu, gpu = ((ROOT / f"Dockerfile.{device}").read_text() for device in ("cpu", "gpu"))
    before, stage, after = cpu.partition("# For make test-docker")
    shared = before + after[after.index("FROM runtime\n") :]
    added = [line for line in gpu.splitlines() if line not in shared.splitlines()]
    words = ("#", "requirements-gpu.txt", "NVIDIA_", "PYTHONDONTWRITEBYTECODE", "(GPU)")
    assert stage and added
    assert [line for line in added if not any(word in line for word in words)] == []
