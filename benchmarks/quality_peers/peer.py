"""Task that `benchmarks/quality.py` gives to the peers' scripts, and their answer.

It uses only numpy, because each peer has its own environment.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

STARTED = time.perf_counter()
"""Start of the clock, before the imports of the peer, which count."""

SAME_FEATURES = 0.9999
"""Smallest allowed cosine between the features of a peer and of Keras before training."""


@dataclass(frozen=True)
class Task:
    """Task of a peer.

    Attributes
    ----------
    recipe : str
        Recipe of the script to train with.
    pictures : uint8 array of shape (n, s, s, 3)
        RGB pictures to train on.
    items : int array of shape (n,)
        Item of each picture.
    test_pictures : uint8 array of shape (m, s, s, 3)
        Pictures to embed with the trained model.
    untrained : float32 array of shape (k, 1024)
        Features of length 1 of the first k test pictures, by the same MobileNet in Keras before
        training.
    weights : Path
        Keras' file of MobileNet's ImageNet weights without the classifier.
    pictures_seen : int
        Number of pictures to train on, repetitions counted.
    seed : int
        Seed of all random generators.
    output : Path
        Folder for the answer.
    """

    recipe: str
    pictures: np.ndarray
    items: np.ndarray
    test_pictures: np.ndarray
    untrained: np.ndarray
    weights: Path
    pictures_seen: int
    seed: int
    output: Path

    def count_steps(self, batch_size: int) -> int:
        """Return the number of batches that comes closest to `pictures_seen` pictures."""
        return max(1, round(self.pictures_seen / batch_size))

    def require_same_features(self, embed: Callable[[np.ndarray], np.ndarray]) -> None:
        """Require that the peer starts from the same features as Keras.

        Parameters
        ----------
        embed : callable
            From pictures, float32 (k, s, s, 3) in [-1, 1], to the peer's pooled features,
            (k, 1024).
        """
        features = embed(scale(self.test_pictures[: len(self.untrained)]))
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        cosine = (features * self.untrained).sum(axis=1).min()
        assert cosine > SAME_FEATURES, f"the features before training differ: cosine {cosine:.5f}"

    def write_answer(
        self,
        embed: Callable[[np.ndarray], np.ndarray],
        pictures_seen: int,
        packages: list[str],
    ) -> None:
        """Stop the clock, embed the test pictures with the trained model, and write the answer.

        Parameters
        ----------
        embed : callable
            From pictures, float32 (k, s, s, 3) in [-1, 1], to embeddings, (k, n_dimensions).
        pictures_seen : int
            Number of pictures that were shown.
        packages : list of str
            Packages whose versions to record.
        """
        seconds = time.perf_counter() - STARTED
        batches = np.array_split(self.test_pictures, -(-len(self.test_pictures) // 64))
        vectors = np.concatenate([embed(scale(batch)) for batch in batches])
        np.save(self.output / "vectors.npy", vectors.astype(np.float32))
        facts = {
            "pictures_seen": pictures_seen,
            "seconds": seconds,
            "versions": {package: version(package) for package in packages},
        }
        (self.output / "facts.json").write_text(json.dumps(facts))


def read_task() -> Task:
    """Read the task from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--pictures-seen", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    return Task(
        arguments.recipe,
        np.load(arguments.pictures / "train.npy"),
        np.load(arguments.pictures / "train_items.npy"),
        np.load(arguments.pictures / "test.npy"),
        np.load(arguments.pictures / "untrained.npy")[:16],
        arguments.weights,
        arguments.pictures_seen,
        arguments.seed,
        arguments.output,
    )


def scale(pictures: np.ndarray) -> np.ndarray:
    """Scale uint8 pictures to float32 in [-1, 1], the input of MobileNet."""
    return pictures / np.float32(127.5) - np.float32(1)
