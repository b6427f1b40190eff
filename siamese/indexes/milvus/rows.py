"""What a picture is in Milvus: its key, the fields of its row, and how to ask for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from siamese.errors import InputError
from siamese.indexes.index import Metadata
from siamese.indexes.label_filter import LabelFilter

MESSAGE = 16 * 2**20
"""Bytes of a message; a server takes 64 MB, and a row is more than the sum of its parts."""

ROWS = 1000
"""Most pictures of a message."""

MOST_TEXT = 4096
"""Bytes of an item_id, a filename or a label, and how many labels a picture may have."""


class Row(TypedDict):
    """A picture; `content` is the hash of its file in hexadecimal digits, or empty."""

    id: int
    item_id: str
    filename: str
    labels: list[str]
    content: str
    vector: NDArray[np.float32]


def key_of(item_id: str, filename: str) -> int:
    """The primary key of a picture: 63 bits of BLAKE2b of its item and its filename together.

    Two of n pictures have the same with a probability of about ``n² / 2⁶⁴``: 5 · 10⁻⁸ for a
    million, 5 % for a thousand million.
    """
    both = f"{len(item_id)}:{item_id}{filename}".encode()
    return int.from_bytes(hashlib.blake2b(both, digest_size=8).digest(), "big") >> 1


def rows_of(
    vectors: NDArray[np.float32], metadata: Sequence[Metadata], contents: Sequence[bytes] | None
) -> dict[int, Row]:
    """The rows of some pictures, by key; a picture that is there twice has one, the last.

    Raises
    ------
    ValueError
        If Milvus cannot hold one of them, or two have the same key.
    """
    if contents is None:
        contents = [b""] * len(metadata)
    if len(contents) != len(metadata):
        raise ValueError(f"hashes of {len(contents)} files for {len(metadata)} pictures")
    rows: dict[int, Row] = {}
    for vector, known, content in zip(vectors, metadata, contents, strict=True):
        _check_texts(known)
        key = key_of(known["item_id"], known["filename"])
        row = Row(id=key, **known, content=content.hex(), vector=vector)
        if key in rows:
            refuse_collision(rows[key], row)
        rows[key] = row
    return rows


def refuse_collision(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """A `ValueError` where two rows of the same key are not the same picture."""
    names = [(row["item_id"], row["filename"]) for row in (one, other)]
    if names[0] != names[1]:
        raise ValueError(
            f"the pictures {names[0]} and {names[1]} have the same key; rename one of them"
        )


def messages(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows in lists that are each small enough for a message."""
    some: list[Row] = []
    size = 0
    for row in rows:
        texts = (row["item_id"], row["filename"], row["content"], *row["labels"])
        needed = row["vector"].nbytes + sum(len(text.encode()) + 8 for text in texts)
        if some and (len(some) == ROWS or size + needed > MESSAGE):
            yield some
            some, size = [], 0
        some.append(row)
        size += needed
    if some:
        yield some


def metadata_in(row: Mapping[str, Any]) -> Metadata:
    """The `Metadata` in the answer to a query, whose lists are not Python's."""
    return {
        "item_id": row["item_id"],
        "filename": row["filename"],
        "labels": list(row["labels"]),
    }


def expression_of(labels: LabelFilter) -> str:
    """A filter in the language of Milvus; empty for one that keeps everything."""
    return " and ".join(
        f"{function}(labels, {list_of(sorted(wanted))})"
        for function, wanted in (
            ("array_contains_any", labels.any_of),
            ("array_contains_all", labels.all_of),
            ("not array_contains_any", labels.none_of),
        )
        if wanted
    )


def list_of(texts: Iterable[str]) -> str:
    """A list of texts in the language of Milvus."""
    return f"[{', '.join(map(quoted, texts))}]"


def quoted(text: str) -> str:
    """A text in the language of Milvus; what is not escaped means itself.

    Raises
    ------
    InputError
        If it cannot be sent: half of a surrogate pair stands in it.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{text!r}: is no text that Milvus can hold") from None
    return f'"{text.translate(_ESCAPES)}"'


_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"})


def _check_texts(known: Metadata) -> None:
    picture = f"{known['filename']!r} of item {known['item_id']!r}"
    try:
        longest = max(
            len(text.encode()) for text in (known["item_id"], known["filename"], *known["labels"])
        )
    except UnicodeEncodeError:
        raise ValueError(f"{picture}: has a name that is no Unicode; rename it") from None
    if longest > MOST_TEXT or len(known["labels"]) > MOST_TEXT:
        raise ValueError(
            f"{picture}: Milvus holds names of {MOST_TEXT} bytes and {MOST_TEXT} labels at most"
        )
