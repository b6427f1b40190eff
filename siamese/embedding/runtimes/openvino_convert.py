"""Convert a Keras model to OpenVINO.

`openvino.convert_model` is not used, because it sends usage data to a server and takes several
times as long.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras
    import openvino


def freeze_model(model: keras.Model) -> Any:
    """Trace a model, with its weights as constants: (1, s, s, 3) in [-1, 1] → [float32 (1, d)]."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from siamese.models.precision import in_float32

    picture = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="picture")
    with in_float32(model):
        traced = tf.function(lambda pictures: model(pictures, training=False), autograph=False)
        return convert_variables_to_constants_v2(traced.get_concrete_function(picture))


def convert_model(function: Any) -> openvino.Model:
    """Convert the result of `freeze_model`: uint8 (1, s, s, 3) → float32 (1, d)."""
    import openvino
    from openvino.preprocess import PrePostProcessor

    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder, "graph.pb")
        graph.write_bytes(function.graph.as_graph_def().SerializeToString())
        processor = PrePostProcessor(openvino.Core().read_model(graph))
        # Scale as `to_network_input` does, but in the model: bytes are quicker to move than floats.
        processor.input().tensor().set_element_type(openvino.Type.u8)
        steps = processor.input().preprocess()
        steps.convert_element_type(openvino.Type.f32).mean(127.5).scale(127.5)
        model = processor.build()
    # The graph may leave dimensions open.
    model.reshape([1, *model.input().get_partial_shape().to_shape()[1:]])
    return model
