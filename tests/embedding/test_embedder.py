from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from siamese.data.images import open_picture, square_picture
from siamese.embedding.embedder import Embedder
from siamese.errors import InputError


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


def test_the_representation_names_the_model(embedder):
    assert repr(embedder) == "Embedder('final_model.hdf5', 16 dimensions, 32 px)"


@pytest.mark.parametrize("batch_size", [1, 7, 16, 48, 100])
def test_vectors_are_in_order_whatever_the_batch_size(embedder, paths, expected, batch_size):
    vectors = embedder.embed(paths, batch_size=batch_size)
    assert vectors.shape == (48, 16) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert np.abs(expected[0] - expected[-1]).max() > 1e-3, "all vectors are alike"


def test_files_bytes_and_pil_pictures_have_the_same_vectors(embedder, paths, expected):
    sources = [str(paths[0]), paths[1].read_bytes(), Image.open(paths[2]).convert("RGB"), paths[3]]
    np.testing.assert_allclose(embedder.embed(sources), expected[:4], atol=1e-5)


def test_no_sources_give_no_vectors(embedder):
    assert embedder.embed([]).shape == (0, 16)


def test_every_broken_source_is_reported(embedder, paths, tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    sources = [paths[0], tmp_path / "text.jpg", b"", tmp_path / "gone.png"]
    with pytest.raises(InputError) as raised:
        embedder.embed(sources)
    assert raised.value.lines == [
        f"{tmp_path / 'text.jpg'}: not a picture",
        "picture: empty file",
        f"{tmp_path / 'gone.png'}: file missing",
    ]


def test_the_pretrained_default(pretrained, catalogue):
    assert pretrained.facts.name == "EfficientNetLite0" and pretrained.facts.path is None
    assert (pretrained.facts.embedding_size, pretrained.facts.picture_size) == (1280, 224)
    one = catalogue.path_of(catalogue.pictures[0])
    vectors = pretrained.embed([one, one])
    assert vectors.shape == (2, 1280)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert (vectors >= 0).all(), "pooled features come from a ReLU6"


def test_decoding_a_large_jpeg_at_a_smaller_scale_hardly_changes_its_vector(pretrained, tmp_path):
    from sklearn.datasets import load_sample_images

    whole, paths = [], []
    for number, photo in enumerate(load_sample_images().images):
        path = tmp_path / f"{number}.jpg"
        Image.fromarray(photo).resize((1024, 683)).save(path, quality=90)
        assert open_picture(path, longest_side=224).size == (512, 342)
        paths.append(path)
        whole.append(open_picture(path))
    cosines = (pretrained.embed(paths) * pretrained.embed(whole)).sum(axis=1)
    assert 0.999 <= cosines.min() < 0.999999


def test_a_model_that_cannot_be_loaded_is_reported(tmp_path):
    with pytest.raises(InputError, match="no such model file"):
        Embedder.load(tmp_path / "gone.hdf5")
    with pytest.raises(InputError, match="unknown; did you mean"):
        Embedder.pretrained("ResNet5")


def test_a_single_filename_is_refused(checkpoint):
    with pytest.raises(TypeError, match="into a list"):
        Embedder.load(checkpoint).embed("photo.jpg")


@pytest.mark.parametrize("batch_size", [1, 16, 48])
def test_square_pictures_are_embedded_as_files_are(embedder, paths, expected, batch_size):
    squares = np.stack([square_picture(path, 32) for path in paths])
    vectors = embedder.embed_squares(squares, batch_size=batch_size)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert embedder.embed_squares(squares[:0]).shape == (0, 16)


@pytest.mark.parametrize(
    "squares",
    [np.zeros((1, 16, 16, 3), np.uint8), np.zeros((1, 32, 32, 3), np.float32)],
    ids=["size", "dtype"],
)
def test_other_arrays_than_square_pictures_are_refused(embedder, squares):
    with pytest.raises(ValueError, match=r"takes uint8 \(n, 32, 32, 3\)"):
        embedder.embed_squares(squares)


def test_former_names_still_work_with_a_warning(embedder, catalogue):
    with pytest.warns(DeprecationWarning, match="use Embedder.from_model"):
        same = Embedder.of(embedder.model, "the same")
    assert same.facts.fingerprint == embedder.facts.fingerprint
    with pytest.warns(DeprecationWarning, match="use siamese.embed_catalogue"):
        embeddings = embedder.embed_catalogue(catalogue, batch_size=16)
    assert embeddings.pictures == catalogue.pictures
