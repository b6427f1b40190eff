"""Why a request gets no answer: every error is ``{"error": "one line"}`` with its status."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from siamese.errors import InputError, NotFoundError, UnavailableError
from siamese.server.json_encoding import json_bytes

RETRY_SECONDS = 1
"""When to come again after a 503."""


class ApiError(Exception):
    """A request that is not served, by its HTTP status and one line."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def error(status: int, reason: str) -> Response:
    """The answer that says why there is none."""
    headers = {}
    if status == 503:
        headers["Retry-After"] = str(RETRY_SECONDS)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    content = json_bytes({"error": " ".join(reason.split())})
    return Response(content, status, headers, "application/json")


def refused(_: Request, refusal: ApiError) -> Response:
    """Answer a `ApiError`."""
    return error(refusal.status, refusal.reason)


def http_error(_: Request, exception: HTTPException) -> Response:
    """Answer what the framework refuses: no such path, no such method, a broken form."""
    answer = error(exception.status_code, str(exception.detail))
    answer.headers.update(exception.headers or {})
    return answer


def input_error(_: Request, exception: InputError) -> Response:
    """Answer an option that the searcher refuses."""
    return error(422, "; ".join(exception.lines))


def not_found(_: Request, exception: NotFoundError) -> Response:
    """Answer that the index has no such picture."""
    return error(404, "; ".join(exception.lines))


def away(_: Request, exception: UnavailableError) -> Response:
    """Answer that what the index is kept by is away: the request itself may be right."""
    return error(503, "; ".join(exception.lines))


def invalid(_: Request, exception: RequestValidationError) -> Response:
    """Answer fields that are not as they must be, all at once."""
    return error(
        422,
        "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'][1:])}: {problem['msg']}"
            for problem in exception.errors()
        ),
    )
