from __future__ import annotations

import json
import shutil

import pytest

from siamese.catalogue import Catalogue
from siamese.embedding import Embedder
from siamese.errors import InputError
from siamese.indexes import open_index
from siamese.indexing import index_catalogue, skipped_list


@pytest.fixture(scope="module")
def embedder(checkpoint):
    return Embedder.load(checkpoint)


@pytest.fixture
def copied(catalogue, tmp_path):
    """A catalogue of the same pictures that a test may spoil."""
    folder = tmp_path / "photos"
    shutil.copytree(catalogue.image_dir, folder)
    return Catalogue.read(folder / "items.json")


def test_every_picture_is_a_row_with_its_vector(embedder, catalogue, tmp_path):
    done = index_catalogue(embedder, catalogue, tmp_path / "search_index.pkl")
    index = open_index(done.path)
    assert done.pictures == len(index) == len(catalogue.pictures)
    assert index.model == embedder.facts.as_dict()
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


def test_broken_pictures_are_skipped_and_listed(embedder, copied, tmp_path):
    first, second, third, *_ = copied.pictures
    copied.path_of(first).unlink()
    copied.path_of(second).write_text("no picture")
    whole = copied.path_of(third).read_bytes()
    copied.path_of(third).write_bytes(whole[: len(whole) // 2])
    output = tmp_path / "out" / "search_index.pkl"
    done = index_catalogue(embedder, copied, output)
    assert done.pictures == len(copied.pictures) - 3
    listed = json.loads(skipped_list(output).read_text())
    assert [one["filename"] for one in listed] == [p.filename for p in (first, second, third)]
    assert listed[0]["reason"] == "file missing"
    assert listed[1]["reason"] == "not a picture"
    assert "truncated" in listed[2]["reason"]
    copied.path_of(first).write_bytes(whole)
    copied.path_of(second).write_bytes(whole)
    copied.path_of(third).write_bytes(whole)
    index_catalogue(embedder, copied, output)
    assert not skipped_list(output).exists()  # an old list would be a lie


def test_nothing_usable_writes_nothing(embedder, copied, tmp_path):
    for picture in copied.pictures:
        copied.path_of(picture).write_text("no picture")
    with pytest.raises(InputError, match="none of the 48 pictures"):
        index_catalogue(embedder, copied, tmp_path / "search_index.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_link_out_of_the_folder_stops_everything(embedder, copied, tmp_path):
    secret = tmp_path / "secret.png"
    shutil.copy(copied.path_of(copied.pictures[0]), secret)
    copied.path_of(copied.pictures[1]).unlink()
    copied.path_of(copied.pictures[1]).symlink_to(secret)
    with pytest.raises(InputError, match=r"leaves --image-dir"):
        index_catalogue(embedder, copied, tmp_path / "search_index.pkl")
    assert not (tmp_path / "search_index.pkl").exists()


def test_an_unwritable_output_is_said_before_any_work(catalogue, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        # No embedder: it would fail otherwise as soon as it were asked.
        index_catalogue(None, catalogue, tmp_path / "file" / "search_index.pkl")  # type: ignore[arg-type]
