"""The folder of a FAISS index: layout, recall, updates, damage."""

from __future__ import annotations

import json
import pickle
import shutil
import threading

import faiss
import msgspec
import numpy as np
import pytest

from siamese.errors import InputError
from siamese.indexes import BACKENDS, LabelFilter, open_index
from siamese.indexes.faiss import layout as faiss_layout
from siamese.indexes.faiss.folder import checksum
from siamese.indexes.faiss.index import FaissIndex
from tests.indexes.conftest import LABELS, SIZE, contents, facts, grouped, pictures

COUNT = 300


@pytest.fixture
def graphs(monkeypatch):
    """Build a graph from 41 vectors on."""
    monkeypatch.setattr(faiss_layout, "MAX_EXACT", 40)


def made(place, count=COUNT, **words):
    vectors, metadata = grouped(count), pictures(count)
    return BACKENDS["faiss"].build(place, vectors, metadata, contents(count), facts(), **words)


@pytest.fixture(params=["exact", "graph"])
def folder(request, tmp_path, monkeypatch):
    if request.param == "graph":
        monkeypatch.setattr(faiss_layout, "MAX_EXACT", 40)
    made(tmp_path / "index", min_recall=0.9)
    return tmp_path / "index"


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def rewritten(folder, **changes):
    (folder / "manifest.json").write_text(json.dumps(manifest(folder) | changes))


def test_the_layout_depends_on_the_number_of_pictures_and_is_reported(
    tmp_path, graphs, monkeypatch, capsys
):
    made(tmp_path / "few", 40)
    assert manifest(tmp_path / "few")["found"]["kind"] == "exact"
    assert capsys.readouterr().err == (
        "40 pictures: all pictures are compared, because there are few\n"
    )
    made(tmp_path / "many", 300)
    found = manifest(tmp_path / "many")["found"]
    assert (found["kind"], found["bits"], found["links"], found["effort"]) == ("graph", 16, 16, 64)
    assert found["recall"] > 0.98 and found["queries"] == 300
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(
        "300 pictures: a graph with 16 links per vector and 16 bits per number finds "
    )
    monkeypatch.setattr(faiss_layout, "MAX_HALF_BYTES", 300 * SIZE)
    made(tmp_path / "more", 300, min_recall=0.9)
    assert manifest(tmp_path / "more")["found"]["bits"] == 8
    sizes = [(tmp_path / name / "vectors-00001.faiss").stat().st_size for name in ("many", "more")]
    assert sizes[0] - sizes[1] == 300 * SIZE - 2 * SIZE * 4  # less the range of each dimension


def test_below_the_required_recall_a_larger_graph_is_built_before_it_fails(
    tmp_path, graphs, monkeypatch, capsys
):
    real = faiss_layout.RecallSample.recall
    tried = []

    def poor(sample, rows):
        tried.append(real(sample, rows))
        return 0.5 + 0.01 * len(tried)

    monkeypatch.setattr(faiss_layout.RecallSample, "recall", poor)
    with pytest.raises(InputError, match=r"--min-recall 0\.9: a graph finds at most 0\.64"):
        made(tmp_path / "index", min_recall=0.9)
    assert len(tried) == len(faiss_layout.EF_SEARCH) * len(faiss_layout.LINKS)
    assert not (tmp_path / "index").exists()
    tried.clear()
    made(tmp_path / "index", min_recall=0.575)
    assert manifest(tmp_path / "index")["found"]["links"] == 32
    assert "below 0.575, building a larger one" in capsys.readouterr().err


def test_recall_is_measured_against_comparing_with_all():
    vectors = grouped(500)
    sample = faiss_layout.RecallSample(vectors)
    every = np.linalg.norm(vectors - sample.queries[:, None], axis=2)
    nearest = np.argsort(every, axis=1)[:, :10]
    assert sample.recall(nearest) == 1
    half = nearest.copy()
    half[:, ::2] = np.argsort(every, axis=1)[:, 490:495]
    assert sample.recall(half) == 0.5
    assert sample.recall(np.full_like(nearest, -1)) == 0
    # Of equal vectors either counts.
    twice = np.concatenate([vectors, vectors])
    sample = faiss_layout.RecallSample(twice)
    every = np.linalg.norm(twice - sample.queries[:, None], axis=2)
    first = np.argsort(every, axis=1, kind="stable")[:, :10]
    assert sample.recall((first + 500) % 1000) == 1


def test_a_changed_graph_is_measured_again_and_rebuilt_after_many_removals(
    tmp_path, graphs, capsys
):
    index = made(tmp_path / "index")
    more = grouped(20, seed=3)
    index.add(more, [{"item_id": "new", "filename": f"{n}", "labels": []} for n in range(20)])
    index.save()
    assert manifest(tmp_path / "index")["unmeasured"] == 0
    assert manifest(tmp_path / "index")["found"]["queries"] == 320
    index.remove(index.find(item_id="new")[:10])
    index.save()
    assert (manifest(tmp_path / "index")["rows"], len(index)) == (320, 310)  # not rebuilt yet
    index.remove(np.arange(100))
    index.save()
    opened = open_index(tmp_path / "index")
    assert manifest(tmp_path / "index")["rows"] == len(opened) == 210
    assert len(opened.find(item_id="new")) == 10 and not len(opened.find(item_id="item 3"))
    _, rows = opened.query(more[10:], 1)
    assert [one["item_id"] for one in opened.metadata_of(rows.ravel())] == ["new"] * 10
    # A growing exact index gets a graph.
    few = made(tmp_path / "few", 40)
    few.add(grouped(4, seed=5), [{**one, "item_id": "more"} for one in pictures(4)])
    few.save()
    assert manifest(tmp_path / "few")["found"]["kind"] == "graph"


def test_an_open_index_does_not_change_when_another_is_saved(folder):
    reader = open_index(folder)
    before = reader.query(grouped(5, seed=1), 3)
    writer = open_index(folder)
    writer.remove(np.arange(200))
    writer.save()
    for one, other in zip(before, reader.query(grouped(5, seed=1), 3), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (len(reader), len(open_index(folder))) == (COUNT, 100)
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock",
        "manifest.json",
        "pictures-00002.arrow",
        "vectors-00002.faiss",
    ]
    reader.remove([0])
    with pytest.raises(InputError, match="another run has changed it since it was opened"):
        reader.save()


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
    files = manifest(folder)["files"]
    files["vectors"]["name"] = name
    rewritten(folder, files=files)
    with pytest.raises(InputError, match="which is not a file of an index"):
        open_index(folder)


def test_files_that_do_not_match_are_refused(folder):
    good = manifest(folder)
    other = folder.parent / "other"
    made(other, 100, min_recall=0.9)
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
        rewritten(folder, **changes)
        with pytest.raises(InputError, match=line) as raised:
            open_index(folder)
        assert len(raised.value.lines) == 1
        (folder / "manifest.json").write_text(json.dumps(good))
    shutil.copy(other / "pictures-00001.arrow", folder)
    files = good["files"]
    files["pictures"] = manifest(other)["files"]["pictures"]
    rewritten(folder, files=files)
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
        files = manifest(folder)["files"]
        for file in files.values():
            if file["name"] == path.name:
                file.update(bytes=len(evil), xxh3=checksum(path))
        rewritten(folder, files=files)
        with pytest.raises(InputError, match="damaged"):
            open_index(folder)
        path.write_bytes(good)
    assert "executed" not in capsys.readouterr().out


def test_a_folder_with_other_files_is_not_written_to(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"precious")
    with pytest.raises(InputError, match=r"has other files in it, such as a\.jpg"):
        made(tmp_path / "photos", 20)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.jpg"]
    with pytest.raises(InputError, match="no folder yet"):
        FaissIndex.build(grouped(5), pictures(5), facts()).save()
    for words, line in (
        ({"contents": [b"short"] * 5}, "the contents are not 5 hashes of 16 bytes"),
        ({"contents": contents(4)}, "the contents are not 5 hashes of 16 bytes"),
    ):
        with pytest.raises(InputError, match=line):
            FaissIndex.build(grouped(5), pictures(5), facts(), **words)
    with pytest.raises(InputError, match="no pictures to index"):
        FaissIndex.build(np.empty((0, SIZE)), [], facts())


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


def test_a_higher_min_recall_is_ensured_when_the_index_is_saved(tmp_path, graphs):
    index = made(tmp_path / "index", min_recall=0.5)
    index.layout = msgspec.structs.replace(index.layout, recall=0.6, queries=1)
    index.save()
    assert manifest(tmp_path / "index")["found"]["recall"] == 0.6  # enough for the old minimum
    index.min_recall = 0.9
    index.save()
    found = manifest(tmp_path / "index")["found"]
    assert found["recall"] >= 0.9 and found["queries"] == COUNT
    assert manifest(tmp_path / "index")["min_recall"] == 0.9


def test_temporary_files_of_a_killed_run_are_deleted(folder):
    (folder / ".abc.tmp").mkdir()
    (folder / ".abc.tmp" / "vectors-00002.faiss").write_bytes(b"half")
    index = open_index(folder)
    index.remove([0])
    index.save()
    assert not (folder / ".abc.tmp").exists()


def test_alternating_filters_keep_their_own_results(folder):
    index = open_index(folder)
    names = [LabelFilter.from_lists([label]) for label in LABELS] + [
        LabelFilter.from_lists((), (), [label]) for label in LABELS
    ]
    first = [index.query(grouped(3, seed=1), 5, labels) for labels in names]
    for _ in range(2):
        for labels, expected in zip(names, first, strict=True):
            again = index.query(grouped(3, seed=1), 5, labels)
            for one, other in zip(again, expected, strict=True):
                np.testing.assert_array_equal(one, other)


def test_a_filter_finds_pictures_far_from_the_query(tmp_path, graphs):
    # Two distant groups; the pictures with the label are not in the group of the queries.
    rng = np.random.default_rng(0)
    middles = np.repeat(np.eye(SIZE)[:2], 300, axis=0)
    vectors = (middles + 0.2 * rng.normal(size=(600, SIZE))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    metadata = [
        {"item_id": str(row), "filename": str(row), "labels": ["there"] if row >= 300 else []}
        for row in range(600)
    ]
    index = BACKENDS["faiss"].build(tmp_path / "i", vectors, metadata, contents(600), facts())
    assert index.layout.kind == "graph"
    _, rows = index.query(vectors[:50], 10, LabelFilter.from_lists(["there"]))
    expected = 300 + np.argsort(-vectors[:50] @ vectors[300:].T, axis=1)[:, :10]
    agree = [len(set(one) & set(other)) for one, other in zip(rows, expected, strict=True)]
    assert np.mean(agree) > 9.8  # vectors are kept in 16 bits
