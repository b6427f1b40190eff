"""JSON of whatever the answer or the log holds."""

from __future__ import annotations

import json

import msgspec


def json_bytes(document: object) -> bytes:
    """Encode a document of plain values.

    Names of uploads and files may hold lone surrogates, which UTF-8 has no bytes for: then all
    that is not ASCII is written as ``\\u…``.
    """
    try:
        return msgspec.json.encode(document)
    except UnicodeEncodeError:
        return json.dumps(document).encode()
