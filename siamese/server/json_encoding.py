"""Encode JSON for responses and log lines."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from starlette.responses import JSONResponse


def encode_json(document: object) -> bytes:
    r"""Encode a document of plain values as JSON.

    Names of uploads and files can contain lone surrogates, which UTF-8 cannot encode. Such a
    document is encoded in ASCII, with escapes.

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
    """JSON response whose strings can be any file names."""

    def render(self, content: Any) -> bytes:
        return encode_json(content)
