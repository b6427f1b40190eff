"""Export a SavedModel for TensorFlow Serving, and check that it computes the same vectors."""

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
    """The smallest cosine between the vectors of two implementations for the sample pictures."""

    one: str
    other: str
    cosine: float


@dataclass(frozen=True)
class SavedModelExport:
    """The folder of a new version, and its comparisons with the Keras model."""

    path: Path
    parity: list[ParityCheck]


def export_savedmodel(embedder: Embedder, output: Path = SAVED_MODELS) -> SavedModelExport:
    """Write the next version of a SavedModel, `output/<version>/`.

    All signatures return `embedding`, float32 (n, d) of length 1:

    - `prediction` and `serving_default` take `input`, float32 (n, s, s, 3), RGB in [-1, 1]. The
      pretrained default model also returns `softmax`, float32 (n, 1000).
    - `serving_bytes` takes `image_bytes`, string (n,), pictures encoded as JPEG, PNG, GIF or BMP,
      and pads, resizes and scales them in the graph. It ignores EXIF orientation: rotate such
      photos first.

    The version is kept only if it computes the vectors of Keras for sample photos.

    Raises
    ------
    InputError
        If the smallest cosine is below `MIN_COSINE`, or the folder cannot be written to.
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
            with in_float32(embedder.model):  # every server can compute in float32
                _add_signatures(archive, embedder)
                archive.write_out(str(temporary), verbose=False)
        except tf.errors.OpError as error:  # such as a full disk
            raise OSError(error.message.rpartition("; ")[2].partition(" [Op:")[0]) from error
        parity = _check_parity(embedder, temporary)
        # Unlike `min`, `argmin` finds a NaN first.
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
    """Return the embedder's model; for the pretrained default, together with its classifier."""
    from siamese.models.defaults import DEFAULT_BACKBONE
    from siamese.models.embedding_model import pretrained_classifier

    if embedder.facts.path is None and embedder.facts.name == DEFAULT_BACKBONE:
        return pretrained_classifier(embedder.facts.picture_size)
    return embedder.model


def decode_square(encoded: Any, size: int) -> Any:
    """Do in TensorFlow what `square_picture` and `to_network_input` do: float32 (s, s, 3)."""
    import tensorflow as tf

    def on_white() -> Any:
        rgba = tf.cast(tf.io.decode_png(encoded, channels=4), tf.float32)
        # For a PNG without alpha, TensorFlow fills in the largest value of its bit depth.
        bits = tf.io.decode_raw(tf.strings.substr(encoded, 24, 1), tf.uint8)[0]
        largest = 2.0 ** tf.minimum(tf.cast(bits, tf.float32), 8.0) - 1.0
        alpha = rgba[..., 3:]
        alpha = tf.where(tf.reduce_all(alpha == largest), 1.0, alpha / 255.0)
        return rgba[..., :3] * alpha + 255.0 * (1.0 - alpha)

    def opaque() -> Any:
        picture = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return tf.cast(picture, tf.float32)

    def jpeg() -> Any:
        # The default method is faster, but off by several grey levels.
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
    # Antialiased like Pillow: otherwise thin objects vanish from large photos.
    resized = tf.image.resize(square, (size, size), "bilinear", antialias=True)
    # Whole grey levels like Pillow's: networks notice even fractions of one.
    levels = tf.clip_by_value(tf.round(resized), 0.0, 255.0)
    return tf.ensure_shape(levels, (size, size, 3)) / 127.5 - 1.0


def _check_parity(embedder: Embedder, folder: Path) -> list[ParityCheck]:
    """Compare a SavedModel with Keras on the sample pictures."""
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
