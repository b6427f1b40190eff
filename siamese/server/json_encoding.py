"""JSON encoding for responses and log lines."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from starlette.responses import JSONResponse


def encode_json(document: object) -> bytes:
    r"""Encode a JSON-compatible object.

    Filenames can contain lone surrogates, which UTF-8 cannot encode. An object with such a name is
    encoded in ASCII, with escapes.

    Examples
    --------
    >>> encode_json({"name": "grün"}).decode()
    '{"name":"grün"}'
    >>> encode_json({"name": "gr\udcfcn"})
    b'{"name": "gr\\udcfcn"}'
    """
    try:
        return msgspec.json.encode(document)
    except UnicodeEncodeError:
        return json.dumps(document).encode()


class ApiResponse(JSONResponse):
    """JSON response that can contain filenames that are not valid UTF-8."""

    def render(self, content: Any) -> bytes:
        return encode_json(content)
