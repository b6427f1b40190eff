from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import siamese.embedding.embed_catalogue as embed_catalogue_module
import siamese.embedding.executor as executor_module
from siamese.data.catalogue import Catalogue
from siamese.data.images import square_picture
from siamese.embedding.embed_catalogue import embed_catalogue, embed_into_store
from siamese.embedding.embedder import Embedder
from siamese.embedding.store import EmbeddingStore


@pytest.fixture
def copied(catalogue, tmp_path):
    """A copy of the catalogue that a test may damage."""
    folder = tmp_path / "photos"
    shutil.copytree(catalogue.image_dir, folder)
    return Catalogue.read(folder / "items.json")


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path / "store")


@pytest.fixture
def opened(monkeypatch):
    """The names of the files that are decoded."""
    names: list[str] = []

    def square(source, size):
        names.append(Path(source).name)
        return square_picture(source, size)

    monkeypatch.setattr(executor_module, "square_picture", square)
    return names


@pytest.mark.parametrize("broken", [[0, 1], [5, 20], [46, 47], range(48)], ids=str)
def test_broken_pictures_of_a_catalogue_are_skipped(
    embedder, catalogue, expected, tmp_path, broken
):
    folder = tmp_path / "copy"
    shutil.copytree(catalogue.image_dir, folder)
    copy = Catalogue.read(folder / "items.json")
    for row in broken:
        copy.path_of(copy.pictures[row]).write_bytes(b"no picture")
    got = embed_catalogue(embedder, copy, batch_size=5)
    kept = [row for row in range(48) if row not in broken]
    assert got.pictures == [copy.pictures[row] for row in kept]
    np.testing.assert_allclose(got.vectors, expected[kept], atol=1e-5)
    assert [(s.item_id, s.filename, s.reason) for s in got.skipped] == [
        (copy.pictures[row].item_id, copy.pictures[row].filename, "not a picture") for row in broken
    ]


def test_a_file_that_is_named_twice_is_embedded_once(embedder, catalogue, tmp_path, opened):
    names = [picture.filename for picture in catalogue.pictures[:4]]
    form = {"a": ["gone.png", names[0], names[1], names[0]], "b": [names[2], "gone.png", names[1]]}
    form["b"].append(names[3])
    items = {item: {"images": [{"filename": name} for name in form[item]]} for item in form}
    (tmp_path / "items.json").write_text(json.dumps(items))
    double = Catalogue.read(tmp_path / "items.json", catalogue.image_dir)
    got = embed_catalogue(embedder, double, batch_size=2)
    assert sorted(opened) == sorted([*names, "gone.png"])
    assert [picture.filename for picture in got.pictures] == [
        names[row] for row in (0, 1, 0, 2, 1, 3)
    ]
    single = embedder.embed([catalogue.image_dir / name for name in names], batch_size=2)
    np.testing.assert_allclose(got.vectors, single[[0, 1, 0, 2, 1, 3]], atol=1e-5)
    assert [(one.item_id, one.filename) for one in got.skipped] == [
        ("a", "gone.png"),
        ("b", "gone.png"),
    ]


def digests(pictures, folder):
    return [
        hashlib.blake2b((folder / one.filename).read_bytes(), digest_size=16).digest()
        for one in pictures
    ]


def test_each_picture_has_the_digest_of_its_file(embedder, copied, store):
    copied.path_of(copied.pictures[5]).write_text("no picture")
    copied.path_of(copied.pictures[9]).unlink()
    expected = digests(
        (*copied.pictures[:5], *copied.pictures[6:9], *copied.pictures[10:]),
        copied.image_dir,
    )
    for used in (None, store, store):  # without a store, with an empty one, with a full one
        got = embed_catalogue(embedder, copied, batch_size=7, store=used)
        assert got.contents == expected
    shutil.copy(copied.path_of(copied.pictures[0]), copied.path_of(copied.pictures[1]))
    got = embed_catalogue(embedder, copied, store=store)
    assert got.contents == [expected[0], expected[0], *expected[2:]]


def test_a_file_without_a_state_is_tried_again(embedder, copied, store, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(executor_module.FileState, "from_path", lambda path: None)
        got = embed_catalogue(embedder, copied, store=store)
        assert {one.reason for one in got.skipped} == {"changed while it was read"}
        assert len(got.skipped) == 48
    assert embed_catalogue(embedder, copied, store=store).skipped == []


def require_same(one, other):
    assert one.pictures == other.pictures
    assert one.vectors.tobytes() == other.vectors.tobytes()
    assert one.skipped == other.skipped
    assert one.contents == other.contents


def test_a_store_gives_the_same_vectors_and_saves_embedding_twice(
    embedder, copied, store, opened, capsys
):
    copied.path_of(copied.pictures[5]).write_text("no picture")
    without = embed_catalogue(embedder, copied, batch_size=7)
    assert capsys.readouterr().err == ""
    del opened[:]
    require_same(embed_catalogue(embedder, copied, batch_size=7, store=store), without)
    assert capsys.readouterr().err == ""
    assert len(opened) == 48
    require_same(embed_catalogue(embedder, copied, batch_size=16, store=store), without)
    assert len(opened) == 48
    assert capsys.readouterr().err == "48 of 48 pictures embedded already\n"


def test_only_new_and_changed_pictures_are_embedded(embedder, copied, store, opened, capsys):
    pictures = copied.pictures
    few = Catalogue(
        *({item: part[item] for item in list(part)[:11]} for part in (copied._raw, copied.items)),
        copied.image_dir,
    )
    before = embed_catalogue(embedder, few, store=store)
    shutil.copy(copied.path_of(pictures[0]), copied.path_of(pictures[1]))
    del opened[:]
    after = embed_catalogue(embedder, copied, store=store)
    assert sorted(opened) == sorted(pictures[row].filename for row in (1, 44, 45, 46, 47))
    assert capsys.readouterr().err == "43 of 48 pictures embedded already\n"
    assert after.pictures == pictures
    kept = [row for row in range(44) if row != 1]
    assert after.vectors[kept].tobytes() == before.vectors[kept].tobytes()
    np.testing.assert_allclose(after.vectors[1], after.vectors[0], atol=1e-5)
    whole = embed_catalogue(embedder, copied)
    np.testing.assert_allclose(after.vectors, whole.vectors, atol=1e-5)
    # Pictures that are no longer in the catalogue were removed from the store.
    embed_catalogue(embedder, few, store=store)
    del opened[:]
    embed_catalogue(embedder, copied, store=store)
    assert sorted(opened) == sorted(picture.filename for picture in pictures[44:])


def test_a_broken_picture_is_tried_again_only_if_it_changes(embedder, copied, store, opened):
    paths = [copied.path_of(picture) for picture in copied.pictures]
    whole = paths[0].read_bytes()
    paths[0].write_text("no picture")
    paths[1].unlink()
    paths[2].unlink()
    paths[2].mkdir()
    for again in (False, True):
        del opened[:]
        got = embed_catalogue(embedder, copied, store=store)
        assert [one.reason for one in got.skipped] == [
            "not a picture",
            "file missing",
            "is a folder",
        ]
        # A missing file may come back, and checking it costs nothing.
        assert (sorted(opened) == sorted(path.name for path in paths[1:3])) == again
    for path in paths[:3]:
        path.rmdir() if path.is_dir() else None
        path.write_bytes(whole)
    del opened[:]
    assert embed_catalogue(embedder, copied, store=store).skipped == []
    assert sorted(opened) == sorted(path.name for path in paths[:3])


@pytest.mark.parametrize("trouble", [MemoryError(), OSError(5, "Input/output error")])
def test_a_failure_of_the_system_is_tried_again(embedder, copied, store, monkeypatch, trouble):
    def refuse(*_: object, **__: object) -> None:
        raise trouble

    with monkeypatch.context() as patch:
        patch.setattr("PIL.Image.open", refuse)
        got = embed_catalogue(embedder, copied, store=store)
        assert len(got.skipped) == 48
    assert embed_catalogue(embedder, copied, store=store).skipped == []


def test_a_run_that_is_stopped_keeps_its_vectors(embedder, copied, store, opened, monkeypatch):
    run = embedder.runtime.embed_squares
    fourth = square_picture(copied.path_of(copied.pictures[24]), 32)

    def run_some(squares: np.ndarray) -> np.ndarray:
        if (squares[0] == fourth).all():  # batches start in any order
            raise KeyboardInterrupt
        return run(squares)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(embedder.runtime, "embed_squares", run_some)
        embed_catalogue(embedder, copied, batch_size=8, store=store)
    del opened[:]
    got = embed_catalogue(embedder, copied, batch_size=8, store=store)
    assert len(opened) == 24
    require_same(got, embed_catalogue(embedder, copied, batch_size=8))


def test_a_picture_that_changes_while_it_is_embedded_is_embedded_again(
    embedder, copied, store, monkeypatch
):
    changing, other = (copied.path_of(copied.pictures[row]) for row in (0, 47))

    def square(source, size):
        decoded = square_picture(source, size)
        if source == changing:
            shutil.copyfile(other, changing)
            os.utime(changing, ns=(5, 5))
        return decoded

    with monkeypatch.context() as patch:
        patch.setattr(executor_module, "square_picture", square)
        embed_catalogue(embedder, copied, store=store)
    got = embed_catalogue(embedder, copied, store=store)
    np.testing.assert_allclose(got.vectors[0], got.vectors[47], atol=1e-5)


# --- embed_into_store


def test_embedding_into_a_store_fills_it_for_others(embedder, copied, store, opened):
    copied.path_of(copied.pictures[5]).write_text("no picture")
    run = embed_into_store(embedder, store, copied, batch_size=7)
    assert (run.pictures, run.new) == (47, 47)
    assert [(one.filename, one.reason) for one in run.skipped] == [
        (copied.pictures[5].filename, "not a picture")
    ]
    assert (run.runtime, run.precision) == (embedder.runtime.name, embedder.runtime.precision)
    document = run.as_dict()
    assert set(document) == {
        *(
            "pictures",
            "new",
            "skipped",
            "seconds",
            "pictures_per_second",
            "runtime",
            "precision",
            "engine",
        )
    }
    assert document["engine"] == "local"
    assert document["pictures_per_second"] == pytest.approx(47 / run.seconds)
    del opened[:]
    require_same(embed_catalogue(embedder, copied, store=store), embed_catalogue(embedder, copied))
    again = embed_into_store(embedder, store, copied)
    assert (again.pictures, again.new, again.runtime) == (47, 0, None)
    assert again.pictures_per_second == 0
    assert len(opened) == 48, "only without a store"


def test_no_runtime_is_opened_if_nothing_is_new(embedder, checkpoint, copied, store):
    embed_into_store(embedder, store, copied)
    other = Embedder.load(checkpoint, precision="float32")
    embed_catalogue(other, copied, store=store)
    assert other._runtime is None


def test_other_pictures_stay_in_the_store_on_request(embedder, copied, store, opened):
    few = Catalogue(
        *({item: part[item] for item in list(part)[:2]} for part in (copied._raw, copied.items)),
        copied.image_dir,
    )
    embed_into_store(embedder, store, copied)
    del opened[:]
    got = embed_catalogue(embedder, few, store=store, drop_others=False)
    assert len(got.pictures) == 8
    assert embed_into_store(embedder, store, copied).new == 0
    embed_catalogue(embedder, few, store=store)
    assert embed_into_store(embedder, store, copied).new == 40
    assert len(opened) == 40


def test_progress_counts_skipped_pictures(embedder, copied, monkeypatch):
    said = []

    class Bar:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, count):
            said.append(count)

        def set_postfix_str(self, text, refresh):
            said.append(text)

    monkeypatch.setattr(embed_catalogue_module, "progress_bar", lambda *_: Bar())
    for row in (0, 1, 20):
        copied.path_of(copied.pictures[row]).write_text("no picture")
    embed_catalogue(embedder, copied, batch_size=10)
    messages = [one for one in said if isinstance(one, str)]
    assert (messages[0], messages[-1]) == ("2 skipped", "3 skipped")
    assert sum(one for one in said if isinstance(one, int)) == 48
