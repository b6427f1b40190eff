"""Catalogues to mount and a function that runs containers, for `make test-docker`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

USER = 1234
"""An ordinary user id without a name."""

IMAGE = os.environ.get("SIAMESE_IMAGE", "")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not IMAGE:
        here = Path(__file__).parent
        for item in items:
            if here in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="in containers: run make test-docker"))


@pytest.fixture
def data(catalogue, tmp_path: Path) -> Path:
    """Return a folder of the ordinary user: items.json and photos/ with one broken picture."""
    folder = tmp_path / "data"
    shutil.copytree(catalogue.image_dir, folder / "photos")
    (folder / "photos" / "items.json").rename(folder / "items.json")
    (folder / "photos" / "red-disc-0.png").write_bytes(b"no picture")
    return owned(folder)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Return a folder with 1,500 pictures of noise, which take half a minute to index."""
    folder = tmp_path / "many"
    (folder / "photos").mkdir(parents=True)
    rng = np.random.default_rng(0)
    items = {}
    for number in range(1500):
        noise = rng.integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(folder / "photos" / f"{number}.png")
        items[str(number)] = {"images": [{"filename": f"{number}.png"}], "labels": []}
    (folder / "items.json").write_text(json.dumps(items))
    return owned(folder)


def owned(folder: Path) -> Path:
    """Give a folder to the ordinary user, if the tests run as root."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, USER, USER)
        for parent in folder.parents[:4]:  # pytest's folders are private
            parent.chmod(parent.stat().st_mode | 0o011)
    return folder


def user() -> int:
    return USER if os.geteuid() == 0 else os.geteuid()


@pytest.fixture
def run() -> Run:
    """Return a function that runs a container as the ordinary user, with a folder as /data."""

    def docker_run(
        *words: str | Path, data: Path | None = None, options: tuple[str, ...] = (), image=IMAGE
    ) -> subprocess.CompletedProcess[str]:
        mount = () if data is None else ("--volume", f"{data}:/data")
        who = ("--user", f"{user()}:{user()}")
        command = ["docker", "run", "--rm", *who, *mount, *options, image, *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=600)

    return docker_run
