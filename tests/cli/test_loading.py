"""Errors in the models and catalogues that the options name."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import SMALL, fail, invoke

pytestmark = pytest.mark.slow


def test_base_cnn_must_be_trained_first(items_json, tmp_path):
    arguments = ("--labeled-data", items_json, "--backbone", "base_cnn")
    (line,) = fail("index", *arguments, "--output", tmp_path / "index.pkl")
    assert "has no pretrained weights" in line
    (line,) = fail("train", *arguments, "--weights", "w.h5", "--output", tmp_path / "checkpoints")
    assert "--weights w.h5" in line
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_options_of_a_new_model_are_rejected_with_a_checkpoint(items_json, checkpoint, tmp_path):
    arguments = ("--labeled-data", items_json, "--keras-model", checkpoint, "--picture-size", 64)
    assert "--picture-size and --keras-model" in fail("evaluate", *arguments)[0]
    assert "--picture-size" in fail("train", *arguments, "--output", tmp_path / "c")[0]


@pytest.mark.parametrize("content", [None, b"", b"no model", b"\x89HDF\r\n\x1a\n broken"])
def test_an_unreadable_model_is_reported_in_one_line(content, items_json, tmp_path):
    path = tmp_path / "model.hdf5"
    if content is not None:
        path.write_bytes(content)
    (line,) = fail("evaluate", "--labeled-data", items_json, "--keras-model", path)
    assert str(path) in line


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "not a catalogue"),
        ("{}", "no items"),
        ('{"a": 1}', "item a"),
        ('{"a": {}}', "no pictures"),
        ('{"a": {"images": {}}}', "images"),
        ('{"a": {"images": [{"file": "x.png"}]}}', "filename"),
        ('{"a": {"images": [{"filename": ""}]}}', "filename"),
        ('{"a": {"images": [{"filename": "/etc/hosts"}]}}', "hosts"),
        ('{"a": {"images": [{"filename": "x.png"}], "labels": [1]}}', "labels"),
        ('{"a": {"images": [{"filename": "x.png"}]}, "a": {"images": []}}', "more than once"),
        (None, "no such"),
    ],
)
@pytest.mark.parametrize("command", ["index", "train", "evaluate", "report", "split"])
def test_invalid_catalogues_are_rejected(command, text, problem, tmp_path):
    path = tmp_path / "items.json"
    if text is not None:
        path.write_text(text)
    output = [] if command == "evaluate" else ["--output", tmp_path / "out"]
    lines = fail(command, "--labeled-data", path, *output)
    assert lines
    assert all(str(path) in line for line in lines)
    assert any(problem in line for line in lines)
    assert not (tmp_path / "out").exists()


def encode(format_name: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format_name)
    return buffer.getvalue()


def png_of(width: int, height: int) -> bytes:
    """Return a PNG whose header gives this size, with almost no data."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1000))),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def half(format_name: str) -> bytes:
    whole = encode(format_name)
    return whole[: len(whole) // 2]


BROKEN_PICTURES: dict[str, tuple[bytes | None, str]] = {
    "gone.jpg": (None, "file missing"),
    "no/such/folder.jpg": (None, "file missing"),
    "x" * 300: (None, "unreadable (file name too long)"),
    "empty.jpg": (b"", "empty file"),
    "text.jpg": (b"no picture", "not a picture"),
    "page.jpg": (b"<html>404</html>", "not a picture"),
    "paper.pdf": (b"%PDF-1.7", "not a picture"),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
    "zeros.jpg": (bytes(999), "not a picture"),
    "tail.jpg": (encode("JPEG")[500:], "not a picture"),
    "half.jpg": (half("JPEG"), "truncated or damaged"),
    "half.png": (half("PNG"), "truncated or damaged"),
    "half.webp": (half("WEBP"), "truncated or damaged"),
    "half.gif": (half("GIF"), "truncated or damaged"),
    "half.tif": (half("TIFF"), "truncated or damaged"),
    "half.bmp": (half("BMP"), "truncated or damaged"),
    "head.png": (encode("PNG")[:20], "truncated or damaged"),
    "large.png": (png_of(10_001, 10_000), "absurdly large"),
    "bomb.png": (png_of(60_000, 60_000), "absurdly large"),
    "pipe.jpg": (None, "not a regular file"),
    "folder.jpg": (None, "is a folder"),
}


def test_broken_pictures_are_skipped_by_all_commands_but_check(
    copied_photos, checkpoint, tmp_path, eager
):
    for name, (data, _) in BROKEN_PICTURES.items():
        if data is not None:
            (copied_photos / name).write_bytes(data)
    os.mkfifo(copied_photos / "pipe.jpg")
    (copied_photos / "folder.jpg").mkdir()
    items = json.loads((copied_photos / "items.json").read_text())
    items["red-disc"]["images"] += [{"filename": name} for name in BROKEN_PICTURES]
    (copied_photos / "items.json").write_text(json.dumps(items))

    def require_all(text: str, prefix: str) -> None:
        lines = [line for line in text.splitlines() if line.startswith(prefix)]
        assert len(lines) == len(BROKEN_PICTURES)
        for name, (_, reason) in BROKEN_PICTURES.items():
            (line,) = (line for line in lines if f"item red-disc, file {name}: " in line)
            assert reason in line

    data = ("--labeled-data", copied_photos / "items.json")
    model = ("--keras-model", checkpoint)
    result = invoke("check", *data)
    assert result.exit_code == 2
    require_all(result.stdout, "error: ")
    for arguments in (
        ("index", *data, *model, "--output", tmp_path / "index.pkl"),
        ("evaluate", *data, *model),
        ("train", *data, *SMALL, "--epochs", 1, "--output", tmp_path / "checkpoints"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 3, result.output
        require_all(result.stderr, "skipped: ")
    assert len(json.loads((tmp_path / "index.skipped.json").read_text())) == len(BROKEN_PICTURES)


def link_outside(photos: Path) -> str:
    (photos.parent / "secret.png").write_bytes(encode("PNG"))
    (photos / "link.png").symlink_to("../secret.png")
    return "link.png"


def link_folder_outside(photos: Path) -> str:
    (photos.parent / "other").mkdir()
    (photos / "side").symlink_to("../other")
    return "side/gone.png"


def add_hard_link(photos: Path) -> str:
    os.link(photos / "red-disc-0.png", photos / "again.png")
    return "again.png"


@pytest.mark.parametrize(
    ("add_problem", "message"),
    [
        (link_outside, "leaves --image-dir"),
        (link_folder_outside, "leaves --image-dir"),
        (add_hard_link, "same file as red-disc-0.png of item red-disc"),
        (lambda photos: "red-disc-0.png", "same file as red-disc-0.png of item red-disc"),
        (lambda photos: "./red-disc-0.png", "same file as red-disc-0.png of item red-disc"),
        (lambda photos: "../photos/red-disc-0.png", ".."),
        (lambda photos: "C:\\photos\\red.png", "red.png"),
        (lambda photos: "nul\0.png", "nul"),
        (lambda photos: shutil.rmtree(photos) or "x.png", "no such folder"),
    ],
)
@pytest.mark.parametrize("command", ["check", "index", "train", "evaluate", "report"])
def test_fatal_problems_are_not_skipped(
    command: str,
    add_problem: Callable[[Path], str],
    message: str,
    copied_photos: Path,
    checkpoint: Path,
    tmp_path: Path,
) -> None:
    items = json.loads((copied_photos / "items.json").read_text())
    items["last"] = {"images": [{"filename": add_problem(copied_photos)}]}
    (tmp_path / "items.json").write_text(json.dumps(items))
    arguments = ["--labeled-data", tmp_path / "items.json", "--image-dir", copied_photos]
    if command in ("index", "train", "report"):
        arguments += ["--output", tmp_path / "out"]
    if command in ("index", "evaluate"):
        arguments += ["--keras-model", checkpoint]
    result = invoke(command, *arguments)
    assert result.exit_code == 2, result.output
    output = result.stdout if command == "check" else result.stderr
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert any(message in line for line in errors)
    assert not (tmp_path / "out").exists()
