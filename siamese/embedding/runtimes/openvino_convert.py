"""Convert a Keras model to OpenVINO, and write and read the result.

`openvino.convert_model` is not used: it sends usage data to a server and takes several times as
long.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese.errors import InputError
from siamese.utils.files import atomic_path

if TYPE_CHECKING:
    import keras
    import openvino

_XML, _WEIGHTS = "model.xml", "model.bin"


def freeze_model(model: keras.Model) -> Any:
    """Trace a model in float32 for one picture, with its weights as constants.

    Returns
    -------
    tf.ConcreteFunction
        float32 (1, s, s, 3) in [-1, 1] → [float32 (1, d)].
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from siamese.models.precision import in_float32

    picture = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="picture")
    with in_float32(model):
        traced = tf.function(lambda pictures: model(pictures, training=False), autograph=False)
        return convert_variables_to_constants_v2(traced.get_concrete_function(picture))


def convert_model(function: Any) -> openvino.Model:
    """Convert the result of `freeze_model`, and let it take bytes.

    Returns
    -------
    openvino.Model
        uint8 (1, s, s, 3) → float32 (1, d).
    """
    import openvino
    from openvino.preprocess import PrePostProcessor

    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder, "graph.pb")
        graph.write_bytes(function.graph.as_graph_def().SerializeToString())
        processor = PrePostProcessor(openvino.Core().read_model(graph))
        # `siamese.data.images.to_network_input` as part of the model: a quarter of the bytes to
        # move.
        processor.input().tensor().set_element_type(openvino.Type.u8)
        steps = processor.input().preprocess()
        steps.convert_element_type(openvino.Type.f32).mean(127.5).scale(127.5)
        model = processor.build()
    # The graph may have open dimensions, which were only known at run time.
    model.reshape([1, *model.input().get_partial_shape().to_shape()[1:]])
    return model


def read_model(path: Path) -> openvino.Model | None:
    """Read a converted model; return None if there is none or it is damaged."""
    import openvino

    try:
        with zipfile.ZipFile(path) as file:  # which verifies the checksum of each part
            return openvino.Core().read_model(file.read(_XML), file.read(_WEIGHTS))
    except Exception:  # zlib, zipfile and OpenVINO raise nearly anything on a damaged file
        return None


def write_model(model: openvino.Model, path: Path) -> None:
    """Write a converted model, if the folder is writable.

    In the cache folder of a checkpoint, it replaces the models of earlier weights.
    """
    import openvino

    try:
        with atomic_path(path) as temporary, tempfile.TemporaryDirectory() as folder:
            parts = Path(folder, _XML), Path(folder, _WEIGHTS)
            openvino.serialize(model, *parts)
            with zipfile.ZipFile(temporary, "w") as file:
                for part in parts:
                    file.write(part, part.name)
        if path.parent.suffix == ".openvino":  # the cache folder of one checkpoint
            for outdated in {*path.parent.glob("*.zip"), *path.parent.glob("*.bfloat16")} - {path}:
                outdated.unlink(missing_ok=True)
    except (InputError, OSError):
        return
