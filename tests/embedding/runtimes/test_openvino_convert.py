from __future__ import annotations

import keras
import numpy as np
import pytest

pytest.importorskip("openvino")

import openvino

from siamese.embedding.runtimes.openvino_convert import (
    convert_model,
    freeze_model,
    mark_early_layers,
)

SIDE = 64
SQUARES = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="module")
def model():
    """Convolutions that give maps of 32, 16, 8 and 4 pixels, with what stands between them."""
    keras.utils.set_random_seed(0)
    picture = keras.Input((SIDE, SIDE, 3))
    maps = picture
    for number in range(4):
        maps = keras.layers.Conv2D(8, 3, strides=2, padding="same", name=f"conv{number}")(maps)
        maps = keras.layers.BatchNormalization()(maps)
        maps = keras.layers.ReLU(6)(maps)
    pooled = keras.layers.GlobalAveragePooling2D()(maps)
    return convert_model(freeze_model(keras.Model(picture, pooled)))


def answers(model, precision):
    hints = {"INFERENCE_PRECISION_HINT": precision}
    compiled = openvino.Core().compile_model(model, "CPU", hints)
    return compiled, np.concatenate([compiled([square[None]])[0] for square in SQUARES])


def test_it_is_the_same_model(model):
    before = len(model.get_ops())
    _, expected = answers(model, "f32")
    _, got = answers(mark_early_layers(model), "f32")
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert len(model.get_ops()) == before  # a copy was marked


def test_maps_of_a_quarter_of_the_side_are_marked_and_no_smaller_ones(model):
    marked = {
        tuple(operation.get_output_shape(0))
        for operation in mark_early_layers(model).get_ops()
        if any("Precision" in name for name in operation.get_rt_info())
    }
    assert {max(shape[2:]) for shape in marked if shape[1] == 8} == {32, 16}


@pytest.mark.skipif(
    "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
    reason="the processor has no bfloat16",
)
def test_they_are_computed_in_float32(model):
    compiled, vectors = answers(mark_early_layers(model), "bf16")
    ran = {}
    for operation in compiled.get_runtime_model().get_ops():
        notes = operation.get_rt_info()
        if notes["layerType"].astype(str) == "Convolution":
            side = operation.get_output_shape(0)[2]
            ran[side] = notes["runtimePrecision"].astype(str)
    assert ran == {32: "f32", 16: "f32", 8: "bf16", 4: "bf16"}
    np.testing.assert_allclose(vectors, answers(model, "f32")[1], atol=2e-3)
