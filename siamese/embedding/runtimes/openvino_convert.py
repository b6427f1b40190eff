"""A Keras model as OpenVINO reads it, written and read.

Not through `openvino.convert_model`: it reports its use to a server, and takes several times as
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


def frozen(model: keras.Model) -> Any:
    """Trace a model in float32, for one picture, its weights being constants.

    Returns
    -------
    a TensorFlow function: float32 (1, s, s, 3) in [-1, 1] → [float32 (1, d)]
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from siamese.models.precision import in_float32

    picture = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="picture")
    with in_float32(model):
        traced = tf.function(lambda pictures: model(pictures, training=False), autograph=False)
        return convert_variables_to_constants_v2(traced.get_concrete_function(picture))


def convert_model(function: Any) -> openvino.Model:
    """Convert what `frozen` returned, with its input as bytes: uint8 (1, s, s, 3), 0 … 255."""
    import openvino
    from openvino.preprocess import PrePostProcessor

    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder, "graph.pb")
        graph.write_bytes(function.graph.as_graph_def().SerializeToString())
        processor = PrePostProcessor(openvino.Core().read_model(graph))
        # `siamese.data.images.to_network_input`, within the model: a quarter of the bytes to move.
        processor.input().tensor().set_element_type(openvino.Type.u8)
        steps = processor.input().preprocess()
        steps.convert_element_type(openvino.Type.f32).mean(127.5).scale(127.5)
        model = processor.build()
    # The graph's own may be open, where dimensions were only known at run time.
    model.reshape([1, *model.input().get_partial_shape().to_shape()[1:]])
    return model


def read_kept(path: Path) -> openvino.Model | None:
    """Read a converted model; None where there is none, or a damaged one."""
    import openvino

    try:
        with zipfile.ZipFile(path) as file:  # which checks the sum of each part
            return openvino.Core().read_model(file.read(_XML), file.read(_WEIGHTS))
    except Exception:  # zlib, zipfile and OpenVINO raise nearly anything on a damaged file
        return None


def keep(model: openvino.Model, path: Path) -> None:
    """Keep a converted model, in place of those of other weights; not where nobody may write."""
    import openvino

    try:
        with atomic_path(path) as temporary, tempfile.TemporaryDirectory() as folder:
            parts = Path(folder, _XML), Path(folder, _WEIGHTS)
            openvino.serialize(model, *parts)
            with zipfile.ZipFile(temporary, "w") as file:
                for part in parts:
                    file.write(part, part.name)
        if path.parent.suffix == ".openvino":  # of this checkpoint alone
            for other in {*path.parent.glob("*.zip"), *path.parent.glob("*.bfloat16")} - {path}:
                other.unlink(missing_ok=True)
    except (InputError, OSError):
        return
