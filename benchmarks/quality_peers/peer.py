"""What every script here shares: the task that `benchmarks/quality.py` sets, and the answer.

Only numpy is used, because each script runs in an environment of its own.
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
"""Before the peer's own imports, which count as its time."""

SAME_FEATURES = 0.9999
"""Least cosine between a peer's features and Keras', before training."""


@dataclass(frozen=True)
class Task:
    """What a peer is to do.

    Attributes
    ----------
    recipe : which of the script's recipes
    pictures : uint8 (n, s, s, 3), RGB, to train on
    items : int (n,), which item each shows
    test_pictures : uint8 (m, s, s, 3), to embed with the trained model
    untrained : float32 (k, 1024), the length-1 features of the first k test pictures that the same
        MobileNet with the same weights gives in Keras before training
    weights : file of MobileNet's ImageNet weights, without its classifier
    pictures_seen : how many pictures training may show, repetitions counted
    seed : decides every draw
    output : folder for the answer
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

    def steps(self, batch_size: int) -> int:
        """How many batches show `pictures_seen` pictures, to the nearest batch."""
        return max(1, round(self.pictures_seen / batch_size))

    def require_same_features(self, embed: Callable[[np.ndarray], np.ndarray]) -> None:
        """Make sure that the peer starts where everyone starts.

        Parameters
        ----------
        embed : float32 (k, s, s, 3) in [-1, 1] → the peer's pooled features (k, 1024)
        """
        features = embed(scaled(self.test_pictures[: len(self.untrained)]))
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        cosine = (features * self.untrained).sum(axis=1).min()
        assert cosine > SAME_FEATURES, f"the features before training differ: cosine {cosine:.5f}"

    def answer(
        self,
        embed: Callable[[np.ndarray], np.ndarray],
        pictures_seen: int,
        packages: list[str],
    ) -> None:
        """Stop the clock, embed the test pictures with the trained model, and write the answer.

        Parameters
        ----------
        embed : float32 (k, s, s, 3) in [-1, 1] → embeddings (k, d)
        pictures_seen : as they were really shown
        packages : whose versions are noted
        """
        seconds = time.perf_counter() - STARTED
        batches = np.array_split(self.test_pictures, -(-len(self.test_pictures) // 64))
        vectors = np.concatenate([embed(scaled(batch)) for batch in batches])
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
    given = parser.parse_args()
    return Task(
        given.recipe,
        np.load(given.pictures / "train.npy"),
        np.load(given.pictures / "train_items.npy"),
        np.load(given.pictures / "test.npy"),
        np.load(given.pictures / "untrained.npy")[:16],
        given.weights,
        given.pictures_seen,
        given.seed,
        given.output,
    )


def scaled(pictures: np.ndarray) -> np.ndarray:
    """Turn uint8 0…255 into the float32 [-1, 1] that MobileNet takes."""
    return pictures / np.float32(127.5) - np.float32(1)
