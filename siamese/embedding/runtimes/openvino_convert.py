"""Convert a Keras model to OpenVINO, and prepare the result for bfloat16.

`openvino.convert_model` is not used, because it sends usage data to a server and takes several
times as long.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    import keras
    import openvino


EARLY = 4
"""A layer is early if the side length of its feature map is at least that of a picture / EARLY."""


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


def mark_early_layers(model: openvino.Model) -> openvino.Model:
    """Copy a model, with its early layers marked to always be computed in float32.

    A network loses precision mainly in its first layers, because their rounding errors pass through
    all others. EfficientNet-Lite0 embeds 872 pictures per second with all layers in bfloat16 and
    462 in float32. With only the early layers in float32 it embeds 719, and the smallest cosine to
    float32 rises from 0.9973 to 0.9991 (two Zen 5 cores, 5,421 photos).

    OpenVINO's Python API cannot set the mark, so it is written into the model's file. A version of
    OpenVINO that does not know the mark ignores it, so compare the vectors of the result.
    """
    import openvino
    from openvino._offline_transformations import apply_moc_transformations

    side: int = model.input().shape[1]
    copy = model.clone()
    # Compiling applies these too, and would create new layers without the mark.
    apply_moc_transformations(copy, cf=True)
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "model.xml"), Path(folder, "model.bin")
        openvino.serialize(copy, *paths)
        document = ElementTree.parse(paths[0])
        for layer in document.iter("layer"):
            if layer.get("type") not in ("Const", "Parameter") and _map_side(layer) >= side / EARLY:
                _mark(layer)
        return openvino.Core().read_model(
            ElementTree.tostring(document.getroot()), paths[1].read_bytes()
        )


def _map_side(layer: ElementTree.Element) -> int:
    """Return the side length of a layer's feature map; 0 if its output is not a map.

    It is the third of four dimensions, whether channels are first or last.
    """
    sides = [int(side.text or 0) for side in layer.iterfind("output/port/dim")]
    return sides[2] if len(sides) == 4 else 0


def _mark(layer: ElementTree.Element) -> None:
    info = layer.find("rt_info")
    if info is None:
        info = ElementTree.Element("rt_info")
        layer.insert(0 if layer.find("data") is None else 1, info)
    ElementTree.SubElement(info, "attribute", name="precise", version="0")
