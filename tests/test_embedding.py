from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from siamese.catalogue import Catalogue
from siamese.embedding import Embedder
from siamese.errors import InputError
from siamese.images import square_picture


@pytest.fixture(scope="module")
def embedder(checkpoint):
    return Embedder.load(checkpoint)


@pytest.fixture(scope="module")
def paths(catalogue):
    return [catalogue.path_of(picture) for picture in catalogue.pictures]


@pytest.fixture(scope="module")
def expected(embedder, paths):
    squares = np.stack([square_picture(path, 32) for path in paths])
    return embedder.model.predict(squares / np.float32(127.5) - 1, verbose=0)


def test_facts(embedder, checkpoint):
    facts = embedder.facts.as_dict()
    fingerprint = facts.pop("fingerprint")
    assert facts == {
        "name": "final_model.hdf5",
        "embedding_size": 16,
        "picture_size": 32,
        "path": str(checkpoint),
    }
    assert len(fingerprint) == 64 and int(fingerprint, 16)


@pytest.mark.parametrize("batch_size", [1, 7, 16, 48, 100])
def test_vectors_stand_in_order_whatever_the_batch_size(embedder, paths, expected, batch_size):
    vectors = embedder.embed(paths, batch_size=batch_size)
    assert vectors.shape == (48, 16) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert np.abs(expected[0] - expected[-1]).max() > 1e-3, "all vectors are alike"


def test_files_bytes_and_pil_pictures_are_the_same(embedder, paths, expected):
    sources = [str(paths[0]), paths[1].read_bytes(), Image.open(paths[2]).convert("RGB"), paths[3]]
    np.testing.assert_allclose(embedder.embed(sources), expected[:4], atol=1e-5)


def test_no_sources_no_vectors(embedder):
    assert embedder.embed([]).shape == (0, 16)


def test_every_broken_source_is_named(embedder, paths, tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    sources = [paths[0], tmp_path / "text.jpg", b"", tmp_path / "gone.png"]
    with pytest.raises(InputError) as raised:
        embedder.embed(sources)
    assert raised.value.lines == [
        f"{tmp_path / 'text.jpg'}: not a picture",
        "picture: empty file",
        f"{tmp_path / 'gone.png'}: file missing",
    ]


@pytest.mark.parametrize("broken", [[0, 1], [5, 20], [46, 47], range(48)], ids=str)
def test_broken_pictures_of_a_catalogue_are_skipped(
    embedder, catalogue, expected, tmp_path, broken
):
    folder = tmp_path / "copy"
    shutil.copytree(catalogue.image_dir, folder)
    copy = Catalogue.read(folder / "items.json")
    for row in broken:
        copy.path_of(copy.pictures[row]).write_bytes(b"no picture")
    got = embedder.embed_catalogue(copy, batch_size=5)
    kept = [row for row in range(48) if row not in broken]
    assert got.pictures == [copy.pictures[row] for row in kept]
    np.testing.assert_allclose(got.vectors, expected[kept], atol=1e-5)
    assert [(s.item_id, s.filename, s.reason) for s in got.skipped] == [
        (copy.pictures[row].item_id, copy.pictures[row].filename, "not a picture") for row in broken
    ]


def test_the_pretrained_default(pretrained, catalogue):
    assert pretrained.facts.name == "EfficientNetLite0" and pretrained.facts.path is None
    assert (pretrained.facts.embedding_size, pretrained.facts.picture_size) == (1280, 224)
    one = catalogue.path_of(catalogue.pictures[0])
    vectors = pretrained.embed([one, one])
    assert vectors.shape == (2, 1280)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert (vectors >= 0).all(), "pooled features come from a ReLU6"


def test_what_cannot_be_loaded_is_one_line(tmp_path):
    with pytest.raises(InputError, match="no such model file"):
        Embedder.load(tmp_path / "gone.hdf5")
    with pytest.raises(InputError, match="unknown; one of"):
        Embedder.pretrained("ResNet5")


def test_one_name_is_no_list_of_pictures(checkpoint):
    with pytest.raises(TypeError, match="into a list"):
        Embedder.load(checkpoint).embed("photo.jpg")
