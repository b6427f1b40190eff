"""The facts that an index or an embeddings store records about its model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import msgspec


@dataclass(frozen=True)
class ModelFacts:
    """Facts about the model that computed some vectors.

    Attributes
    ----------
    name : str
        Name of the backbone, or file name of the checkpoint.
    fingerprint : str
        SHA-256 of the architecture and the weights, see `siamese.models.fingerprint`.
    embedding_size : int
        Dimensions of the vectors.
    picture_size : int
        Side length of the input pictures in pixels.
    path : str or None
        Path of the checkpoint, None for a pretrained model.
    """

    name: str
    fingerprint: str
    embedding_size: int
    picture_size: int
    path: str | None

    @classmethod
    def from_dict(cls, document: object) -> ModelFacts:
        """Read the form that `as_dict` writes; further keys are ignored.

        Raises
        ------
        ValueError
            If a key is missing or a value has the wrong type.
        """
        try:
            return msgspec.convert(document, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"the facts about its model are invalid: {error}") from None

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as a plain dictionary, for JSON and pickles."""
        return asdict(self)
