"""Embed square pictures with a trained model of this project, or with the untrained MobileNet."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from siamese.data.images import to_network_input
from siamese.embedding.embedder import Embedder


def main() -> None:
    """Read pictures, uint8 (n, s, s, 3), and write embeddings, float32 (n, n_dimensions)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pictures", type=Path)
    parser.add_argument("output", type=Path)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--keras-model", type=Path)
    model.add_argument("--weights", help="weights of MobileNet, used without training")
    arguments = parser.parse_args()

    pictures = np.load(arguments.pictures)
    if arguments.keras_model:
        embedder = Embedder.load(arguments.keras_model)
    else:
        embedder = Embedder.pretrained("MobileNet", pictures.shape[1], arguments.weights)
    batches = np.array_split(pictures, -(-len(pictures) // 64))
    vectors = [embedder.model.predict_on_batch(to_network_input(batch)) for batch in batches]
    np.save(arguments.output, np.concatenate(vectors))


if __name__ == "__main__":
    main()
