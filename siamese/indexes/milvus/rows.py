"""Rows of a Milvus collection, and Milvus filter expressions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siamese.errors import InputError
from siamese.indexes.index import Metadata
from siamese.indexes.label_filter import LabelFilter
from siamese.indexes.validate import check_pictures
from siamese.models.facts import ModelFacts

MESSAGE_BYTES = 16 * 2**20  # well below the server's limit of 64 MB, as encoding adds to it
MESSAGE_ROWS = 1000  # maximum number of rows per message
MAX_TEXT_BYTES = 4096  # maximum length of an item id, filename or label in UTF-8
MAX_LABELS = 4096  # maximum number of labels per picture

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"})


class Row(Metadata):
    """Row of a picture; `content` is the hexadecimal hash of its file, or empty if unknown."""

    id: int
    content: str
    vector: NDArray[np.float32]


def picture_key(item_id: str, filename: str) -> int:
    """Return the primary key of a picture: 63 bits of the BLAKE2b hash of item and filename.

    The probability that some two of n pictures share a key is about ``n² / 2⁶⁴``: 5 · 10⁻⁸ for a
    million pictures, 5 % for a billion.

    Examples
    --------
    >>> picture_key("a", "b")
    5414274520996491826
    """
    both = f"{len(item_id)}:{item_id}{filename}".encode()
    return int.from_bytes(hashlib.blake2b(both, digest_size=8).digest(), "big") >> 1


def create_rows(
    vectors: NDArray[np.float32],
    metadata: Sequence[Mapping[str, Any]],
    contents: Sequence[bytes] | None,
    model: ModelFacts | None,
) -> dict[int, Row]:
    """Check pictures and return their rows by key, keeping the last of any duplicates.

    Raise a `ValueError` if the arguments are inconsistent, Milvus cannot store a picture, or two
    different pictures have the same key.
    """
    pictures = check_pictures(vectors, list(metadata), model)
    if contents is None:
        contents = [b""] * len(pictures)
    if len(contents) != len(pictures):
        raise ValueError(f"{len(contents)} contents for {len(pictures)} pictures")
    rows: dict[int, Row] = {}
    for vector, picture, content in zip(vectors, pictures, contents, strict=True):
        _check_texts(picture)
        key = picture_key(picture["item_id"], picture["filename"])
        row = Row(id=key, **picture, content=content.hex(), vector=vector)
        if key in rows:
            check_same_picture(rows[key], row)
        rows[key] = row
    return rows


def _check_texts(picture: Metadata) -> None:
    name = f"{picture['filename']!r} of item {picture['item_id']!r}"
    texts = (picture["item_id"], picture["filename"], *picture["labels"])
    try:
        longest = max(len(text.encode()) for text in texts)
    except UnicodeEncodeError:
        raise ValueError(f"{name}: a name or label is not valid Unicode; rename it") from None
    if longest > MAX_TEXT_BYTES or len(picture["labels"]) > MAX_LABELS:
        raise ValueError(
            f"{name}: Milvus accepts at most {MAX_TEXT_BYTES} bytes per name or label and "
            f"{MAX_LABELS} labels per picture"
        )


def check_same_picture(row: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Raise a `ValueError` if two rows with the same key have different items or filenames."""
    names, other_names = ((each["item_id"], each["filename"]) for each in (row, other))
    if names != other_names:
        raise ValueError(
            f"the pictures {names} and {other_names} have the same key; rename one of them"
        )


def split_messages(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Split rows into lists that are each small enough for one message."""
    message: list[Row] = []
    size = 0
    for row in rows:
        texts = (row["item_id"], row["filename"], row["content"], *row["labels"])
        row_size = row["vector"].nbytes + sum(len(text.encode()) + 8 for text in texts)
        if message and (len(message) == MESSAGE_ROWS or size + row_size > MESSAGE_BYTES):
            yield message
            message, size = [], 0
        message.append(row)
        size += row_size
    if message:
        yield message


def to_metadata(row: Mapping[str, Any]) -> Metadata:
    """Convert a row read from Milvus to metadata, with the labels as a Python list."""
    return Metadata(item_id=row["item_id"], filename=row["filename"], labels=list(row["labels"]))


def filter_expression(labels: LabelFilter) -> str:
    """Return the Milvus expression for a label filter; it is empty if the filter is.

    Examples
    --------
    >>> filter_expression(LabelFilter.from_lists(any_of=["red", "pink"]))
    'array_contains_any(labels, ["pink", "red"])'
    """
    functions = {
        "array_contains_any": labels.any_of,
        "array_contains_all": labels.all_of,
        "not array_contains_any": labels.none_of,
    }
    return " and ".join(
        f"{function}(labels, {quote_list(sorted(names))})"
        for function, names in functions.items()
        if names
    )


def quote_list(texts: Iterable[str]) -> str:
    """Format strings as a list literal for a Milvus expression."""
    return f"[{', '.join(map(quote, texts))}]"


def quote(text: str) -> str:
    """Quote a string as a literal for a Milvus expression."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{text!r}: not valid Unicode, which Milvus requires; rename it") from None
    return f'"{text.translate(_ESCAPES)}"'
