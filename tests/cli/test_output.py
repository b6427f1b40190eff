"""Errors of outputs that cannot be written."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import SMALL, fail

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photos(items_json, tmp_path_factory):
    """Return a folder with one subfolder, an item."""
    folder = tmp_path_factory.mktemp("photos")
    shutil.copytree(items_json.parent, folder / "shapes")
    return folder


@pytest.fixture
def arguments(items_json, checkpoint, photos):
    """Return the arguments of a command that writes to an output."""
    data, model = ("--labeled-data", items_json), ("--keras-model", checkpoint)

    def make(command: str, output: Path) -> tuple[object, ...]:
        return {
            "split": (*data, "--output", output),
            "from-folder": (photos, "--output", output / "items.json"),
            "train": (*data, *SMALL, "--epochs", 1, "--output", output),
            "export": ("savedmodel", *model, "--output", output),
            "embed": (*data, *model, "--output", output),
            "index": (*data, *model, "--output", output / "index.pkl"),
            "report": (*data, *model, "--output", output),
        }[command]

    return make


@pytest.mark.parametrize(
    "command", ["split", "from-folder", "train", "export", "embed", "index", "report"]
)
def test_an_unwritable_output_is_reported_before_any_work(
    command, arguments, tmp_path, monkeypatch
):
    if command not in ("split", "from-folder"):
        monkeypatch.setattr(f"siamese.cli.{command}.model_context", None)  # no model is loaded
    (tmp_path / "file").write_text("")
    (line,) = fail(command, *arguments(command, tmp_path / "file"))
    assert "cannot be written" in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def full_disk(tmp_path):
    """Return a folder on a disk of 4 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", folder]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    (folder / "ballast").write_bytes(bytes(4096))
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("command", ["split", "train", "export", "embed", "index"])
def test_a_full_disk_is_reported_and_leaves_no_partial_files(command, arguments, full_disk, eager):
    (line,) = fail(command, *arguments(command, full_disk))
    assert "cannot be written (No space left on device)" in line
    files = {path.name for path in full_disk.rglob("*") if path.is_file()}
    assert files <= {"ballast", "training_log.csv", "manifest.json", ".lock"}
