"""Facts about a model that are stored with the embeddings it computed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import msgspec


@dataclass(frozen=True)
class ModelFacts:
    """Facts about the model that computed the vectors in an index or embeddings store."""

    name: str
    """Backbone name of a pretrained model, or file name of a checkpoint."""
    fingerprint: str
    embedding_size: int
    picture_size: int
    path: str | None
    """Path of the checkpoint; None for a pretrained model."""

    @classmethod
    def from_dict(cls, document: object) -> ModelFacts:
        """Create the facts from the result of `as_dict`; raise ValueError if a field is invalid."""
        try:
            return msgspec.convert(document, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"the facts about its model are invalid: {error}") from None

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as a plain dictionary, which can be stored as JSON or pickled."""
        return asdict(self)
