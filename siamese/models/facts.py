"""The facts that an index or an embeddings store records about its model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import msgspec


@dataclass(frozen=True)
class ModelFacts:
    """Facts about the model that computed some vectors."""

    name: str
    """Name of the backbone, or file name of the checkpoint."""
    fingerprint: str
    embedding_size: int
    picture_size: int
    path: str | None
    """Path of the checkpoint, None for a pretrained model."""

    @classmethod
    def from_dict(cls, document: object) -> ModelFacts:
        """Read the result of `as_dict`, ignoring other keys; raise ValueError if it is invalid."""
        try:
            return msgspec.convert(document, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"the facts about its model are invalid: {error}") from None

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as a plain dictionary, for JSON and pickles."""
        return asdict(self)
