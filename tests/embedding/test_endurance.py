"""Thousands of pictures by the pretrained default: killed again and again, and some broken."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

pytestmark = pytest.mark.long

EMBED_AND_NOTE = """
import sys
from siamese.embedding.executor import LocalExecutor

embed_files = LocalExecutor.embed_files

def embed_and_note(self, *args):
    for batch in embed_files(self, *args):
        with open(sys.argv[1], "a") as file:
            file.writelines(f"{outcome.filename}\\n" for outcome in batch.outcomes)
        yield batch

LocalExecutor.embed_files = embed_and_note
from siamese.cli.main import cli
cli(sys.argv[2:])
"""
"""`siamese …`, which also writes the name of each picture it embeds into a file."""


def photo(number: int) -> Image.Image:
    """A picture of soft blobs, another for each number."""
    noise = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC)


def catalogue_of(folder: Path, filenames: list[str]) -> Path:
    items = {
        f"item {number}": {"images": [{"filename": name}], "labels": []}
        for number, name in enumerate(filenames)
    }
    path = folder / "items.json"
    path.write_text(json.dumps(items))
    return path


def rows_of(store: Path) -> dict[str, tuple[bytes, str | None]]:
    """The vector, as bytes, and the error of each picture that the folder holds."""
    rows = {}
    for path in sorted(store.glob("part-*.parquet")):
        for row in parquet.read_table(path).to_pylist():
            vector = np.asarray(row["vector"] or [], np.float32)
            rows[row["filename"]] = vector.tobytes(), row["error"]
    return rows


def test_killed_twenty_times_it_ends_like_an_undisturbed_run(tmp_path):
    names = [f"{number:05}.jpg" for number in range(3000)]
    for number, name in enumerate(names):
        photo(number).save(tmp_path / name)
    listed = str(catalogue_of(tmp_path, names))

    def begin(store: str, notes: str) -> subprocess.Popen[str]:
        words = ["embed", "--labeled-data", listed, "--output", str(tmp_path / store), "--json"]
        command = [sys.executable, "-c", EMBED_AND_NOTE, str(tmp_path / notes), *words]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    undisturbed = begin("whole", "whole.txt")
    said = json.loads(undisturbed.communicate()[0])
    assert (undisturbed.returncode, said["pictures"], said["new"]) == (0, 3000, 3000)
    draw = random.Random(0)
    each = said["seconds"] / 12  # so that most of the work is done between the kills
    for kill in range(20):
        before = rows_of(tmp_path / "store")
        process = begin("store", f"{kill}.txt")
        time.sleep(draw.uniform(0.5, 2 * each + 2.0))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        notes = tmp_path / f"{kill}.txt"
        embedded = notes.read_text().split() if notes.exists() else []
        assert len(embedded) == len(set(embedded))
        assert not before.keys() & set(embedded)  # nothing that was written is embedded again
        if process.returncode == 0:
            break
        # Only what was in flight is lost: what is written stays written, byte for byte.
        after = rows_of(tmp_path / "store")
        assert before.items() <= after.items()
    last = begin("store", "last.txt")
    assert json.loads(last.communicate()[0])["pictures"] == 3000
    assert last.returncode == 0
    assert rows_of(tmp_path / "store") == rows_of(tmp_path / "whole")
    assert not list((tmp_path / "store").glob(".*.tmp"))


def encoded(picture: Image.Image, format_: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format_)
    return buffer.getvalue()


def vast_png() -> bytes:
    """A PNG that says it has 40,000 × 40,000 pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        sum_ = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + sum_

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def cut(format_: str) -> Callable[[Path], object]:
    whole = encoded(photo(1), format_)
    return lambda path: path.write_bytes(whole[: len(whole) // 2])


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "file missing"),
    "empty": (lambda path: path.touch(), "empty file"),
    "text": (lambda path: path.write_text("see the other folder\n"), "not a picture"),
    "page": (lambda path: path.write_text("<html><h1>404</h1></html>"), "not a picture"),
    "first bytes": (
        lambda path: path.write_bytes(encoded(photo(1), "JPEG")[:24]),
        "not a picture|truncated or damaged",
    ),
    "cut JPEG": (cut("JPEG"), "truncated or damaged"),
    "cut PNG": (cut("PNG"), "truncated or damaged|damaged"),
    "cut WebP": (cut("WebP"), "not a picture|truncated or damaged"),
    "cut TIFF": (cut("TIFF"), "not a picture|truncated or damaged|damaged"),
    "vast": (lambda path: path.write_bytes(vast_png()), "absurdly large"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "pipe": (lambda path: os.mkfifo(path), "not a regular file"),
}
"""How to break a file of each kind, and how the reason begins."""


def test_two_hundred_broken_files_of_twelve_kinds_among_two_thousand(tmp_path):
    draw = random.Random(1)
    kinds = [*BROKEN] * 16 + draw.sample([*BROKEN], 8)
    names = [f"{number:05}.jpg" for number in range(2000)]
    broken = dict(zip(draw.sample(names, 200), kinds, strict=True))
    whole = encoded(photo(0), "JPEG")
    for number, name in enumerate(names):
        if name in broken:
            BROKEN[broken[name]][0](tmp_path / name)
        else:  # a different file each, without encoding each
            (tmp_path / name).write_bytes(whole + str(number).encode())
    listed = str(catalogue_of(tmp_path, names))
    words = ["embed", "--labeled-data", listed, "--output", str(tmp_path / "store"), "--json"]
    command = [sys.executable, "-m", "siamese", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    said = json.loads(done.stdout)
    assert said["pictures"] == said["new"] == 1800
    reasons = {one["filename"]: one["reason"] for one in said["skipped"]}
    assert reasons.keys() == broken.keys()
    for name, kind in broken.items():
        assert reasons[name].startswith(tuple(BROKEN[kind][1].split("|"))), (kind, reasons[name])
    rows = rows_of(tmp_path / "store")
    vectors = {vector for name, (vector, error) in rows.items() if error is None}
    assert len(vectors) == 1  # they all show the same
    assert {name for name, (_, error) in rows.items() if error is None} == set(names) - {*broken}

    again = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)
    assert (again["pictures"], again["new"]) == (1800, 0)
    assert {one["filename"]: one["reason"] for one in again["skipped"]} == reasons
