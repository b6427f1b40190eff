"""What the pretrained default takes a picture for: the classes of ImageNet, by their numbers.

No package that is needed anyway brings their names, and nothing is downloaded at run time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from siamese.embedding import ModelFacts
from siamese.images import scaled
from siamese.recipe import DEFAULT_BACKBONE
from siamese.server.pictures import query_picture
from siamese.server.settings import Limits

CLASSES = 5
"""How many are named."""


def classify(facts: ModelFacts, content: bytes, limits: Limits) -> list[tuple[str, float]]:
    """The likeliest classes of a picture with their probabilities; none of another model.

    Raises
    ------
    Refusal
        As `query_picture`.
    """
    if facts.path is not None or facts.name != DEFAULT_BACKBONE:
        return []
    square = np.asarray(query_picture(content, facts.picture_size, limits))
    (probabilities,) = _classifier(facts.picture_size).predict_on_batch(scaled(square)[None])[
        "softmax"
    ]
    likeliest = np.argsort(-probabilities)[:CLASSES]
    return [(f"ImageNet class {number}", float(probabilities[number])) for number in likeliest]


@lru_cache(1)
def _classifier(picture_size: int) -> Any:
    from siamese.networks import pretrained_classifier

    return pretrained_classifier(picture_size)
