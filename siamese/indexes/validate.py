"""Validation of arguments, for all backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from siamese.errors import InputError
from siamese.indexes.index import CONTENT_BYTES, Metadata
from siamese.models.facts import ModelFacts

if TYPE_CHECKING:
    from siamese.indexes.index import Index

T = TypeVar("T", bound=np.floating)


def check_queries(X: NDArray[T], k: int, index: Index) -> NDArray[T]:
    """Return the queries; raise an `InputError` if `k` or their shape or values are invalid."""
    if X.ndim != 2 or X.shape[1] != index.embedding_size:
        raise InputError(
            f"{index.name}: has vectors of {index.embedding_size} dimensions, but the queries have "
            f"shape {X.shape}; embed them with the model of the index"
        )
    if not np.isfinite(X).all():
        raise InputError("a query vector is not finite; check the model that computed it")
    if k < 1:
        raise InputError(f"k is {k}; ask for at least 1 result")
    return X


def check_pictures(
    vectors: NDArray[np.floating], metadata: object, model: ModelFacts | None
) -> list[Metadata]:
    """Return the metadata as a list, or raise a `ValueError` if an argument is invalid."""
    if vectors.ndim != 2:
        raise ValueError(f"the vectors have shape {vectors.shape}, not (pictures, dimensions)")
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    if not (np.abs(lengths - 1) < 1e-3).all():  # also raises for NaN
        raise ValueError("a vector is not of length 1")
    try:
        pictures = msgspec.convert(metadata, list[Metadata])
    except msgspec.ValidationError as error:
        raise ValueError(f"invalid metadata: {error}") from None
    if len(pictures) != len(vectors):
        raise ValueError(f"metadata of {len(pictures)} pictures for {len(vectors)} vectors")
    if model is not None and model.embedding_size != vectors.shape[1]:
        raise ValueError(
            f"the vectors have {vectors.shape[1]} dimensions, those of the model "
            f"{model.embedding_size}"
        )
    return pictures


def check_new_pictures(
    vectors: NDArray[np.floating],
    metadata: Sequence[Mapping[str, Any]],
    model: ModelFacts | None,
    failure: str,
    contents: Sequence[bytes] | None = None,
) -> list[Metadata]:
    """Check new pictures and return their metadata; error messages begin with `failure`."""
    try:
        pictures = check_pictures(vectors, list(metadata), model)
        sizes = None if contents is None else [len(content) for content in contents]
        if sizes not in (None, [CONTENT_BYTES] * len(vectors)):
            raise ValueError(f"the contents are not {len(vectors)} hashes of {CONTENT_BYTES} bytes")
    except ValueError as error:
        raise InputError(f"{failure}: {error}") from None
    return pictures
