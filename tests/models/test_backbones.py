from __future__ import annotations

import sys

import keras
import numpy as np
import pytest

from siamese.errors import InputError
from siamese.models.backbones import derive_scaling, find_builders, list_backbones
from siamese.models.efficientnet_lite import efficientnet_lite0
from siamese.models.embedding_model import embedding_model

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("build", {b.__module__: b for b in find_builders().values()}.values())
def test_the_scaling_does_what_preprocess_input_does(build):
    module = sys.modules[build.__module__]
    values = np.random.default_rng(1).uniform(0, 255, (2, 5, 4, 3)).astype(np.float32)
    got = np.asarray(derive_scaling(build)(values / np.float32(127.5) - 1))
    np.testing.assert_allclose(got, module.preprocess_input(values.copy()), atol=1e-3)


def test_the_scaling_of_the_default():
    values = np.arange(0, 256, dtype=np.float32).repeat(3).reshape(1, 16, 16, 3)
    got = np.asarray(derive_scaling(efficientnet_lite0)(values / np.float32(127.5) - 1))
    np.testing.assert_allclose(got, (values - 127) / 128, atol=1e-5)


@pytest.mark.parametrize("backbone", ["MobileNet", "VGG16"])
def test_an_application_is_built_by_its_name(backbone):
    model = embedding_model(backbone, 32, embedding_size=8, weights=None)
    assert model.input_shape == (None, 32, 32, 3) and model.output_shape == (None, 8)
    scaling = model.get_layer("scaling").get_config()
    assert scaling["reverse_channels"] == (backbone == "VGG16")


def test_a_backbone_that_cannot_be_built_is_refused_in_one_line(tmp_path):
    wrong = tmp_path / "wrong.weights.h5"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(wrong)
    damaged = tmp_path / "damaged.weights.h5"
    damaged.write_bytes(b"no weights")
    for backbone, size, weights, said in (
        ("resnet5", 32, None, r"--backbone resnet5: unknown; did you mean ResNet50\?"),
        ("efficientnet-lite0", 32, None, r"unknown; did you mean EfficientNetLite0\?"),
        ("qqq", 32, None, "unknown; give EfficientNetLite0, base_cnn or a model of keras.applica"),
        ("MobileNet", 32, str(tmp_path / "none.h5"), "no such weights file"),
        ("MobileNet", 32, str(wrong), "cannot be built"),
        ("MobileNet", 32, str(damaged), "must hold this backbone's weights"),
        ("MobileNet", 16, None, "give larger pictures with --picture-size"),
        ("base_cnn", 8, "imagenet", "base_cnn needs at least 16 pixels"),
    ):
        with pytest.raises(InputError, match=said) as raised:
            embedding_model(backbone, size, weights=weights)
        assert len(raised.value.lines) == 1 and "\n" not in raised.value.lines[0]


def test_all_names_are_listed_once():
    names = list_backbones()
    assert names[0] == "EfficientNetLite0" and "InceptionResNetV2" in names
    assert len(names) == len(set(names)) > 30
