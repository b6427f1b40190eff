"""A file that would crash FAISS is refused before FAISS reads it."""

from __future__ import annotations

import struct
import subprocess
import sys

import faiss
import numpy as np
import pytest

from siamese.indexes.faiss.file_check import check_file
from siamese.indexes.faiss.layout import build_graph
from siamese.indexes.faiss.vectors import read_vectors, write_vectors
from tests.indexes.conftest import SIZE, grouped

COUNT = 60
ODD = [-1, 0, 1, COUNT, COUNT + 1, 2**31 - 1, -(2**31)]
ODD_LONG = [-1, 0, 1, COUNT, 2**32, 2**40, 2**62, -(2**63)]


TYPES = ["flat", "graph of 16 bits", "graph of 8 bits"]


def write(path, kind):
    vectors = grouped(COUNT)
    if kind == "flat":
        index = faiss.IndexFlatL2(SIZE)
        index.add(vectors)
    else:
        index = build_graph(vectors, 16 if "16" in kind else 8, 16)
    write_vectors(index, path)


def mutated(good, rng):
    """Change one to three bytes or numbers of a file to odd ones, or cut it off."""
    data = bytearray(good)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(data) - 8))
        match rng.integers(4):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at : at + 4] = struct.pack("<i", int(rng.choice(ODD)))
            case 2:
                data[at : at + 8] = struct.pack("<q", int(rng.choice(ODD_LONG)))
            case _ if rng.random() < 0.3:
                del data[at + 8 :]
    return bytes(data)


@pytest.mark.parametrize("kind", TYPES)
def test_what_faiss_writes_is_accepted(kind, tmp_path):
    path = tmp_path / "vectors.faiss"
    write(path, kind)
    check_file(path)
    index = read_vectors(path)
    assert index.ntotal == COUNT
    assert index.search(grouped(COUNT), 1)[1].ravel().tolist() == list(range(COUNT))


def test_whatever_is_accepted_can_be_searched(tmp_path):
    for kind in TYPES:
        write(tmp_path / kind, kind)
    # In another process, which would not survive a crash.
    program = f"""
import sys
import faiss
import numpy as np
from pathlib import Path
faiss.omp_set_num_threads(1)
sys.path.insert(0, ".")
from siamese.indexes.faiss.vectors import decode, read_vectors
from tests.indexes.conftest import grouped
from tests.indexes.faiss.test_file_check import TYPES, mutated
for kind in TYPES:
    path = Path({str(tmp_path)!r}, kind)
    good, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(400):
        path.write_bytes(mutated(good, rng))
        try:
            index = read_vectors(path)
        except ValueError as error:
            assert str(error) and "\\n" not in str(error)
            refused += 1
            continue
        index.search(grouped(5, seed=1), 10)
        decode(index)
    print(refused)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    refused = [int(line) for line in done.stdout.splitlines()]
    assert len(refused) == len(TYPES) and all(40 < count < 400 for count in refused)


@pytest.mark.parametrize(
    ("index", "line"),
    [
        (faiss.IndexFlatIP(SIZE), "of an unknown type"),
        (faiss.IndexHNSWFlat(SIZE, 8), "of an unknown type"),
        (faiss.IndexHNSWSQ(SIZE, faiss.ScalarQuantizer.QT_4bit, 8), "in an unknown way"),
    ],
)
def test_other_kinds_are_refused(index, line, tmp_path):
    index.train(grouped(COUNT))
    index.add(grouped(COUNT))
    faiss.write_index(index, str(tmp_path / "vectors.faiss"))
    with pytest.raises(ValueError, match=line):
        check_file(tmp_path / "vectors.faiss")


def test_vectors_that_are_compared_are_of_length_1(tmp_path):
    for wrong in (0.5, np.nan):
        index = faiss.IndexFlatL2(SIZE)
        index.add(wrong * grouped(COUNT))
        faiss.write_index(index, str(tmp_path / "vectors.faiss"))
        with pytest.raises(ValueError, match="not of length 1"):
            check_file(tmp_path / "vectors.faiss")
    (tmp_path / "vectors.faiss").write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        check_file(tmp_path / "vectors.faiss")
