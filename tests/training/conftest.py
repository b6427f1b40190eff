"""Share a small network and its trainings between the tests of training."""

from __future__ import annotations

import contextlib
import io
import shutil
from dataclasses import dataclass
from pathlib import Path

import keras
import pytest
from keras import layers

from siamese.models.checkpoints import load_model, save_model
from siamese.models.embedding_model import POOLING, PROJECTION
from siamese.training.recipe import Recipe
from siamese.training.train import Trained, train

RECIPE = Recipe(
    batch_size=8,
    pictures_per_item=2,
    epochs=2,
    learning_rate=3e-3,
    augmented=False,
    held_out=0.35,
    seed=3,
)


def copy_after(epoch, output, copy):
    """Return a watcher that copies a run as it is after an epoch, as a kill would leave it."""

    def watch(progress):
        if len(progress.history) == epoch + 1 and not copy.exists():
            shutil.copytree(output, copy)

    return watch


def watch_nothing(progress):
    pass


def weights(path):
    return load_model(path).get_weights()


def small_model(features=16, embedding_size=8):
    """Return an untrained convolutional embedding model with a head, for pictures of 16 px."""
    keras.utils.set_random_seed(3)
    inputs = x = keras.Input((16, 16, 3))
    for filters in (8, features):
        x = layers.Conv2D(filters, 3, strides=2, activation="relu")(x)
    x = layers.GlobalAveragePooling2D(name=POOLING)(x)
    x = layers.Dense(embedding_size, name=PROJECTION)(x)
    return keras.Model(inputs, layers.UnitNormalization(name="embedding")(x))


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """Return a checkpoint of a small network."""
    path = tmp_path_factory.mktemp("start") / "start.hdf5"
    save_model(small_model(), path)
    return path


@pytest.fixture
def eagerly():
    """Run TensorFlow eagerly: compiling a network takes longer than a few steps of it."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@dataclass(frozen=True)
class Run:
    """A finished training: its folder, its result, and what it printed on standard error."""

    output: Path
    trained: Trained
    error: str


@pytest.fixture(scope="session")
def run(catalogue, start, tmp_path_factory):
    """Return a training of all layers, with items held out."""
    return _train(catalogue, RECIPE, start, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def head_run(catalogue, start, tmp_path_factory):
    """Return a training of a head alone."""
    recipe = Recipe(layers="head", held_out=RECIPE.held_out, seed=RECIPE.seed)
    return _train(catalogue, recipe, start, tmp_path_factory.mktemp("head-run"))


def _train(catalogue, recipe, start, output):
    with contextlib.redirect_stderr(io.StringIO()) as error:
        trained = train(catalogue, recipe, output, start=start)
    return Run(output, trained, error.getvalue())
