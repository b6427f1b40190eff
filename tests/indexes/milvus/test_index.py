from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent import futures
from pathlib import Path

import numpy as np
import pytest

from siamese.errors import GoneError, InputError
from siamese.indexes import BallTreeIndex, LabelFilter
from siamese.indexes.milvus import connection as reaching
from siamese.indexes.milvus import index as engine
from siamese.indexes.milvus import rows as milvus_rows
from siamese.indexes.milvus.connection import Connection, is_milvus
from siamese.indexes.milvus.index import MilvusIndex
from siamese.indexes.milvus.rows import expression_of, key_of, messages, rows_of
from siamese.indexes.update import bring_up_to_date
from siamese.models.facts import ModelFacts

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("milvus_lite") is None, reason="no Milvus Lite for this system"
)

MODEL = ModelFacts("a model", "0123abcd", 8, 32, None)
HOSTILE = [
    "quoted \"twice\" and 'once'",
    "back\\slash\\",
    '") or id > 0 or array_contains(labels, "',
    "two\nlines\r\tand a tab",
    "ключ 鍵 🔑 é",
    "nothing\x00after",
    "{label} $meta %s \\n \\u0041",
    "",
    " ",
]


def unit(count, size=8, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def pictures(count, first=0):
    return [
        {"item_id": f"item {row // 3}", "filename": f"ü/{row}.jpg", "labels": [f"l{row % 4}"]}
        for row in range(first, first + count)
    ]


def contents(count, seed=0):
    return [bytes([seed, row % 256]) * 8 for row in range(count)]


def one_line(error):
    return len(error.value.lines) == 1 and str(error.value).isprintable()


class Server:
    """Milvus Lite as a process of its own, which can be killed and started again."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        command = ["server", "--data-dir", self.folder, "--host", "127.0.0.1"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "milvus_lite", *command, "--port", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while True:
            assert self.process.poll() is None, "the server did not start"
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", self.port)):
                    return
            time.sleep(0.05)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("server") / "milvus")
    yield running
    running.kill()


@pytest.fixture(params=["folder", pytest.param("server", marks=pytest.mark.long)])
def uri(request, tmp_path):
    """Return where a Milvus is: a folder of its own, or a server with others in it."""
    if request.param == "folder":
        return str(tmp_path / "milvus")
    return request.getfixturevalue("server").uri


def stands_in(index):
    """What is in an index, as a value to compare."""
    entries = list(index.entries())
    vectors = index.vectors([entry.row for entry in entries])
    return {
        (*names(entry.metadata), tuple(entry.metadata["labels"]), entry.content, vector.tobytes())
        for entry, vector in zip(entries, vectors, strict=True)
    }


def names(metadata):
    return metadata["item_id"], metadata["filename"]


def test_it_answers_as_the_exact_index(uri):
    index = MilvusIndex.build(unit(300), pictures(300), MODEL, contents(300), uri=uri)
    exact = BallTreeIndex.build(unit(300), pictures(300), MODEL)
    assert (len(index), index.embedding_size, index.model) == (300, 8, MODEL)
    assert index.name == str(uri)
    for labels in (
        LabelFilter(),
        LabelFilter.from_lists(any_of=["l1", "l2"]),
        LabelFilter.from_lists(any_of=["l1", "l2"], none_of=["l2"]),
        LabelFilter.from_lists(all_of=["l1", "l2"]),
        LabelFilter.from_lists(none_of=["l1", "unheard of"]),
    ):
        for k in (1, 10, 1000):
            distances, rows = index.query(unit(5, seed=1), k, labels)
            expected, places = exact.query(unit(5, seed=1), k, labels)
            assert distances.shape == rows.shape == expected.shape
            assert (distances.dtype, rows.dtype) == (np.float64, np.intp)
            np.testing.assert_allclose(distances, expected, atol=1e-6)
            assert index.metadata_of(rows.ravel()) == exact.metadata_of(places.ravel())
            np.testing.assert_array_equal(
                index.vectors(rows.ravel()), exact.vectors(places.ravel()).astype(np.float32)
            )
    assert index.query(np.empty((0, 8)), 7)[1].shape == (0, 7)
    assert index.label_counts() == exact.label_counts()
    assert index.item_sizes(["item 1", "nobody"]).tolist() == [3, 0]
    assert set(index.find(item_id="item 1")) == {key_of("item 1", f"ü/{n}.jpg") for n in (3, 4, 5)}
    assert index.find(item_id="item 1", filename="ü/3.jpg") == [key_of("item 1", "ü/3.jpg")]
    assert not len(index.find(item_id="item 1", filename="ü/9.jpg"))


def test_what_is_added_and_removed_is_found_by_who_opens_it(uri):
    index = MilvusIndex.build(unit(30), pictures(30), MODEL, contents(30), uri=uri)
    index.remove(index.find(item_id="item 2"))
    index.add(unit(2, seed=5), pictures(2, first=100), contents(2, seed=5))
    index.add(unit(1, seed=6), pictures(1), contents(1, seed=6))  # is there, with another vector
    index.save()
    expected = stands_in(index)
    assert len(index) == len(expected) == 29
    del index  # gives the folder free
    opened = MilvusIndex.open(uri)
    assert stands_in(opened) == expected and opened.model == MODEL
    distances, rows = opened.query(unit(1, seed=6), 1)
    assert opened.metadata_of(rows[0]) == pictures(1)
    assert distances == pytest.approx(0, abs=1e-6)


def test_a_new_build_takes_the_place_of_the_old_one_in_one_step(uri, monkeypatch):
    first = MilvusIndex.build(unit(30), pictures(30), MODEL, uri=uri, collection="swap")
    filled = engine._upsert

    def watched(connection, place, rows):
        filled(connection, place, rows)
        assert len(MilvusIndex.open(uri, "swap")) == 30  # still the old one

    monkeypatch.setattr(engine, "_upsert", watched)
    second = MilvusIndex.build(unit(5), pictures(5), MODEL, uri=uri, collection="swap")
    assert len(second) == len(MilvusIndex.open(uri, "swap")) == 5
    assert len(collections(uri, "swap")) == 1
    # Who has the old one open is told: its vectors may be of another model.
    for ask in (lambda: first.query(unit(1), 1), lambda: len(first)):
        with pytest.raises(GoneError, match="made anew or dropped meanwhile; open it again"):
            ask()

    def broken(connection, place, rows):
        filled(connection, place, rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "_upsert", broken)
    with pytest.raises(KeyboardInterrupt):
        MilvusIndex.build(unit(9), pictures(9), MODEL, uri=uri, collection="swap")
    assert len(second) == 5
    assert len(collections(uri, "swap")) == 1


def test_a_build_that_cannot_even_tidy_up_says_what_was_wrong_first(tmp_path, monkeypatch):
    def broken(connection, place, rows):
        raise InputError("the first thing that was wrong")

    call = Connection.call

    def away(self, method, *args, **kwargs):
        if method == "drop_collection":
            raise InputError("no Milvus answers there")
        return call(self, method, *args, **kwargs)

    monkeypatch.setattr(engine, "_upsert", broken)
    monkeypatch.setattr(Connection, "call", away)
    with pytest.raises(InputError, match="the first thing that was wrong"):
        MilvusIndex.build(unit(3), pictures(3), MODEL, uri=tmp_path / "milvus")


def test_what_a_killed_build_has_left_is_dropped_a_day_later(tmp_path, monkeypatch):
    uri = tmp_path / "milvus"
    kept = MilvusIndex.build(unit(3), pictures(3), MODEL, uri=uri, collection="pictures_2024")
    connection = Connection(uri)
    for age in (60, 2 * engine.STALE_SECONDS):
        engine._create(connection, f"pictures_{int(time.time() - age):x}_0123abcd", 8, MODEL)
    MilvusIndex.build(unit(3), pictures(3), MODEL, uri=uri)
    assert len(collections(uri, "pictures")) == 3  # its own, that of a minute ago, `kept`
    assert len(kept) == 3


def collections(uri, prefix):
    return [
        name for name in Connection(uri).call("list_collections") if name.startswith(f"{prefix}_")
    ]


def test_hostile_names_are_only_names(uri):
    metadata = [
        {"item_id": f"item {text}", "filename": f"{text}.jpg", "labels": [text, "all"]}
        for text in HOSTILE
    ]
    index = MilvusIndex.build(unit(len(HOSTILE)), metadata, MODEL, uri=uri, collection="hostile")
    assert sorted(map(names, (entry.metadata for entry in index.entries()))) == sorted(
        map(names, metadata)
    )
    assert index.label_counts() == {"all": len(HOSTILE)} | dict.fromkeys(HOSTILE, 1)
    for text, known in zip(HOSTILE, metadata, strict=True):
        for found in (
            index.find(item_id=known["item_id"]),
            index.find(filename=known["filename"]),
            index.query(unit(1), 5, LabelFilter.from_lists(any_of=[text]))[1][0],
            index.query(unit(1), 5, LabelFilter.from_lists(all_of=[text, "all"]))[1][0],
        ):
            assert index.metadata_of(found) == [known]
        rest = index.query(unit(1), 99, LabelFilter.from_lists(none_of=[text]))[1][0]
        assert len(rest) == len(HOSTILE) - 1
        assert known not in index.metadata_of(rest)
    assert index.item_sizes([known["item_id"] for known in metadata]).tolist() == [1] * len(HOSTILE)
    with pytest.raises(InputError, match="no text that Milvus can hold"):
        index.find(item_id="half \ud83d")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"item_id": "x" * 4097}, "names of 4096 bytes"),
        ({"labels": ["ü" * 2049]}, "names of 4096 bytes"),
        ({"labels": list(map(str, range(4097)))}, "4096 labels at most"),
        ({"filename": "half \ud83d.jpg"}, "no Unicode"),
        ({"filename": 5}, "another form"),
    ],
)
def test_what_milvus_cannot_hold_is_one_line_before_anything_is_changed(tmp_path, change, line):
    folder = tmp_path / "milvus"
    with pytest.raises(InputError, match=line):
        MilvusIndex.build(unit(2), [*pictures(1), pictures(2)[1] | change], MODEL, uri=folder)
    assert not folder.exists()


def test_two_pictures_of_one_key_are_refused_and_one_that_is_there_twice_counts_once(
    tmp_path, monkeypatch
):
    folder = tmp_path / "milvus"
    twice = [pictures(1)[0], pictures(1)[0], pictures(2)[1]]
    index = MilvusIndex.build(unit(3), twice, MODEL, uri=folder)
    assert len(index) == 2
    np.testing.assert_array_equal(index.vectors(index.find(filename="ü/0.jpg")), unit(3)[1:2])

    for module in (milvus_rows, engine):
        monkeypatch.setattr(module, "key_of", lambda item_id, filename: 7)
    with pytest.raises(InputError, match="same key; rename one") as caught:
        index.add(unit(2), pictures(2, first=50))
    assert one_line(caught)
    index.add(unit(1), pictures(1, first=50))
    with pytest.raises(InputError, match=r"ü/50.jpg.*ü/60.jpg.*same key"):
        index.add(unit(1), pictures(1, first=60))
    assert len(index) == 3


def test_keys_are_the_same_everywhere_and_told_apart():
    assert key_of("item 1", "ü/3.jpg") == 2**63 - 1 & key_of("item 1", "ü/3.jpg")
    assert key_of("a", "bc") != key_of("ab", "c") != key_of("", "abc")
    assert key_of("a", "b") == 5414274520996491826


def test_messages_are_bounded_in_rows_and_bytes(monkeypatch):
    monkeypatch.setattr(milvus_rows, "ROWS", 10)
    rows = rows_of(unit(25), pictures(25), None)
    assert list(map(len, messages(rows.values()))) == [10, 10, 5]
    monkeypatch.setattr(milvus_rows, "MESSAGE", 400)
    parts = list(messages(rows.values()))
    assert [row for part in parts for row in part] == list(rows.values())
    assert max(map(len, parts)) < 8
    monkeypatch.setattr(milvus_rows, "MESSAGE", 1)
    assert list(map(len, messages(rows.values()))) == [1] * 25


def test_many_queries_results_and_rows_go_in_parts(tmp_path, monkeypatch):
    index = MilvusIndex.build(unit(200), pictures(200), MODEL, uri=tmp_path / "milvus")
    expected = index.query(unit(50, seed=1), 20)
    asked = count_calls(index, monkeypatch)
    monkeypatch.setattr(engine, "ROWS", 30)
    monkeypatch.setattr(engine, "MESSAGE", 16 * 20 * 7)  # 7 queries of 20 results
    distances, rows = index.query(unit(50, seed=1), 20)
    assert asked["search"] == 8
    np.testing.assert_array_equal(rows, expected[1])
    np.testing.assert_array_equal(distances, expected[0])
    assert len(index.metadata_of(rows.ravel())) == 1000
    before = asked["delete"]
    index.remove(np.unique(rows)[:70])
    assert asked["delete"] - before == 3 and len(index) == 130


def test_more_results_than_milvus_gives_are_compared_one_by_one(tmp_path, monkeypatch):
    index = MilvusIndex.build(unit(90), pictures(90), MODEL, uri=tmp_path / "milvus")
    monkeypatch.setattr(engine, "MOST_RESULTS", 16)
    exact = BallTreeIndex.build(unit(90), pictures(90), MODEL)
    for k, labels in (
        (40, LabelFilter()),
        (500, LabelFilter()),
        (20, LabelFilter.from_lists(["l1"])),
    ):
        distances, rows = index.query(unit(3, seed=1), k, labels)
        expected, places = exact.query(unit(3, seed=1), k, labels)
        np.testing.assert_allclose(distances, expected, atol=1e-6)
        assert index.metadata_of(rows.ravel()) == exact.metadata_of(places.ravel())
    monkeypatch.setattr(engine, "COMPARED", 89)
    with pytest.raises(InputError, match="40 results are asked for; Milvus finds at most 16"):
        index.query(unit(3, seed=1), 40)


def test_an_answer_with_too_few_results_is_asked_for_again(tmp_path, monkeypatch):
    """As of a graph, which may not lead to all that a filter keeps."""
    index = MilvusIndex.build(unit(60), pictures(60), MODEL, uri=tmp_path / "milvus")
    expected = index.query(unit(4, seed=1), 12)
    search, seen, missing = index._search, [], 0

    def misses(X, k, expression, breadth):
        seen.append(breadth)
        found = search(X, k, expression, breadth)
        return [(near[:-3], rows[:-3]) for near, rows in found] if len(seen) <= missing else found

    monkeypatch.setattr(index, "_search", misses)
    monkeypatch.setattr(index, "_breadth", "ef")
    for missing in (1, 2):  # noqa: B007, it is what `misses` looks at
        seen.clear()
        distances, rows = index.query(unit(4, seed=1), 12)
        np.testing.assert_array_equal(rows, expected[1])
        np.testing.assert_allclose(distances, expected[0], atol=1e-6)
        assert seen == [engine._BROAD, engine._BROADEST]


def count_calls(index, monkeypatch):
    asked = Counter()
    call = index._connection.call

    def counted(method, *args, **kwargs):
        asked[method] += 1
        return call(method, *args, **kwargs)

    monkeypatch.setattr(index._connection, "call", counted)
    return asked


def update(index, wanted):
    """Make an index hold `wanted`: content and vector by item and filename."""
    bring_up_to_date(
        index,
        np.array([vector for _, vector in wanted.values()]),
        [
            {"item_id": item_id, "filename": filename, "labels": ["l"]}
            for item_id, filename in wanted
        ],
        [content for content, _ in wanted.values()],
    )
    index.save()


def wanted(count, first, changed):
    """A catalogue: some pictures from `first` on, of which every third may have changed."""
    catalogue = {}
    for row, known in enumerate(pictures(count, first), first):
        content = bytes([changed and row % 3 == 0, row])
        vector = unit(1, seed=int.from_bytes(content, "big"))[0]
        catalogue[names(known)] = content * 8, vector
    return catalogue


@pytest.mark.long
@pytest.mark.parametrize(
    ("method", "nth", "moment"),
    [
        ("upsert", 2, "during"),
        ("upsert", 4, "before"),
        ("delete", 1, "before"),
        ("delete", 1, "after"),
        ("flush", 1, "during"),
    ],
)
def test_a_server_killed_in_an_update_and_the_update_repeated(
    tmp_path, monkeypatch, method, nth, moment
):
    server = Server(tmp_path / "milvus")
    try:
        before, after = wanted(90, 0, False), wanted(120, 30, True)
        index = MilvusIndex.build(unit(1), pictures(1), MODEL, uri=server.uri)
        update(index, before)
        monkeypatch.setattr(reaching, "RETRY_SECONDS", 0)
        monkeypatch.setattr(reaching, "CONNECT_SECONDS", 2)
        monkeypatch.setattr(milvus_rows, "ROWS", 20)
        monkeypatch.setattr(engine, "ROWS", 20)
        index = MilvusIndex.open(server.uri)
        call, left = index._connection.call, [nth]

        def deadly(name, *args, **kwargs):
            left[0] -= name == method
            now = name == method and left[0] == 0
            if now and moment == "before":
                server.kill()
            if now and moment == "during":
                threading.Timer(0.002, server.kill).start()
            answer = call(name, *args, **kwargs)
            if now and moment == "after":
                server.kill()
            return answer

        monkeypatch.setattr(index._connection, "call", deadly)
        with pytest.raises(InputError, match="no Milvus answers there") as caught:
            update(index, after)
            server.process.wait()  # killed when all was said and done
            len(index)
        assert one_line(caught) and left[0] <= 0
        server.process.wait()
        server.start()
        monkeypatch.setattr(reaching, "CONNECT_SECONDS", 30)
        repeated = MilvusIndex.open(server.uri)
        update(repeated, after)
        assert stands_in(repeated) == {
            (*name, ("l",), content, vector.tobytes()) for name, (content, vector) in after.items()
        }
        distances, _ = repeated.query(np.array([vector for _, vector in after.values()]), 1)
        np.testing.assert_allclose(distances, 0, atol=1e-6)
    finally:
        server.kill()


@pytest.mark.long
def test_an_update_goes_on_by_itself_when_the_server_comes_back(tmp_path, monkeypatch):
    server = Server(tmp_path / "milvus")
    try:
        after = wanted(90, 0, False)
        index = MilvusIndex.build(unit(1), pictures(1), MODEL, uri=server.uri)
        monkeypatch.setattr(milvus_rows, "ROWS", 20)
        asked = count_calls(index, monkeypatch)
        counted, killed = index._connection.call, []

        def deadly(name, *args, **kwargs):
            if name == "upsert" and asked["upsert"] == 2 and not killed:
                server.kill()
                killed.append(threading.Timer(1, server.start))
                killed[0].start()
            return counted(name, *args, **kwargs)

        monkeypatch.setattr(index._connection, "call", deadly)
        update(index, after)
        assert killed and len(stands_in(index)) == len(index) == 90
    finally:
        killed[0].join()
        server.kill()


def test_a_folder_of_another_process_is_one_line_and_free_when_that_ends(tmp_path):
    folder = tmp_path / "milvus"
    index = MilvusIndex.build(unit(5), pictures(5), MODEL, uri=folder)
    script = """
import sys
from siamese.errors import InputError
from siamese.indexes.milvus.index import MilvusIndex
try:
    print(len(MilvusIndex.open(sys.argv[1])))
except InputError as error:
    print(error)
"""

    def other():
        environment = os.environ | {"PYTHONPATH": str(Path(engine.__file__).parents[2])}
        done = subprocess.run(
            [sys.executable, "-c", script, folder],
            capture_output=True,
            text=True,
            env=environment,
        )
        assert done.stderr == ""
        return done.stdout

    assert other() == (
        f"{folder}: another process has it open; end that one first, or let both ask "
        "a server (milvus-lite server)\n"
    )
    assert len(MilvusIndex.open(folder)) == 5  # this process has it, as often as it wants
    del index
    assert other() == "5\n"


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("aliases.json", "Milvus says|no collection pictures"),
        ("collections/*/schema.json", "Milvus says|no collection pictures"),
        ("collections/*/manifest.json", r"manifest.json: damaged .*; put a copy in its place"),
        ("collections/*/partitions/*/data/*.parquet", "Milvus says|manifest.json: damaged"),
    ],
)
@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_a_damaged_folder_is_one_line_and_nothing_of_it_is_deleted(
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
    assert one_line(caught) and str(caught.value).startswith(str(folder))
    index = caught = None
    path.write_bytes(content)
    assert len(MilvusIndex.open(folder)) == 100
    assert capfd.readouterr() == ("", "")


def test_damaged_bits_never_crash(tmp_path, folder_of_100):
    """Refused in one line, or answered from what is whole."""
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


@pytest.fixture(scope="session")
def folder_of_100(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "milvus"
    MilvusIndex.build(unit(100), pictures(100), MODEL, uri=folder)
    return folder


def test_a_full_disk_is_one_line_and_the_same_again_goes_through(tmp_path, monkeypatch):
    from milvus_lite.storage.wal import WAL

    index = MilvusIndex.build(unit(5), pictures(5), MODEL, uri=tmp_path / "milvus")

    def full(self, batch):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(WAL, "write_insert", full)
        with pytest.raises(InputError, match="the disk is full") as caught:
            index.add(unit(4), pictures(4, first=50))
        assert one_line(caught)
    index.add(unit(4), pictures(4, first=50))
    assert len(index) == 9


def test_a_collection_that_is_not_ours_is_one_line(tmp_path):
    folder = tmp_path / "milvus"
    MilvusIndex.build(unit(5), pictures(5), MODEL, uri=folder)
    connection = Connection(folder)
    with pytest.raises(InputError, match="no collection of_shoes"):
        MilvusIndex.open(folder, "of_shoes")
    with pytest.raises(InputError, match="no name of a collection"):
        MilvusIndex.build(unit(5), pictures(5), MODEL, uri=folder, collection="of shoes")

    connection.call("create_collection", "theirs", dimension=8)
    with pytest.raises(InputError, match="no collection that siamese index has made"):
        MilvusIndex.open(folder, "theirs")
    with pytest.raises(InputError, match="theirs is a collection that siamese index has not made"):
        MilvusIndex.build(unit(5), pictures(5), MODEL, uri=folder, collection="theirs")
    for noted, line in (
        ({"format": 2, "model": MODEL.as_dict()}, "made by a newer toolkit"),
        ({"format": 1, "model": {}}, "of another form"),
        (
            {"format": 1, "model": MODEL.as_dict() | {"embedding_size": 9}},
            "its fields are not those",
        ),
        ([], "no collection that siamese index has made"),
    ):
        connection.call(
            "alter_collection_properties", "pictures", properties={"siamese": json.dumps(noted)}
        )
        with pytest.raises(InputError, match=line) as caught:
            MilvusIndex.open(folder)
        assert one_line(caught)


def test_a_picture_that_is_no_longer_there_is_one_line(tmp_path):
    index = MilvusIndex.build(unit(5), pictures(5), MODEL, uri=tmp_path / "milvus")
    _, rows = index.query(unit(1), 5)
    index.remove(rows[0, :2])
    index.remove(rows[0, :2])  # again does no harm
    with pytest.raises(InputError, match="2 of 5 pictures are no longer there") as caught:
        index.metadata_of(rows[0])
    assert one_line(caught)
    index.remove(rows[0])
    assert len(index) == 0 and index.query(unit(2), 3)[1].shape == (2, 0)
    assert not index.label_counts() and not list(index.entries())


def test_it_stays_where_it_is(tmp_path):
    folder = tmp_path / "milvus"
    index = MilvusIndex.build(unit(5), pictures(5), MODEL, uri=folder)
    for own in (None, folder, index.name):
        index.save(own)
    with pytest.raises(InputError, match=r"stays where it is.*--output elsewhere"):
        index.save("elsewhere")


def test_no_server_there_is_one_line(monkeypatch):
    monkeypatch.setattr(reaching, "CONNECT_SECONDS", 0.5)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        for listens in (False, True):  # nobody there; somebody who never says a word
            if listens:
                mute.listen()
            uri = f"http://root:secret@127.0.0.1:{mute.getsockname()[1]}"
            with pytest.raises(InputError, match="no Milvus answers there") as caught:
                MilvusIndex.open(uri)
            assert one_line(caught) and "secret" not in str(caught.value)
    with pytest.raises(InputError, match="no folder of Milvus Lite and no address"):
        MilvusIndex.open("/no/such/folder")


def test_a_wrong_token_is_one_line(monkeypatch):
    import grpc

    class Keeper(grpc.ServerInterceptor):
        def intercept_service(self, proceed, details):
            def refuse(request, context):
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "auth check failure")

            return grpc.unary_unary_rpc_method_handler(refuse)

    door = grpc.server(futures.ThreadPoolExecutor(2), interceptors=[Keeper()])
    port = door.add_insecure_port("127.0.0.1:0")
    door.start()
    monkeypatch.setenv("MILVUS_TOKEN", "root:wrong")
    with pytest.raises(InputError, match="does not accept the token; set MILVUS_TOKEN") as caught:
        MilvusIndex.open(f"http://127.0.0.1:{port}")
    assert one_line(caught) and "wrong" not in str(caught.value)
    door.stop(None)


def test_a_milvus_is_recognised_by_its_name_or_its_folder(tmp_path, folder_of_100):
    for uri in ("http://host:19530", "HTTPS://a@b/db", "tcp://host", "unix:/run/milvus"):
        assert is_milvus(uri)
    assert is_milvus(folder_of_100)
    (tmp_path / "LOCK").touch()
    for path in ("search_index.pkl", "http", "ftp://host", tmp_path, tmp_path / "LOCK"):
        assert not is_milvus(path)


def test_nothing_of_milvus_is_imported_to_recognise_one():
    script = """
import sys
from siamese.indexes.milvus.index import MilvusIndex
from siamese.indexes.milvus.connection import is_milvus
assert is_milvus("http://host:19530") and not is_milvus("search_index.pkl")
assert not {"grpc", "pymilvus", "milvus_lite"} & set(sys.modules)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(engine.__file__).parents[2])}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)


def test_a_filter_is_said_in_the_language_of_milvus():
    assert expression_of(LabelFilter()) == ""
    assert expression_of(LabelFilter.from_lists(["b", "a"], ["c"], ['d"'])) == (
        'array_contains_any(labels, ["a", "b"]) and array_contains_all(labels, ["c"])'
        r' and not array_contains_any(labels, ["d\""])'
    )
