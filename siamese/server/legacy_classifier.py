"""ImageNet classifier for the older search server's endpoint, with the default model only.

Classes are identified by number, because no required package contains their names and the server
downloads nothing.
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
"""Number of classes to return."""

_lock = Lock()
"""Lock that lets only one thread at a time build or run the classifier."""


def warm_up_classifier(facts: ModelFacts) -> None:
    """Build and run the classifier, if it is used, so that no request waits for this."""
    if _can_classify(facts):
        side = facts.picture_size
        _probabilities(np.full((side, side, 3), 255, np.uint8))


def classify(facts: ModelFacts, content: bytes, limits: Limits) -> list[tuple[str, float]]:
    """Return a picture's most likely classes with their probabilities, most likely first.

    Return an empty list unless the served model is the pretrained default.
    """
    if not _can_classify(facts):
        return []
    probabilities = _probabilities(decode_upload(content, facts.picture_size, limits))
    likeliest = np.argsort(-probabilities)[:CLASSES]
    return [(f"ImageNet class {number}", float(probabilities[number])) for number in likeliest]


def _can_classify(facts: ModelFacts) -> bool:
    return facts.path is None and facts.name == DEFAULT_BACKBONE


def _probabilities(square: np.ndarray) -> np.ndarray:
    """Return class probabilities, float32 (1000,), for a picture, uint8 (s, s, 3)."""
    with _lock:
        outputs = _classifier(len(square)).predict_on_batch(to_network_input(square)[None])
    (probabilities,) = outputs["softmax"]
    return np.asarray(probabilities)


@lru_cache(1)
def _classifier(picture_size: int) -> Any:
    from siamese.models.embedding_model import pretrained_classifier

    return pretrained_classifier(picture_size)
