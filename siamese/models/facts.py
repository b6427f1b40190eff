"""The facts that an index or an embeddings store records about a model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ModelFacts:
    """What an index records of the model that made it.

    Attributes
    ----------
    name : the backbone's, or the checkpoint's file name
    fingerprint : see `siamese.models.fingerprint`
    embedding_size : d
    picture_size : pixels of a side
    path : the checkpoint, or None for a pretrained model
    """

    name: str
    fingerprint: str
    embedding_size: int
    picture_size: int
    path: str | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
