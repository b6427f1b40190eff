"""A SavedModel for TensorFlow Serving, and the proof that it answers as the index was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese.data.images import square_picture, to_network_input
from siamese.embedding.embedder import Embedder
from siamese.embedding.parity import LEAST_COSINE, least_cosine, sample_pictures
from siamese.errors import InputError
from siamese.utils.files import atomic_path

if TYPE_CHECKING:
    import keras

SAVED_MODELS = Path("savedmodels/embedding_model")


@dataclass(frozen=True)
class ParityRow:
    """Two ways from picture to vector, and the smallest cosine between them."""

    one: str
    other: str
    cosine: float


@dataclass(frozen=True)
class Exported:
    """Where the SavedModel lies, and the parity it was admitted with."""

    path: Path
    parity: list[ParityRow]


def export_savedmodel(embedder: Embedder, output: Path = SAVED_MODELS) -> Exported:
    """Write the next version of a SavedModel, `output/<version>/`.

    Signatures, all with float32 `embedding` (n, d) of length 1:

    - `prediction`, and `serving_default` the same: `input` float32 (n, s, s, 3), RGB in [-1, 1].
      The pretrained default also answers `softmax` (n, 1000).
    - `serving_bytes`: `image_bytes` string (n,), encoded JPEG, PNG, GIF or BMP; padded, resized
      and scaled in the graph. TensorFlow does not apply EXIF orientation: turn such photos first.

    Before the version gets its final name the model is loaded again and asked about a few photos:
    Keras against the SavedModel, and Pillow's way from file to array against the graph's.

    Raises
    ------
    InputError
        If the smallest cosine is below 0.999, or the folder cannot be written to.
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
            with in_float32(embedder.model):  # which a server runs anywhere
                _add_signatures(archive, embedder)
                archive.write_out(str(temporary), verbose=False)
        except tf.errors.OpError as error:  # a full disk, in TensorFlow's words
            raise OSError(error.message.rpartition("; ")[2].partition(" [Op:")[0]) from error
        parity = _parity(embedder, temporary)
        # Unlike `min`, this finds a NaN first.
        least = parity[int(np.argmin([row.cosine for row in parity]))]
        if not least.cosine >= LEAST_COSINE:
            raise InputError(
                f"{output / str(version)}: not exported, {least.one} and {least.other} differ "
                f"(smallest cosine {least.cosine:.5f}, at least {LEAST_COSINE} is needed)"
            )
    return Exported(output / str(version), parity)


def _add_signatures(archive: keras.export.ExportArchive, embedder: Embedder) -> None:
    import tensorflow as tf

    size = embedder.facts.picture_size
    answer = _answering(embedder)
    archive.track(answer)

    def prediction(pictures: Any) -> Any:
        outputs = answer(pictures)
        return outputs if isinstance(outputs, dict) else {"embedding": outputs}

    def from_bytes(image_bytes: Any) -> Any:
        pictures = tf.map_fn(
            lambda encoded: _decoded(encoded, size), image_bytes, fn_output_signature=tf.float32
        )
        return {"embedding": prediction(pictures)["embedding"]}

    input_ = tf.TensorSpec((None, size, size, 3), tf.float32, name="input")
    bytes_ = tf.TensorSpec((None,), tf.string, name="image_bytes")
    archive.add_endpoint("prediction", prediction, [input_])
    archive.add_endpoint("serving_default", prediction, [input_])
    archive.add_endpoint("serving_bytes", from_bytes, [bytes_])


def _answering(embedder: Embedder) -> keras.Model:
    """The embedder's model, or for the pretrained default the same with its classifier."""
    from siamese.models.defaults import DEFAULT_BACKBONE
    from siamese.models.embedding_model import pretrained_classifier

    if embedder.facts.path is None and embedder.facts.name == DEFAULT_BACKBONE:
        return pretrained_classifier(embedder.facts.picture_size)
    return embedder.model


def _decoded(encoded: Any, size: int) -> Any:
    """`siamese.data.images.square_picture` in TensorFlow: float32 (s, s, 3) in [-1, 1]."""
    import tensorflow as tf

    def on_white() -> Any:
        rgba = tf.cast(tf.io.decode_png(encoded, channels=4), tf.float32)
        # Where a PNG has no alpha TensorFlow makes one up: all bits set, of as few as a value has.
        bits = tf.io.decode_raw(tf.strings.substr(encoded, 24, 1), tf.uint8)[0]
        made_up = 2.0 ** tf.minimum(tf.cast(bits, tf.float32), 8.0) - 1.0
        alpha = rgba[..., 3:]
        alpha = tf.where(tf.reduce_all(alpha == made_up), 1.0, alpha / 255.0)
        return rgba[..., :3] * alpha + 255.0 * (1.0 - alpha)

    def opaque() -> Any:
        picture = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return tf.cast(picture, tf.float32)

    def jpeg() -> Any:
        # The default is faster and off by several grey levels.
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
    # Antialiased as Pillow does it: without, thin things of large photos vanish.
    resized = tf.image.resize(square, (size, size), "bilinear", antialias=True)
    # Whole grey levels, as Pillow's: networks notice even fractions of one.
    levels = tf.clip_by_value(tf.round(resized), 0.0, 255.0)
    return tf.ensure_shape(levels, (size, size, 3)) / 127.5 - 1.0


def _parity(embedder: Embedder, folder: Path) -> list[ParityRow]:
    import tensorflow as tf

    signatures = tf.saved_model.load(str(folder)).signatures
    encoded = sample_pictures()
    size = embedder.facts.picture_size
    squares = np.stack([square_picture(one, size) for one in encoded])
    inputs = tf.constant(to_network_input(squares))
    by_keras = embedder.model.predict_on_batch(inputs)
    by_array = {
        name: signatures[name](input=inputs)["embedding"].numpy()
        for name in ("prediction", "serving_default")
    }
    by_graph = signatures["serving_bytes"](image_bytes=tf.constant(encoded))["embedding"].numpy()
    return [
        *(ParityRow("Keras", name, least_cosine(by_keras, got)) for name, got in by_array.items()),
        ParityRow("Pillow", "serving_bytes", least_cosine(by_keras, by_graph)),
    ]
