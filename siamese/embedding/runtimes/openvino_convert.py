"""Convert a Keras model to OpenVINO, and prepare the result for bfloat16.

`openvino.convert_model` is not used, because it sends usage data to a server and is several times
slower.
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
"""A layer is early if its feature map's side length is at least the picture's divided by this."""


def freeze_model(model: keras.Model) -> Any:
    """Trace a model into a TensorFlow function, with its weights frozen as constants."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from siamese.models.precision import in_float32

    picture = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="picture")
    with in_float32(model):
        traced = tf.function(lambda pictures: model(pictures, training=False), autograph=False)
        return convert_variables_to_constants_v2(traced.get_concrete_function(picture))


def convert_model(function: Any) -> openvino.Model:
    """Convert a `freeze_model` result to OpenVINO: uint8 (1, s, s, 3) → float32 (1, d)."""
    import openvino
    from openvino.preprocess import PrePostProcessor

    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder, "graph.pb")
        graph.write_bytes(function.graph.as_graph_def().SerializeToString())
        processor = PrePostProcessor(openvino.Core().read_model(graph))
        # Scale like `to_network_input`, but in the model: bytes are faster to copy than floats.
        processor.input().tensor().set_element_type(openvino.Type.u8)
        steps = processor.input().preprocess()
        steps.convert_element_type(openvino.Type.f32).mean(127.5).scale(127.5)
        model = processor.build()
    # A fixed input shape resolves any dimensions that the graph leaves undefined.
    model.reshape([1, *model.input().get_partial_shape().to_shape()[1:]])
    return model


def mark_early_layers(model: openvino.Model) -> openvino.Model:
    """Copy a model, and mark the copy's early layers to always use float32.

    bfloat16 is inaccurate mainly in a network's first layers, as their rounding errors propagate
    through all later ones. EfficientNet-Lite0 embeds 872 pictures per second with all layers in
    bfloat16 and 462 in float32. With only the early layers in float32, it embeds 719, and the
    smallest cosine to float32 vectors rises from 0.9973 to 0.9991 (two Zen 5 cores, 5,421 photos).

    OpenVINO's Python API cannot set the mark, so this function adds it to the model's XML. Some
    versions of OpenVINO ignore the mark, so check the vectors that the copy computes.
    """
    import openvino
    from openvino._offline_transformations import apply_moc_transformations

    side: int = model.input().shape[1]
    copy = model.clone()
    # Apply the compiler's transformations now: later, they would create unmarked layers.
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
    """Return the side length of a layer's feature map; 0 if its output is not 4-dimensional.

    The third dimension is a side, whether channels are first (n, c, h, w) or last (n, h, w, c).
    """
    sides = [int(side.text or 0) for side in layer.iterfind("output/port/dim")]
    return sides[2] if len(sides) == 4 else 0


def _mark(layer: ElementTree.Element) -> None:
    info = layer.find("rt_info")
    if info is None:
        info = ElementTree.Element("rt_info")
        layer.insert(0 if layer.find("data") is None else 1, info)
    ElementTree.SubElement(info, "attribute", name="precise", version="0")
