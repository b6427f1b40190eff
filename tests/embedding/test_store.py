from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

import siamese.embedding.store as module
from siamese.embedding import store_shards
from siamese.embedding.store import EmbeddingStore
from siamese.embedding.store_rows import FileState, StoredOutcome
from siamese.errors import InputError
from siamese.models.facts import ModelFacts
from siamese.utils.files import atomic_path

FACTS = ModelFacts("model.hdf5", "f" * 64, 3, 32, None)


@pytest.fixture
def photos(tmp_path):
    """Ten files; a store does not read what is in them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}.png").write_text(f"picture {number}")
    return {path.name: path for path in sorted(folder.iterdir())}


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path / "store")


def vector(number: int) -> np.ndarray:
    return np.random.default_rng(number).standard_normal(3).astype(np.float32)


def make_outcome(path: Path, outcome: np.ndarray | str | None = None) -> StoredOutcome:
    state = FileState.from_path(path)
    assert state is not None
    return StoredOutcome(path.name, state, vector(int(path.stem)) if outcome is None else outcome)


def fill(store: EmbeddingStore, photos: dict[str, Path], shards: int = 1) -> None:
    with store.open(FACTS) as opened:
        paths = list(photos.values())
        for part in range(shards):
            opened.add(map(make_outcome, paths[part::shards]))
            opened.flush()


def unchanged(store: EmbeddingStore, photos: dict[str, Path]) -> set[str]:
    with store.open(FACTS) as opened:
        return opened.find_unchanged(photos)


def content(store: EmbeddingStore, photos: dict[str, Path]) -> dict[str, object]:
    with store.open(FACTS) as opened:
        return dict(opened.read_outcomes(opened.find_unchanged(photos)))


def shards(store: EmbeddingStore) -> list[str]:
    return sorted(path.name for path in store.folder.glob("part-*"))


def on_disk(store: EmbeddingStore) -> list[str]:
    """The filenames of all rows, read by PyArrow alone."""
    names: list[str] = []
    for path in store.folder.glob("part-*"):
        names += parquet.read_table(path)["filename"].to_pylist()
    return sorted(names)


def test_outcomes_are_read_as_they_were_written(store, photos):
    strange = np.array([np.nan, -0.0, 1e-45], np.float32)
    with store.open(FACTS) as opened:
        opened.add([make_outcome(photos["0.png"]), make_outcome(photos["1.png"], "not a picture")])
        opened.add([make_outcome(photos["2.png"], strange)])
    got = content(store, photos)
    assert got.keys() == {"0.png", "1.png", "2.png"}
    assert got["0.png"].tobytes() == vector(0).tobytes()
    assert got["1.png"] == "not a picture"
    assert got["2.png"].tobytes() == strange.tobytes()


def test_the_files_have_the_documented_form(store, photos):
    fill(store, photos)
    assert json.loads((store.folder / "manifest.json").read_text()) == {
        "format": 1,
        "model": FACTS.as_dict(),
    }
    table = parquet.read_table(store.folder / "part-00000.parquet")
    assert [(field.name, str(field.type).split("<")[0]) for field in table.schema] == [
        ("filename", "string"),
        ("size", "int64"),
        ("modified", "int64"),
        ("content", "fixed_size_binary[16]"),
        ("vector", "list"),
        ("error", "string"),
    ]
    (row,) = table.filter(np.array(table["filename"]) == "3.png").to_pylist()
    path = photos["3.png"]
    assert (row["size"], row["modified"]) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert row["vector"] == vector(3).tolist()
    assert row["error"] is None


def test_a_file_of_1970_is_unchanged_if_its_time_is(store, photos, monkeypatch):
    os.utime(photos["1.png"], ns=(0, 0))
    fill(store, photos)
    monkeypatch.setattr(FileState, "from_path", None)  # reading a file would fail
    with store.open(FACTS) as opened:
        assert opened.find_unchanged(photos) == set(photos)


def test_a_file_is_unchanged_if_its_time_or_its_content_is(store, photos):
    os.utime(photos["3.png"], ns=(5, photos["9.png"].stat().st_mtime_ns))
    fill(store, photos)
    os.utime(photos["1.png"], ns=(5, 5))  # another time, the same bytes
    photos["2.png"].write_text("PICTURE 2")  # the same size, other bytes
    photos["3.png"].write_text("a longer picture 3")
    os.utime(photos["3.png"], ns=(5, photos["9.png"].stat().st_mtime_ns))
    photos["4.png"].unlink()
    photos["5.png"].unlink()
    photos["5.png"].mkdir()
    photos["new.png"] = photos["0.png"].with_name("new.png")
    photos["new.png"].write_text("picture 0")
    assert unchanged(store, photos) == {"0.png", "1.png", "6.png", "7.png", "8.png", "9.png"}


def test_files_are_read_only_if_their_time_differs(store, photos, monkeypatch):
    fill(store, photos)
    for path in photos.values():
        os.utime(path, ns=(5, 5))
    with store.open(FACTS) as opened:
        assert opened.find_unchanged(photos) == photos.keys()
        opened.merge(photos)  # writes the new times
    monkeypatch.setattr(FileState, "from_path", None)
    assert unchanged(store, photos) == photos.keys()


def test_only_a_readable_regular_file_has_a_state(tmp_path):
    assert FileState.from_path(tmp_path / "gone.png") is None
    assert FileState.from_path(tmp_path) is None
    os.mkfifo(tmp_path / "pipe.png")
    assert FileState.from_path(tmp_path / "pipe.png") is None
    secret = tmp_path / "secret.png"
    secret.write_text("x")
    secret.chmod(0)
    if not os.access(secret, os.R_OK):  # root may read everything
        assert FileState.from_path(secret) is None


def test_the_newest_outcome_counts(store, photos):
    fill(store, photos)
    newer = np.ones(3, np.float32)
    with store.open(FACTS) as opened:
        opened.add([make_outcome(photos["3.png"], newer * 2), make_outcome(photos["3.png"], newer)])
    assert content(store, photos)["3.png"].tolist() == [1, 1, 1]
    with store.open(FACTS) as opened:
        opened.merge(photos)
    assert content(store, photos)["3.png"].tolist() == [1, 1, 1]
    assert on_disk(store) == sorted(photos)


def test_a_shard_is_written_after_enough_pictures_or_enough_time(store, photos, monkeypatch):
    monkeypatch.setattr(module, "SHARD_PICTURES", 4)
    with store.open(FACTS) as opened:
        for path in photos.values():
            opened.add([make_outcome(path)])
        assert len(shards(store)) == 2
    assert len(shards(store)) == 3  # the rest is written at the end
    monkeypatch.setattr(module, "SHARD_SECONDS", 0.0)
    with store.open(FACTS) as opened:
        opened.add([make_outcome(photos["0.png"])])
        assert len(shards(store)) == 4


def test_outcomes_added_before_an_error_are_written(store, photos):
    with pytest.raises(KeyboardInterrupt), store.open(FACTS) as opened:
        opened.add([make_outcome(photos["0.png"])])
        raise KeyboardInterrupt
    assert unchanged(store, photos) == {"0.png"}


def test_merging_leaves_few_shards_and_drops_other_pictures(store, photos, monkeypatch):
    monkeypatch.setattr(module, "SHARD_PICTURES", 1)
    monkeypatch.setattr(module, "MERGED_PICTURES", 4)
    fill(store, photos, shards=10)
    kept = {name: path for name, path in photos.items() if name != "7.png"}
    with store.open(FACTS) as opened:
        opened.merge(kept)
        assert dict(opened.read_outcomes(photos)).keys() == kept.keys()  # still usable
    assert len(shards(store)) == 3
    assert on_disk(store) == sorted(kept)
    got = content(store, photos)
    for name in kept:
        assert got[name].tobytes() == vector(int(name[0])).tobytes()


def test_merging_skips_large_shards_and_a_single_one(store, photos, monkeypatch):
    monkeypatch.setattr(module, "MERGED_PICTURES", 8)
    fill(store, {name: photos[name] for name in ("0.png", "1.png", "2.png", "3.png")})
    fill(store, {name: photos[name] for name in ("4.png", "5.png")})
    for _ in range(2):
        with store.open(FACTS) as opened:
            opened.merge(photos)
        assert shards(store) == ["part-00000.parquet", "part-00001.parquet"]
    with store.open(FACTS) as opened:
        opened.add([make_outcome(photos["6.png"])])
        opened.merge(photos)
    assert shards(store) == ["part-00000.parquet", "part-00003.parquet"]
    with store.open(FACTS) as opened:
        opened.merge({name for name in photos if name != "0.png"})
    assert shards(store) == ["part-00004.parquet"]
    assert on_disk(store) == ["1.png", "2.png", "3.png", "4.png", "5.png", "6.png"]
    with store.open(FACTS) as opened:
        opened.merge(())
    assert shards(store) == []


def test_a_merge_that_stops_before_it_removes_shards_does_no_harm(store, photos, monkeypatch):
    fill(store, photos, shards=3)
    (photos["0.png"]).write_text("changed 0")
    with store.open(FACTS) as opened:
        opened.add([make_outcome(photos["0.png"], np.ones(3, np.float32))])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "unlink", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with store.open(FACTS) as opened:
            opened.merge(photos)
    assert len(shards(store)) == 5
    for _ in range(2):
        got = content(store, photos)
        assert got.keys() == photos.keys()
        assert got["0.png"].tolist() == [1, 1, 1]
        with store.open(FACTS) as opened:
            opened.merge(photos)
    assert len(shards(store)) == 1
    assert on_disk(store) == sorted(photos)


def test_vectors_of_another_model_are_deleted(store, photos, capsys):
    fill(store, photos)
    assert capsys.readouterr().err == ""
    other = replace(FACTS, name="other.hdf5", fingerprint="e" * 64, embedding_size=5)
    with store.open(other) as opened:
        assert opened.find_unchanged(photos) == set()
    (line,) = capsys.readouterr().err.splitlines()
    assert "another model (model.hdf5)" in line and "other.hdf5" in line
    assert shards(store) == []
    with store.open(other) as opened:
        opened.add([make_outcome(photos["0.png"], np.zeros(5, np.float32))])
    with store.open(other) as opened:
        assert opened.find_unchanged(photos) == {"0.png"}


def test_a_model_that_was_moved_keeps_its_vectors(store, photos, capsys):
    fill(store, photos)
    moved = replace(FACTS, name="moved.hdf5", path="/elsewhere/moved.hdf5")
    with store.open(moved) as opened:
        assert opened.find_unchanged(photos) == photos.keys()
    assert capsys.readouterr().err == ""
    assert json.loads((store.folder / "manifest.json").read_text())["model"] == moved.as_dict()


def flip_a_bit(data: bytes) -> bytes:
    middle = data.index(vector(4).tobytes())
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("column", ["filename", "size", "modified", "content"])
def test_a_shard_with_an_empty_cell_is_deleted(store, photos, column, capsys):
    fill(store, photos)
    (path,) = store.folder.glob("*.parquet")
    rows = parquet.read_table(path)
    cells = pyarrow.array([None, *rows[column].to_pylist()[1:]], rows.schema.field(column).type)
    parquet.write_table(rows.set_column(rows.schema.get_field_index(column), column, cells), path)
    assert unchanged(store, photos) == set()
    assert f"{path}: damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: b"no Parquet file",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        flip_a_bit,
    ],
    ids=["empty", "other", "half", "end", "bit"],
)
def test_a_damaged_shard_is_deleted_and_reported(store, photos, spoil, capsys, monkeypatch):
    # Uncompressed, so that the test can find the vectors.
    writer = parquet.ParquetWriter
    monkeypatch.setattr(
        parquet, "ParquetWriter", lambda *args, **kw: writer(*args, compression="none", **kw)
    )
    fill(store, photos, shards=2)
    path = store.folder / "part-00000.parquet"
    path.write_bytes(spoil(path.read_bytes()))
    got = content(store, photos)
    assert got.keys() == {f"{number}.png" for number in (1, 3, 5, 7, 9)}
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"{path}: damaged; its pictures are embedded again"
    assert shards(store) == ["part-00001.parquet"]


def test_a_shard_of_other_columns_is_deleted(store, photos, capsys):
    fill(store, photos)
    other = EmbeddingStore(store.folder.with_name("other"))
    with other.open(replace(FACTS, embedding_size=4)) as opened:
        opened.add([make_outcome(photos["0.png"], np.zeros(4, np.float32))])
    shutil.copy(other.folder / "part-00000.parquet", store.folder / "part-00001.parquet")
    assert unchanged(store, photos) == photos.keys()
    assert "part-00001.parquet: damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("manifest", "line"),
    [
        (b'{"format": 2, "model": "of the future"}', "written by a newer version (format 2)"),
        (b'{"format": 1', "damaged"),
        (b'{"format": 1}', "damaged"),
        (b'{"format": "1", "model": {}}', "damaged"),
        (b'["format"]', "damaged"),
        (b"\xff\xfe", "damaged"),
        (None, "has Parquet files but no manifest.json"),
    ],
)
def test_a_folder_that_is_not_a_store_of_this_version_is_left_alone(store, photos, manifest, line):
    fill(store, photos)
    path = store.folder / "manifest.json"
    path.unlink() if manifest is None else path.write_bytes(manifest)
    with pytest.raises(InputError) as raised, store.open(FACTS):
        pass
    (message,) = raised.value.lines
    assert line in message
    assert f"remove {store.folder} to start again" in message
    assert shards(store) == ["part-00000.parquet"]


def test_two_runs_exclude_each_other(store, photos):
    with store.open(FACTS) as opened:
        with (
            pytest.raises(InputError, match="another run is writing to it; wait"),
            store.open(FACTS),
        ):
            pass
        opened.add([make_outcome(photos["0.png"])])
    assert unchanged(store, photos) == {"0.png"}


def test_temporary_files_of_a_killed_run_are_removed(store, photos):
    fill(store, photos)
    leftover = store.folder / ".x.tmp"
    leftover.mkdir()
    (leftover / "part-00001.parquet").write_bytes(b"half")
    assert unchanged(store, photos) == photos.keys()
    assert not leftover.exists()


def test_a_folder_that_is_not_writable_is_refused(store):
    store.folder.mkdir()
    store.folder.chmod(0o555)
    if os.access(store.folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(InputError, match="cannot be written"), store.open(FACTS):
        pass


def test_a_file_instead_of_a_folder_is_refused(store):
    store.folder.write_text("")
    with pytest.raises(InputError, match="cannot be written"), store.open(FACTS):
        pass


def test_a_full_disk_is_reported_and_earlier_shards_stay(store, photos, monkeypatch):
    if not Path("/dev/full").is_char_device():
        pytest.skip("no /dev/full on this system")
    fill(store, {"0.png": photos["0.png"]})

    @contextmanager
    def full_disk(path):
        with atomic_path(path) as temporary:
            temporary.symlink_to("/dev/full")
            yield temporary

    monkeypatch.setattr(store_shards, "atomic_path", full_disk)
    with (
        pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"),
        store.open(FACTS) as opened,
    ):
        opened.add([make_outcome(photos["1.png"])])
    monkeypatch.undo()
    assert unchanged(store, photos) == {"0.png"}
    assert sorted(path.name for path in store.folder.iterdir()) == [
        ".lock",
        "manifest.json",
        "part-00000.parquet",
    ]


# --- reading vectors


def test_vectors_are_read_in_any_order_and_repeatedly(store, photos):
    fill(store, photos, shards=3)
    names = ["7.png", "0.png", "9.png", "7.png"]
    with store.open(FACTS) as opened:
        vectors = opened.read_vectors(names)
        assert opened.read_vectors([]).shape == (0, 3)
    assert vectors.dtype == np.float32 and type(vectors) is np.ndarray
    np.testing.assert_array_equal(vectors, [vector(int(name[0])) for name in names])
    vectors[:] = 0  # an ordinary array, even if the store is deleted
    shutil.rmtree(store.folder)
    assert not vectors.any()


def test_the_temporary_file_of_vectors_is_invisible(store, photos):
    fill(store, photos)
    before = sorted(store.folder.iterdir())
    with store.open(FACTS) as opened:
        vectors = opened.read_vectors(list(photos))
        assert sorted(store.folder.iterdir()) == before
    assert len(vectors) == 10


def test_a_full_disk_while_reading_vectors_is_reported(store, photos, monkeypatch):
    fill(store, photos)

    def full_disk(**_):
        return Path("/dev/full").open("wb", buffering=0)

    monkeypatch.setattr(module.tempfile, "TemporaryFile", full_disk)
    with (
        store.open(FACTS) as opened,
        pytest.raises(InputError, match=r"store: cannot be written \(No space left on device\)"),
    ):
        opened.read_vectors(list(photos))


def test_memory_does_not_grow_with_the_pictures(tmp_path, monkeypatch):
    """Measures the peak memory of Arrow and of Python while merging and reading."""
    import pyarrow as pa

    monkeypatch.setattr(module, "SHARD_PICTURES", 128)
    facts = replace(FACTS, embedding_size=1024)
    rows = np.random.default_rng(0).standard_normal((128, 1024)).astype(np.float32)
    whole = pa.default_memory_pool()

    def peaks(pictures: int) -> tuple[int, int]:
        names = [f"{number}.png" for number in range(pictures)]
        counted = pa.proxy_memory_pool(whole)
        pa.set_memory_pool(counted)
        tracemalloc.start()
        try:
            with EmbeddingStore(tmp_path / str(pictures)).open(facts) as opened:
                for first in range(0, pictures, 128):
                    opened.add(
                        StoredOutcome(name, FileState(1, 1, bytes(16)), row)
                        for name, row in zip(names[first : first + 128], rows, strict=True)
                    )
                opened.merge()
                vectors = opened.read_vectors(names)
            python = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            pa.set_memory_pool(whole)
        assert len(vectors) == pictures
        return counted.max_memory(), python

    few, many = peaks(4 * 128), peaks(16 * 128)
    assert many[0] < 1.3 * few[0]
    assert many[1] - few[1] < 12 * 128 * 1000, "a filename takes less, a vector 4,096 bytes"
