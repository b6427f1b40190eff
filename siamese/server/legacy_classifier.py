"""What the pretrained default takes a picture for: the classes of ImageNet, by their numbers.

No package that is needed anyway brings their names, and nothing is downloaded at run time.
"""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np

from siamese.data.images import to_network_input
from siamese.models.defaults import DEFAULT_BACKBONE
from siamese.models.facts import ModelFacts
from siamese.server.settings import Limits
from siamese.server.uploads import decode_upload

CLASSES = 5
"""How many are named."""

_one_at_a_time = Lock()
"""Keras builds and runs a model for one thread, and the server has many."""


def warm_up_classifier(facts: ModelFacts) -> None:
    """Build the classifier and run it once, where `classify` will: no request shall wait for it."""
    if _names_classes(facts):
        side = facts.picture_size
        _probabilities(np.full((side, side, 3), 255, np.uint8))


def classify(facts: ModelFacts, content: bytes, limits: Limits) -> list[tuple[str, float]]:
    """The likeliest classes of a picture with their probabilities; none of another model.

    Raises
    ------
    Refusal
        As `decode_upload`.
    """
    if not _names_classes(facts):
        return []
    probabilities = _probabilities(decode_upload(content, facts.picture_size, limits))
    likeliest = np.argsort(-probabilities)[:CLASSES]
    return [(f"ImageNet class {number}", float(probabilities[number])) for number in likeliest]


def _names_classes(facts: ModelFacts) -> bool:
    return facts.path is None and facts.name == DEFAULT_BACKBONE


def _probabilities(square: np.ndarray) -> np.ndarray:
    """The softmax, float32 (1000,), of a picture, uint8 (s, s, 3)."""
    with _one_at_a_time:
        outputs = _classifier(len(square)).predict_on_batch(to_network_input(square)[None])
    (probabilities,) = outputs["softmax"]
    return np.asarray(probabilities)


@lru_cache(1)
def _classifier(picture_size: int) -> Any:
    from siamese.models.embedding_model import pretrained_classifier

    return pretrained_classifier(picture_size)
