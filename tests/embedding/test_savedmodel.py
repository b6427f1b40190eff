from __future__ import annotations

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageDraw

import siamese.embedding.savedmodel
from siamese.data.images import square_picture
from siamese.embedding.embedder import Embedder
from siamese.embedding.savedmodel import decode_square, export_savedmodel
from siamese.errors import InputError
from siamese.models.precision import set_precision

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def embedder(checkpoint):
    return Embedder.load(checkpoint, precision="float32")


@pytest.fixture(scope="module")
def tiny():
    """An embedder that exports in no time."""
    inputs = keras.Input((16, 16, 3))
    vectors = keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(inputs))
    return Embedder.from_model(
        keras.Model(inputs, keras.layers.UnitNormalization()(vectors)), "tiny"
    )


@pytest.fixture(scope="module")
def exported(embedder, tmp_path_factory):
    return export_savedmodel(embedder, tmp_path_factory.mktemp("saved models") / "mine")


def encoded(picture, format_, **options):
    buffer = io.BytesIO()
    picture.save(buffer, format_, **options)
    return buffer.getvalue()


def photo(width=300, height=200, mode="RGB"):
    """Make a picture with broad shapes and thin lines, which vanish without antialiasing."""
    picture = Image.linear_gradient("L").resize((width, height)).convert(mode)
    draw = ImageDraw.Draw(picture)
    for x in range(0, width, 7):
        draw.line((x, 0, x // 2, height), fill="red" if mode == "RGB" else 40)
    return picture


def test_signatures(exported, embedder, catalogue):
    assert exported.path.name == "1"
    signatures = tf.saved_model.load(str(exported.path)).signatures
    assert set(signatures) == {"prediction", "serving_default", "serving_bytes"}
    paths = [catalogue.path_of(picture) for picture in catalogue.pictures[:5]]
    expected = embedder.embed(paths)
    squares = np.stack([square_picture(path, 32) for path in paths])
    for name in ("prediction", "serving_default"):
        (spec,) = signatures[name].structured_input_signature[1].values()
        assert (spec.name, spec.dtype, spec.shape.as_list()) == (
            "input",
            tf.float32,
            [None, 32, 32, 3],
        )
        answer = signatures[name](input=tf.constant(squares / np.float32(127.5) - 1))
        assert set(answer) == {"embedding"} and answer["embedding"].dtype == tf.float32
        np.testing.assert_allclose(answer["embedding"], expected, atol=1e-5)
    (spec,) = signatures["serving_bytes"].structured_input_signature[1].values()
    assert (spec.name, spec.dtype, spec.shape.as_list()) == ("image_bytes", tf.string, [None])
    answer = signatures["serving_bytes"](image_bytes=tf.constant([p.read_bytes() for p in paths]))
    assert set(answer) == {"embedding"}
    assert (np.sum(answer["embedding"] * expected, axis=1) > 0.999).all()


def test_an_export_reports_its_parity(exported):
    assert [(check.one, check.other) for check in exported.parity] == [
        ("Keras", "prediction"),
        ("Keras", "serving_default"),
        ("Pillow", "serving_bytes"),
    ]
    assert all(0.999 <= check.cosine <= 1.0001 for check in exported.parity)


def test_versions_count_up(tiny, tmp_path, monkeypatch):
    # Vectors of so few numbers never agree better.
    monkeypatch.setattr(siamese.embedding.savedmodel, "MIN_COSINE", 0.9)
    for version in ("3", "10", "notes"):
        (tmp_path / version).mkdir()
    assert export_savedmodel(tiny, tmp_path).path == tmp_path / "11"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "11", "3", "notes"]


def without_antialiasing(encoded, size):
    """Pad as required, but resize as TensorFlow does by default."""
    picture = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    side = tf.reduce_max(tf.shape(picture)[:2])
    before = (side - tf.shape(picture)[:2]) // 2
    after = side - tf.shape(picture)[:2] - before
    padding = [[before[0], after[0]], [before[1], after[1]], [0, 0]]
    square = tf.pad(picture, padding, constant_values=255)
    return tf.image.resize(square, (size, size)) / 127.5 - 1.0


def assert_refused(embedder, output):
    with pytest.raises(InputError, match=r"not exported, .* differ") as raised:
        export_savedmodel(embedder, output)
    assert len(raised.value.lines) == 1
    assert list(output.iterdir()) == []


def test_a_graph_that_resizes_differently_is_refused_and_removed(embedder, tmp_path, monkeypatch):
    monkeypatch.setattr(siamese.embedding.savedmodel, "decode_square", without_antialiasing)
    assert_refused(embedder, tmp_path / "mine")


def test_an_export_below_the_minimum_cosine_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(siamese.embedding.savedmodel, "MIN_COSINE", 1.1)
    assert_refused(tiny, tmp_path / "mine")


def test_an_export_that_computes_nan_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(siamese.embedding.savedmodel, "MIN_COSINE", -1)
    monkeypatch.setattr(
        siamese.embedding.savedmodel,
        "decode_square",
        lambda encoded, size: without_antialiasing(encoded, size) * np.nan,
    )
    assert_refused(tiny, tmp_path / "mine")


def test_the_pretrained_default_is_exported_with_its_classifier(pretrained):
    model = siamese.embedding.savedmodel.model_to_export(pretrained)
    picture = square_picture(photo(), 224) / np.float32(127.5) - 1
    outputs = model(picture[None])
    assert set(outputs) == {"embedding", "softmax"}
    assert outputs["softmax"].shape == (1, 1000)
    np.testing.assert_allclose(np.sum(outputs["softmax"]), 1, atol=1e-5)
    assert np.sum(outputs["embedding"] * pretrained.embed([photo()])) > 0.999


def test_a_classifier_is_part_of_the_signatures_of_arrays(tiny, tmp_path, monkeypatch):
    picture = tiny.model.input
    scores = keras.layers.Softmax()(keras.layers.Flatten()(picture))
    model = keras.Model(picture, {"embedding": tiny.model.output, "softmax": scores})
    monkeypatch.setattr(siamese.embedding.savedmodel, "model_to_export", lambda embedder: model)
    monkeypatch.setattr(siamese.embedding.savedmodel, "MIN_COSINE", 0.9)
    export = export_savedmodel(tiny, tmp_path / "default")
    signatures = tf.saved_model.load(str(export.path)).signatures
    outputs = {name: set(signature.structured_outputs) for name, signature in signatures.items()}
    assert outputs == {
        "prediction": {"embedding", "softmax"},
        "serving_default": {"embedding", "softmax"},
        "serving_bytes": {"embedding"},
    }


@pytest.mark.long
def test_the_pretrained_default_can_be_served(pretrained, tmp_path):
    export = export_savedmodel(pretrained, tmp_path / "default")
    answer = tf.saved_model.load(str(export.path)).signatures["prediction"]
    picture = square_picture(photo(), 224) / np.float32(127.5) - 1
    outputs = answer(input=tf.constant(picture[None]))
    assert set(outputs) == {"embedding", "softmax"}
    assert np.sum(outputs["embedding"] * pretrained.embed([photo()])) > 0.999


def half_transparent():
    picture = photo().convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


def grey_16_bit():
    return Image.fromarray(np.asarray(photo(mode="L"), np.uint16) * 257)


@pytest.mark.parametrize(
    ("picture", "format_", "options"),
    [
        (photo(), "PNG", {}),
        (photo(200, 301), "PNG", {}),
        (photo(10, 400), "PNG", {}),
        (photo(20, 15), "PNG", {}),
        (photo(mode="L"), "PNG", {}),
        (photo().quantize(16), "PNG", {}),
        (half_transparent(), "PNG", {}),
        (photo().quantize(16), "PNG", {"transparency": 3}),
        (photo().quantize(200), "PNG", {}),
        (photo().convert("1"), "PNG", {}),
        (photo(mode="L"), "PNG", {"transparency": 40}),
        (half_transparent().convert("LA"), "PNG", {}),
        (grey_16_bit(), "PNG", {}),
        (photo(), "JPEG", {"quality": 90}),
        (photo(), "JPEG", {"quality": 90, "progressive": True}),
        (photo(mode="L"), "JPEG", {}),
        (photo(), "BMP", {}),
        (photo().quantize(16), "GIF", {}),
    ],
    ids=lambda value: getattr(value, "mode", str(value)),
)
def test_the_graph_decodes_a_picture_as_pillow_does(picture, format_, options):
    data = encoded(picture, format_, **options)
    # A size at which Pillow does not decode a JPEG at a smaller scale, as TensorFlow never does.
    got = (decode_square(tf.constant(data), 160).numpy() + 1) * 127.5
    difference = np.abs(got - square_picture(data, 160))
    assert difference.max() <= 2, "grey levels"
    assert difference.mean() < 0.5


def test_a_savedmodel_computes_in_float32_whatever_the_embedder_does(make_small_model, tmp_path):
    embedder = Embedder.from_model(make_small_model(16), "small")
    pictures = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
    in_float32 = embedder.model.predict_on_batch(pictures)
    set_precision(embedder.model, "mixed_bfloat16")
    assert np.abs(embedder.model.predict_on_batch(pictures) - in_float32).max() > 1e-4
    export = export_savedmodel(embedder, tmp_path / "mixed")
    answered = tf.saved_model.load(str(export.path)).signatures["prediction"](tf.constant(pictures))
    np.testing.assert_allclose(answered["embedding"], in_float32, atol=1e-6)
    assert embedder.model.layers[1].compute_dtype == "bfloat16"
