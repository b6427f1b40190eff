"""What every engine asks of what it is given, and the one line that says what is wrong."""

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


def checked_queries(X: NDArray[T], k: int, index: Index) -> NDArray[T]:
    """Query vectors that fit to an index, as they are.

    Raises
    ------
    InputError
        If the dimensions are not those of the index, a number is not finite, or k < 1.
    """
    if X.ndim != 2 or X.shape[1] != index.embedding_size:
        raise InputError(
            f"{index.name}: holds vectors of {index.embedding_size} dimensions, asked for "
            f"those of shape {X.shape}; embed with the model that made the index"
        )
    if not np.isfinite(X).all():
        raise InputError("a query vector is not finite; the model that made it is broken")
    if k < 1:
        raise InputError(f"k is {k}; ask for at least 1 result")
    return X


def checked_parts(
    data: NDArray[np.floating], metadata: object, model: ModelFacts | None
) -> list[Metadata]:
    """Check that vectors, metadata and model fit together, and return the metadata.

    Parameters
    ----------
    data : (n, d), to be of length 1
    metadata : to be of n `Metadata`
    model : of this d, or None

    Raises
    ------
    ValueError
        Saying what is not so.
    """
    if data.ndim != 2:
        raise ValueError(f"vectors of shape {data.shape}, not (pictures, dimensions)")
    length = np.sqrt(np.einsum("ij,ij->i", data, data))
    if not (np.abs(length - 1) < 1e-3).all():  # NaN is not less
        raise ValueError("vectors that are not of length 1")
    try:
        rows = msgspec.convert(metadata, list[Metadata])
    except msgspec.ValidationError as error:
        raise ValueError(f"metadata of another form: {error}") from None
    if len(rows) != len(data):
        raise ValueError(f"metadata of {len(rows)} pictures for {len(data)} vectors")
    if model is not None and model.embedding_size != data.shape[1]:
        raise ValueError(
            f"vectors of {data.shape[1]} dimensions, its model makes {model.embedding_size}"
        )
    return rows


def given_parts(
    data: NDArray[np.floating],
    metadata: Sequence[Mapping[str, Any]],
    model: ModelFacts | None,
    otherwise: str,
    contents: Sequence[bytes] | None = None,
) -> list[Metadata]:
    """`checked_parts` of what a caller gives to be indexed.

    Parameters
    ----------
    otherwise : what did not happen, with which the error begins
    contents : (n,), see `siamese.indexes.IndexedPicture`; None where they are not kept

    Raises
    ------
    InputError
        One line, saying what is not as it must be.
    """
    try:
        known = checked_parts(data, list(metadata), model)
        if contents is not None and [len(one) for one in contents] != [CONTENT_BYTES] * len(data):
            raise ValueError(f"contents that are not {len(data)} times {CONTENT_BYTES} bytes")
    except ValueError as error:
        raise InputError(f"{otherwise}: {error}") from None
    return known
