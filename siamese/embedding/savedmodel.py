"""Export a SavedModel for TensorFlow Serving, and check its vectors against Keras."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese.data.images import to_network_input
from siamese.embedding.embedder import Embedder
from siamese.embedding.parity import (
    MIN_COSINE,
    load_sample_pictures,
    load_sample_squares,
    min_cosine,
)
from siamese.errors import InputError
from siamese.utils.files import atomic_path

if TYPE_CHECKING:
    import keras

SAVED_MODELS = Path("savedmodels/embedding_model")


@dataclass(frozen=True)
class ParityCheck:
    """Smallest cosine between the vectors that two implementations compute for a sample photo."""

    one: str
    other: str
    cosine: float


@dataclass(frozen=True)
class SavedModelExport:
    """An exported version: its folder, and the checks of its vectors against Keras."""

    path: Path
    parity: list[ParityCheck]


def export_savedmodel(embedder: Embedder, output: Path = SAVED_MODELS) -> SavedModelExport:
    """Export a model as a SavedModel, in a new version folder `output/<version>/`.

    All signatures return `embedding`, float32 (n, d), unit-length vectors:

    - `prediction` and `serving_default` take `input`, float32 (n, s, s, 3), RGB in [-1, 1]. With
      the pretrained default model, they also return `softmax`, float32 (n, 1000).
    - `serving_bytes` takes `image_bytes`, string (n,): JPEG, PNG, GIF or BMP pictures. It pads,
      resizes and scales them, but ignores EXIF orientation, so rotate photos before encoding
      them.

    The version is kept only if its vectors of sample photos agree with those of Keras.

    Raises
    ------
    InputError
        If a vector's cosine to that of Keras is below `MIN_COSINE`, or `output` is not writable.
    """
    import keras
    import tensorflow as tf

    from siamese.models.precision import in_float32

    version = 1 + max(
        (int(folder.name) for folder in output.glob("*") if folder.name.isdigit()), default=0
    )
    with atomic_path(output / str(version)) as temporary:
        archive = keras.export.ExportArchive()
        try:
            with in_float32(embedder.model):  # every server supports it
                _add_signatures(archive, embedder)
                archive.write_out(str(temporary), verbose=False)
        except tf.errors.OpError as error:  # for example, if the disk is full
            raise OSError(error.message.rpartition("; ")[2].partition(" [Op:")[0]) from error
        parity = _check_parity(embedder, temporary)
        # Unlike `min`, `argmin` always selects a NaN if there is one.
        worst = parity[int(np.argmin([check.cosine for check in parity]))]
        if not worst.cosine >= MIN_COSINE:
            raise InputError(
                f"{output / str(version)}: not exported, because {worst.one} and {worst.other} "
                f"differ (smallest cosine {worst.cosine:.5f}, at least {MIN_COSINE} is needed)"
            )
    return SavedModelExport(output / str(version), parity)


def _add_signatures(archive: keras.export.ExportArchive, embedder: Embedder) -> None:
    import tensorflow as tf

    size = embedder.facts.picture_size
    model = model_to_export(embedder)
    archive.track(model)

    def prediction(pictures: Any) -> Any:
        outputs = model(pictures)
        return outputs if isinstance(outputs, dict) else {"embedding": outputs}

    def from_bytes(image_bytes: Any) -> Any:
        decode = partial(decode_square, size=size)
        pictures = tf.map_fn(decode, image_bytes, fn_output_signature=tf.float32)
        return {"embedding": prediction(pictures)["embedding"]}

    arrays = tf.TensorSpec((None, size, size, 3), tf.float32, name="input")
    encoded = tf.TensorSpec((None,), tf.string, name="image_bytes")
    archive.add_endpoint("prediction", prediction, [arrays])
    archive.add_endpoint("serving_default", prediction, [arrays])
    archive.add_endpoint("serving_bytes", from_bytes, [encoded])


def model_to_export(embedder: Embedder) -> keras.Model:
    """Return the embedder's model, or the pretrained default model with its classifier."""
    from siamese.models.defaults import DEFAULT_BACKBONE
    from siamese.models.embedding_model import pretrained_classifier

    if embedder.facts.path is None and embedder.facts.name == DEFAULT_BACKBONE:
        return pretrained_classifier(embedder.facts.picture_size)
    return embedder.model


def decode_square(encoded: Any, size: int) -> Any:
    """Apply `square_picture` and `to_network_input` in TensorFlow: bytes → float32 (s, s, 3)."""
    import tensorflow as tf

    def on_white() -> Any:
        rgba = tf.cast(tf.io.decode_png(encoded, channels=4), tf.float32)
        # If a PNG has no alpha, TensorFlow sets it to the largest value of the bit depth.
        bits = tf.io.decode_raw(tf.strings.substr(encoded, 24, 1), tf.uint8)[0]
        largest = 2.0 ** tf.minimum(tf.cast(bits, tf.float32), 8.0) - 1.0
        alpha = rgba[..., 3:]
        alpha = tf.where(tf.reduce_all(alpha == largest), 1.0, alpha / 255.0)
        return rgba[..., :3] * alpha + 255.0 * (1.0 - alpha)

    def opaque() -> Any:
        picture = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return tf.cast(picture, tf.float32)

    def jpeg() -> Any:
        # The default DCT method is faster, but inaccurate by several grey levels.
        picture = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
        return tf.cast(picture, tf.float32)

    is_png = tf.equal(tf.strings.substr(encoded, 0, 8), b"\x89PNG\r\n\x1a\n")
    picture = tf.cond(tf.io.is_jpeg(encoded), jpeg, lambda: tf.cond(is_png, on_white, opaque))
    shape = tf.shape(picture)
    side = tf.reduce_max(shape[:2])
    before = (side - shape[:2]) // 2
    after = side - shape[:2] - before
    padding = [[before[0], after[0]], [before[1], after[1]], [0, 0]]
    square = tf.pad(picture, padding, constant_values=255.0)
    # Antialias as Pillow does: otherwise thin objects vanish from large photos.
    resized = tf.image.resize(square, (size, size), "bilinear", antialias=True)
    # Round to whole grey levels as Pillow does: even fractions of one change the vectors.
    levels = tf.clip_by_value(tf.round(resized), 0.0, 255.0)
    return tf.ensure_shape(levels, (size, size, 3)) / 127.5 - 1.0


def _check_parity(embedder: Embedder, folder: Path) -> list[ParityCheck]:
    """Compare a SavedModel's vectors of the sample photos with those of Keras."""
    import tensorflow as tf

    signatures = tf.saved_model.load(str(folder)).signatures
    inputs = tf.constant(to_network_input(load_sample_squares(embedder.facts.picture_size)))
    encoded = tf.constant(load_sample_pictures())
    expected = embedder.model.predict_on_batch(inputs)

    def check(one: str, signature: str, **words: Any) -> ParityCheck:
        vectors = signatures[signature](**words)["embedding"].numpy()
        return ParityCheck(one, signature, min_cosine(expected, vectors))

    return [
        check("Keras", "prediction", input=inputs),
        check("Keras", "serving_default", input=inputs),
        check("Pillow", "serving_bytes", image_bytes=encoded),
    ]
