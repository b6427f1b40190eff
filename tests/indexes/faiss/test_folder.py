from __future__ import annotations

import json
import pickle
import shutil
import threading

import faiss
import numpy as np
import pytest

from siamese.errors import InputError
from siamese.indexes import open_index
from siamese.indexes.faiss.folder import checksum
from tests.indexes.conftest import SIZE, facts
from tests.indexes.faiss.conftest import COUNT, build, read_manifest, rewrite_manifest


def test_an_index_opened_during_a_save_is_the_old_or_the_new_one(folder):
    done = threading.Event()

    def write():
        index = open_index(folder)
        for _ in range(10):
            index.remove(index.find(filename=f"ü/{len(index) - 1}.jpg"))
            index.save()
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        index = open_index(folder)
        assert len(list(index.entries())) == len(index)
        seen.add(len(index))
    writer.join()
    assert seen <= set(range(COUNT - 10, COUNT + 1)) and len(open_index(folder)) == COUNT - 10


def test_flipped_bits_and_cut_files_are_always_detected(folder):
    rng = np.random.default_rng(0)
    for path in sorted(folder.glob("*-*")):
        good = path.read_bytes()
        for _ in range(60):
            data = bytearray(good)
            data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
            path.write_bytes(data)
            with pytest.raises(
                InputError,
                match=f"damaged .{path.name} has another checksum than when it was written",
            ):
                open_index(folder)
        for length in (0, 1, len(good) // 2, len(good) - 1):
            path.write_bytes(good[:length])
            with pytest.raises(InputError, match="damaged"):
                open_index(folder)
        path.unlink()
        with pytest.raises(InputError, match=f"damaged .{path.name} is missing"):
            open_index(folder)
        path.write_bytes(good)
    assert len(open_index(folder)) == COUNT


def test_a_damaged_manifest_is_one_line(folder):
    good = (folder / "manifest.json").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        data = bytearray(good)
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        (folder / "manifest.json").write_bytes(data)
        try:
            assert len(open_index(folder)) == COUNT  # such as a letter of a version
        except InputError as error:
            assert str(error).startswith(str(folder)) and "\n" not in str(error)
    for content in (b"", b"{}", b"[]", b"null", good[:-40], b"\xff\xfe", b'{"format": "1"}'):
        (folder / "manifest.json").write_bytes(content)
        with pytest.raises(InputError, match="damaged"):
            open_index(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../secret-00001.faiss",
        "/etc/passwd",
        "..",
        "",
        "sub/vectors-00001.faiss",
        "link-00001.faiss",
    ],
)
def test_no_path_leads_out_of_the_folder(folder, name):
    secret = folder.parent / "secret-00001.faiss"
    shutil.copy(folder / "vectors-00001.faiss", secret)
    (folder / "link-00001.faiss").symlink_to(secret)
    files = read_manifest(folder)["files"]
    files["vectors"]["name"] = name
    rewrite_manifest(folder, files=files)
    with pytest.raises(InputError, match="which is not a file of an index"):
        open_index(folder)


def test_files_that_do_not_match_are_refused(folder):
    good = read_manifest(folder)
    other = folder.parent / "other"
    build(other, 100, min_recall=0.9)
    for changes, line in (
        ({"format": 2}, r"written by a newer version \(format 2\); update this package"),
        ({"format": 0}, "of another type of index"),
        ({"backend": "annoy"}, "of another type of index"),
        ({"metric": "cosine"}, "of another type of index"),
        ({"pictures": COUNT + 1}, "do not match"),
        ({"rows": COUNT - 1}, "do not match"),
        ({"embedding_size": SIZE + 1}, "do not match"),
        ({"model": facts(SIZE + 1).as_dict()}, "do not match"),
        ({"min_recall": 2.0}, "do not match"),
        ({"model": None}, "damaged"),
        ({"files": {}}, "has no vectors file"),
        ({"files": {"vectors": good["files"]["vectors"]}}, "has no pictures file"),
        (
            {
                "files": dict(
                    zip(("vectors", "pictures"), [*good["files"].values()][::-1], strict=True)
                )
            },
            "damaged",
        ),
    ):
        rewrite_manifest(folder, **changes)
        with pytest.raises(InputError, match=line) as raised:
            open_index(folder)
        assert len(raised.value.lines) == 1
        (folder / "manifest.json").write_text(json.dumps(good))
    shutil.copy(other / "pictures-00001.arrow", folder)
    files = good["files"]
    files["pictures"] = read_manifest(other)["files"]["pictures"]
    rewrite_manifest(folder, files=files)
    with pytest.raises(InputError, match="do not match"):
        open_index(folder)


class Evil:
    def __reduce__(self):
        return print, ("executed",)


def test_nothing_is_executed(folder, capsys):
    evil = pickle.dumps(Evil())
    for path in folder.glob("*-*"):
        good = path.read_bytes()
        path.write_bytes(evil)
        files = read_manifest(folder)["files"]
        for file in files.values():
            if file["name"] == path.name:
                file.update(bytes=len(evil), xxh3=checksum(path))
        rewrite_manifest(folder, files=files)
        with pytest.raises(InputError, match="damaged"):
            open_index(folder)
        path.write_bytes(good)
    assert "executed" not in capsys.readouterr().out


def test_a_full_disk_leaves_the_old_index(folder, monkeypatch):
    index = open_index(folder)
    index.remove(np.arange(200))

    def full(*_):
        raise RuntimeError("Error in faiss::FileIOWriter …")

    monkeypatch.setattr(faiss, "write_index", full)
    with pytest.raises(InputError, match="the disk may be full"):
        index.save()
    assert len(open_index(folder)) == COUNT
    assert not [path for path in folder.iterdir() if path.name.endswith(".tmp")]


def test_two_runs_do_not_write_at_once(folder):
    from siamese.utils.files import lock_folder

    index = open_index(folder)
    index.remove([0])
    with lock_folder(folder), pytest.raises(InputError, match="another run is writing to it"):
        index.save()
    index.save()
    assert len(open_index(folder)) == COUNT - 1


def test_temporary_files_of_a_killed_run_are_deleted(folder):
    (folder / ".abc.tmp").mkdir()
    (folder / ".abc.tmp" / "vectors-00002.faiss").write_bytes(b"half")
    index = open_index(folder)
    index.remove([0])
    index.save()
    assert not (folder / ".abc.tmp").exists()
