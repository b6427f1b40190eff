from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from pyarrow import parquet

import utilities
from siamese.data.catalogue import Catalogue
from siamese.embedding.embedder import Embedder
from siamese.embedding.executor import LocalExecutor
from siamese.errors import InputError
from siamese.indexes import open_index
from siamese.indexes.build import index_catalogue, prepare_index
from siamese.indexes.gallery_augmentation import augment_gallery
from siamese.indexes.place import embeddings_folder, skipped_list

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def embedder(checkpoint):
    return Embedder.load(checkpoint, precision="float32")


@pytest.fixture
def copied(catalogue, tmp_path):
    """Return a copy of the catalogue that a test may change."""
    folder = tmp_path / "photos"
    shutil.copytree(catalogue.image_dir, folder)
    return Catalogue.read(folder / "items.json")


def build(embedder, catalogue, output, **options):
    return index_catalogue(embedder, catalogue, prepare_index(output, **options))


@pytest.mark.parametrize(
    ("name", "form"),
    [("items.json", "labelled data"), ("photo.png", "a picture"), ("model.hdf5", "a Keras check")],
)
@pytest.mark.parametrize("backend", [None, "balltree", "faiss", "milvus"])
def test_output_must_not_be_another_artefact(tmp_path, name, form, backend):
    (tmp_path / "items.json").write_text('{"mug": {"images": [{"filename": "photo.png"}]}}')
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    (tmp_path / "model.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n")
    before = (tmp_path / name).read_bytes()
    with pytest.raises(InputError, match=f"{name}: not an index but {form}"):
        prepare_index(tmp_path / name, backend)
    assert (tmp_path / name).read_bytes() == before


def test_every_picture_is_a_row_with_its_vector(embedder, catalogue, tmp_path):
    done = build(embedder, catalogue, tmp_path / "search_index.pkl")
    index = open_index(done.path)
    assert done.pictures == len(index) == len(catalogue.pictures)
    assert index.model == embedder.facts
    for row, (picture, known) in enumerate(zip(catalogue.pictures, index.metadata, strict=True)):
        assert known == {
            "item_id": picture.item_id,
            "filename": picture.filename,
            "labels": list(picture.labels),
        }, row
    vectors = embedder.embed([catalogue.path_of(picture) for picture in catalogue.pictures[:3]])
    distances, rows = index.query(vectors, k=1)
    assert rows[:, 0].tolist() == [0, 1, 2]
    assert distances.max() < 1e-3


def test_an_augmented_index_holds_means_and_keeps_the_embeddings(embedder, catalogue, tmp_path):
    output = tmp_path / "search_index.pkl"
    plain = open_index(build(embedder, catalogue, output).path)
    mixed = open_index(build(embedder, catalogue, output, augment=True).path)
    rows = range(len(catalogue.pictures))
    np.testing.assert_allclose(mixed.vectors(rows), augment_gallery(plain.vectors(rows)), atol=1e-6)
    assert mixed.metadata == plain.metadata and mixed.model == plain.model
    assert abs(mixed.vectors(rows) - plain.vectors(rows)).max() > 1e-3
    # Without augmentation again: the stored embeddings were not augmented.
    again = open_index(build(embedder, catalogue, output).path)
    np.testing.assert_array_equal(again.vectors(rows), plain.vectors(rows))


def test_broken_pictures_are_skipped_and_listed(embedder, copied, tmp_path):
    first, second, third, *_ = copied.pictures
    copied.path_of(first).unlink()
    copied.path_of(second).write_text("no picture")
    whole = copied.path_of(third).read_bytes()
    copied.path_of(third).write_bytes(whole[: len(whole) // 2])
    output = tmp_path / "out" / "search_index.pkl"
    done = build(embedder, copied, output)
    assert done.pictures == len(copied.pictures) - 3
    listed = json.loads(skipped_list(output).read_text())
    assert [one["filename"] for one in listed] == [p.filename for p in (first, second, third)]
    assert listed[0]["reason"] == "file missing"
    assert listed[1]["reason"] == "not a picture"
    assert "truncated" in listed[2]["reason"]
    copied.path_of(first).write_bytes(whole)
    copied.path_of(second).write_bytes(whole)
    copied.path_of(third).write_bytes(whole)
    build(embedder, copied, output)
    assert not skipped_list(output).exists()  # not an outdated list


def test_nothing_usable_writes_nothing(embedder, copied, tmp_path):
    for picture in copied.pictures:
        copied.path_of(picture).write_text("no picture")
    with pytest.raises(InputError, match="none of the 48 pictures"):
        build(embedder, copied, tmp_path / "search_index.pkl")
    assert not (tmp_path / "search_index.pkl").exists()
    assert not skipped_list(tmp_path / "search_index.pkl").exists()


def test_a_link_out_of_the_folder_stops_everything(embedder, copied, tmp_path):
    secret = tmp_path / "secret.png"
    shutil.copy(copied.path_of(copied.pictures[0]), secret)
    copied.path_of(copied.pictures[1]).unlink()
    copied.path_of(copied.pictures[1]).symlink_to(secret)
    with pytest.raises(InputError, match=r"leaves --image-dir"):
        build(embedder, copied, tmp_path / "search_index.pkl")
    assert not (tmp_path / "search_index.pkl").exists()


def test_an_unwritable_output_is_reported_before_any_work(catalogue, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        # No embedder: it would fail otherwise as soon as it were asked.
        build(None, catalogue, tmp_path / "file" / "search_index.pkl")  # type: ignore[arg-type]


def test_only_three_new_photos_are_embedded(embedder, copied, tmp_path, capsys):
    items = copied.image_dir / "items.json"
    build(embedder, copied, tmp_path / "first" / "search_index.pkl")
    assert embeddings_folder(tmp_path / "first" / "search_index.pkl").is_dir()
    form = json.loads(items.read_text())
    for number in range(3):
        shutil.copy(copied.path_of(copied.pictures[number]), copied.image_dir / f"{number}.png")
        form["red-disc"]["images"].append({"filename": f"{number}.png"})
    items.write_text(json.dumps(form))
    # A copy of the results has other file times.
    shutil.copytree(tmp_path / "first", tmp_path / "second", copy_function=shutil.copyfile)
    done = build(embedder, Catalogue.read(items), tmp_path / "second" / "search_index.pkl")
    assert done.pictures == 51
    assert capsys.readouterr().err == "48 of 51 pictures embedded already\n"


def test_a_second_run_with_the_same_output_is_one_line(embedder, catalogue, tmp_path):
    from siamese.embedding.store import EmbeddingStore

    output = tmp_path / "search_index.pkl"
    with (
        EmbeddingStore(embeddings_folder(output)).open(embedder.facts),
        pytest.raises(InputError, match=r"search_index\.embeddings: another run is writing to it"),
    ):
        build(embedder, catalogue, output)
    assert not output.exists()


# --- in processes that are stopped

AT_THE_NTH = """
import os, signal, sys
import siamese.embedding.store as store
import utilities

store.SHARD_PICTURES = 8
event, name, count, number = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
seen = 0

def hook(happened, arguments):
    global seen
    if happened == event and os.path.basename(arguments[0]).startswith(name):
        seen += 1
        if seen == count:
            os.kill(os.getpid(), number)

sys.addaudithook(hook)
utilities.main(sys.argv[5:])
"""


@pytest.fixture
def words(copied, checkpoint):
    copied.path_of(copied.pictures[3]).write_text("no picture")
    return (
        *("--export", "balltree", "--keras-model", str(checkpoint), "--batch-size", "8"),
        *("--labeled-data", str(copied.image_dir / "items.json")),
    )


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run_until(
    words: tuple[str, ...], event: str, name: str, count: int, number: int
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", AT_THE_NTH, event, name, str(count), str(number), *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def stored_filenames() -> set[str]:
    names: set[str] = set()
    for path in Path("search_index.embeddings").glob("part-*"):
        names.update(parquet.read_table(path)["filename"].to_pylist())
    return names


def temporary_files() -> list[str]:
    return [path.name for path in Path().rglob(".*.tmp")]


def assert_continues(words: tuple[str, ...], known: int) -> None:
    """Assert that the same command embeds the rest and writes the same index as without a stop."""
    runner = CliRunner()
    again = runner.invoke(utilities.main, words)
    assert again.exit_code == 3, again.output  # the broken picture
    assert "item red-square, file red-square-3.png: not a picture" in again.stderr
    assert f"{known} of 48 pictures embedded already" in again.stderr.splitlines()
    assert len(stored_filenames()) == 48
    kept = sorted(path.name for path in Path("search_index.embeddings").iterdir())
    assert kept[:2] == [".lock", "manifest.json"]
    assert len(kept) == 3

    whole = runner.invoke(utilities.main, (*words, "--output", "whole.pkl"))
    assert whole.exit_code == 3
    gone_on, at_once = open_index(Path("search_index.pkl")), open_index(Path("whole.pkl"))
    assert gone_on.metadata == at_once.metadata
    assert gone_on.model == at_once.model
    vectors = [np.asarray(index.tree.data) for index in (gone_on, at_once)]
    np.testing.assert_allclose(*vectors, atol=1e-5)
    assert (
        skipped_list(Path("search_index.pkl")).read_text() == Path("whole.skipped.json").read_text()
    )


@pytest.mark.parametrize(
    ("event", "count", "known"),
    [
        ("os.rename", 3, 17),  # the third file is complete, but not renamed
        ("os.remove", 1, 48),  # all files are merged, but not deleted
    ],
)
def test_after_sigkill_the_same_command_continues(words, event, count, known):
    ended = run_until(words, event, "part-", count, 9)
    assert ended.returncode == -9, ended.stderr
    assert not Path("search_index.pkl").exists()
    assert len(stored_filenames()) == known
    assert_continues(words, known)
    assert temporary_files() == []


def test_after_sigterm_the_same_command_continues(words):
    ended = run_until(words, "os.rename", "part-", 3, 15)
    assert ended.returncode == 143
    assert ended.stderr.splitlines()[-1].startswith("stopped; ")
    assert "Traceback" not in ended.stderr
    assert temporary_files() == []
    assert not Path("search_index.pkl").exists()
    known = len(stored_filenames())
    assert 16 <= known < 48
    assert_continues(words, known)


BACKENDS = {"balltree": "search_index.pkl", "faiss": "search_index.faiss", "milvus": "index.milvus"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_update_changes_what_changed_and_embeds_nothing_else(
    backend, embedder, copied, tmp_path, monkeypatch
):
    place = tmp_path / BACKENDS[backend]
    words = {"backend": backend, "update": True}
    assert build(embedder, copied, place, **words).changes is None  # the first one

    form = json.loads((copied.image_dir / "items.json").read_text())
    names = [image["filename"] for item in form.values() for image in item["images"]]
    shutil.copy(copied.image_dir / names[5], copied.image_dir / names[0])  # another picture
    (copied.image_dir / names[1]).unlink()
    _, second, third, *_ = form
    form[second]["labels"] = ["relabelled"]
    del form[third]
    form["new"] = {"images": [{"filename": "new.png"}]}
    shutil.copy(copied.image_dir / names[-1], copied.image_dir / "new.png")
    (copied.image_dir / "items.json").write_text(json.dumps(form))
    changed = Catalogue.read(copied.image_dir / "items.json")

    embedded = []
    embed_files = LocalExecutor.embed_files

    def counting(self, embedder, files, batch_size):
        embedded.extend(files)
        return embed_files(self, embedder, files, batch_size)

    monkeypatch.setattr(LocalExecutor, "embed_files", counting)
    done = build(embedder, changed, place, **words)
    assert sorted(embedded) == sorted([names[0], names[1], "new.png"])
    assert done.changes == (1, 5, 5)  # changed: names[0], four relabelled; removed: names[1], four
    assert [one.filename for one in done.skipped] == [names[1]]
    assert done.pictures == len(changed.pictures) - 1
    del done

    index = open_index(place)
    rebuilt = build(embedder, changed, tmp_path / "rebuilt.pkl")
    expected = open_index(rebuilt.path)
    whole = [picture for picture in changed.pictures if picture.filename != names[1]]
    vectors = embedder.embed([changed.path_of(picture) for picture in whole])
    ours, theirs = index.query(vectors, 12), expected.query(vectors, 12)
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-3)
    found = {
        (e.metadata["item_id"], e.metadata["filename"]): sorted(e.metadata["labels"])
        for e in index.entries()
    }
    assert found == {(p.item_id, p.filename): sorted(p.labels) for p in whole}
    del index
    assert build(embedder, changed, place, **words).changes == (0, 0, 0)


def test_conflicting_options_are_refused(embedder, catalogue, tmp_path, pretrained):
    place = tmp_path / "search_index.faiss"
    build(embedder, catalogue, place, backend="faiss", augment=True)
    for words, lines in (
        ({"backend": "faiss", "update": True}, ["built with --augment-gallery; add it, or build"]),
        (
            {"backend": "faiss", "update": True, "augment": True},
            ["built with --augment-gallery, so --update cannot change it"],
        ),
        (
            {"backend": "balltree", "update": True, "min_recall": 0.5},
            ["--backend balltree: .* is an index of faiss"],
        ),
        ({"backend": "annoy"}, ["--backend annoy: unknown; choose one of balltree, faiss, milvus"]),
    ):
        with pytest.raises(InputError) as raised:
            build(embedder, catalogue, place, **words)
        assert len(raised.value.lines) == len(lines)
        for line, expected in zip(raised.value.lines, lines, strict=True):
            assert re.search(expected, line)
    with pytest.raises(InputError, match="an address is for --backend milvus, not faiss"):
        build(embedder, catalogue, "http://localhost:1", backend="faiss")
    with pytest.raises(InputError) as raised:
        build(embedder, catalogue, tmp_path / "m", backend="milvus", augment=True, min_recall=0.9)
    assert len(raised.value.lines) == 2
    for output, words, line in (
        (
            ".",
            {"backend": "faiss"},
            "this is a folder; add the name of the index, such as search_index.faiss",
        ),
        (catalogue.image_dir, {"backend": "milvus"}, "is a folder with files in it"),
        (catalogue.image_dir, {"backend": "faiss"}, "has other files in it"),
        ("m.milvus", {"collection": "../x"}, "invalid name"),
    ):
        with pytest.raises(InputError, match=line):  # before anything is embedded
            build(None, catalogue, output, **words)
    assert not (catalogue.image_dir / "LOCK").exists()
    plain = tmp_path / "plain.faiss"
    build(embedder, catalogue, plain, backend="faiss")
    with pytest.raises(InputError, match=r"built with the model .* not with 'EfficientNetLite0'"):
        build(pretrained, catalogue, plain, update=True)


def test_after_a_stopped_update_the_same_command_completes_it(
    embedder, copied, tmp_path, monkeypatch
):
    from siamese.indexes.faiss.index import FaissIndex

    place = tmp_path / "search_index.faiss"
    build(embedder, copied, place, backend="faiss")
    form = json.loads((copied.image_dir / "items.json").read_text())
    form.popitem()
    (copied.image_dir / "items.json").write_text(json.dumps(form))
    fewer = Catalogue.read(copied.image_dir / "items.json")
    with monkeypatch.context() as patch:
        patch.setattr(FaissIndex, "save", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build(embedder, fewer, place, update=True)
    assert len(open_index(place)) == len(copied.pictures)
    assert build(embedder, fewer, place, update=True).changes == (0, 0, 4)
    assert len(open_index(place)) == len(fewer.pictures)


def test_the_backend_is_that_of_the_suffix_or_of_the_existing_index(embedder, catalogue, tmp_path):
    for name, backend in (("a.pkl", "balltree"), ("a.faiss", "faiss"), ("a", "balltree")):
        assert build(embedder, catalogue, tmp_path / name).backend == backend
    build(embedder, catalogue, tmp_path / "b", backend="faiss")
    assert build(embedder, catalogue, tmp_path / "b").backend == "faiss"


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_update_opens_the_index_once(backend, checkpoint, catalogue, tmp_path, monkeypatch):
    from siamese.cli.main import cli
    from siamese.indexes import BACKENDS

    opened = []
    open_once = type(BACKENDS[backend]).open

    def counting(self, place, *more, **options):
        opened.append(place)
        return open_once(self, place, *more, **options)

    place = tmp_path / "an index"
    words = ["index", "--labeled-data", str(catalogue.image_dir / "items.json"), "--update"]
    words += ["--keras-model", str(checkpoint), "--backend", backend, "--output", str(place)]
    assert CliRunner().invoke(cli, words).exit_code == 0
    monkeypatch.setattr(type(BACKENDS[backend]), "open", counting)
    again = CliRunner().invoke(cli, words)
    assert "0 added, 0 changed, 0 removed" in again.stdout
    assert opened == [place]


def test_an_update_with_another_min_recall_stores_it(embedder, catalogue, tmp_path):
    place = tmp_path / "search_index.faiss"
    build(embedder, catalogue, place)
    done = build(embedder, catalogue, place, update=True, min_recall=0.5)
    assert done.changes == (0, 0, 0) and open_index(place).min_recall == 0.5
