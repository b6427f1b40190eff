from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from siamese.errors import InputError
from siamese.indexes.milvus.index import MilvusIndex
from tests.conftest import ROOT
from tests.indexes.milvus.conftest import MODEL, is_one_line, pictures, unit


def test_a_folder_that_another_process_has_open_is_one_line(tmp_path):
    folder = tmp_path / "milvus"
    index = MilvusIndex.build(unit(5), pictures(5), MODEL, uri=folder)
    script = """
import sys
from siamese.errors import InputError
from siamese.indexes.milvus.index import MilvusIndex
for line in sys.stdin:
    try:
        print(len(MilvusIndex.open(sys.argv[1])), flush=True)
    except InputError as error:
        print(error, flush=True)
"""
    other = subprocess.Popen(
        [sys.executable, "-c", script, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )

    def open_there():
        other.stdin.write("open\n")
        other.stdin.flush()
        return other.stdout.readline()

    assert open_there() == (
        f"{folder}: another process has it open; stop that process, or let both connect to "
        "a server (milvus-lite server)\n"
    )
    assert len(MilvusIndex.open(folder)) == 5  # this process can open it several times
    del index
    assert open_there() == "5\n"
    assert other.communicate() == ("", "") and other.returncode == 0


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("aliases.json", "Milvus reports|no collection pictures"),
        ("collections/*/schema.json", "Milvus reports|no collection pictures"),
        ("collections/*/manifest.json", r"manifest.json: damaged .*; restore a copy"),
        ("collections/*/partitions/*/data/*.parquet", "Milvus reports|manifest.json: damaged"),
    ],
)
@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_a_damaged_folder_is_one_line_and_nothing_is_deleted(
    tmp_path, folder_of_100, file, line, damage, capfd
):
    folder = tmp_path / "milvus"
    shutil.copytree(folder_of_100, folder)
    (path,) = folder.glob(file)
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2]}.get(damage, b""))
    if damage == "gone":
        path.unlink()
    with pytest.raises(InputError, match=line) as caught:
        index = MilvusIndex.open(folder)
        index.metadata_of(index.query(unit(1), 3)[1][0])
    assert is_one_line(caught) and str(caught.value).startswith(str(folder))
    index = caught = None
    path.write_bytes(content)
    assert len(MilvusIndex.open(folder)) == 100
    assert capfd.readouterr() == ("", "")


def test_damaged_bits_never_crash(tmp_path, folder_of_100):
    """A folder with a flipped bit is refused in one line, or its intact pictures are found."""
    rng = np.random.default_rng(0)
    files = [path for path in folder_of_100.glob("**/*.*") if path.is_file()]
    refused = 0
    for turn in range(24):
        folder = tmp_path / str(turn)
        shutil.copytree(folder_of_100, folder)
        path = folder / files[turn % len(files)].relative_to(folder_of_100)
        content = bytearray(path.read_bytes())
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        try:
            index = MilvusIndex.open(folder)
            distances, rows = index.query(unit(2, seed=1), 5)
            assert np.isfinite(distances).all()
            assert all(known in pictures(100) for known in index.metadata_of(rows.ravel()))
        except InputError as error:
            assert len(error.lines) == 1 and str(error).isprintable()
            refused += 1
    assert 0 < refused < 24
