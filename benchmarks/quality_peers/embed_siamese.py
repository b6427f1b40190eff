"""Embed square pictures with a model of this project: a trained one, or MobileNet as it is."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from siamese.data.images import to_network_input
from siamese.embedding.embedder import Embedder


def main() -> None:
    """Read uint8 (n, s, s, 3), write float32 (n, d)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pictures", type=Path)
    parser.add_argument("output", type=Path)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--keras-model", type=Path)
    model.add_argument("--weights", help="of MobileNet, which is then not trained")
    given = parser.parse_args()

    pictures = np.load(given.pictures)
    if given.keras_model:
        embedder = Embedder.load(given.keras_model)
    else:
        embedder = Embedder.pretrained("MobileNet", pictures.shape[1], given.weights)
    batches = np.array_split(pictures, -(-len(pictures) // 64))
    vectors = [embedder.model.predict_on_batch(to_network_input(batch)) for batch in batches]
    np.save(given.output, np.concatenate(vectors))


if __name__ == "__main__":
    main()
