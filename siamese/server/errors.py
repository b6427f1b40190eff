"""Error responses, which are all ``{"error": "message"}`` with an HTTP error status."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from siamese.errors import InputError, NotFoundError, UnavailableError
from siamese.server.json_encoding import ApiResponse

RETRY_SECONDS = 1
"""Value of the Retry-After header in 503 responses."""


class ApiError(Exception):
    """Error to send to the client, with its HTTP status and message."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def error_response(status: int, reason: str) -> Response:
    """Return an error response, with the lines of `reason` joined into one."""
    headers = {}
    if status == 503:
        headers["Retry-After"] = str(RETRY_SECONDS)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return ApiResponse({"error": " ".join(reason.split())}, status, headers)


def add_error_handlers(app: FastAPI) -> None:
    """Add handlers that turn exceptions raised by routes into error responses."""

    @app.exception_handler(ApiError)
    async def _(_: Request, exception: ApiError) -> Response:
        return error_response(exception.status, exception.reason)

    @app.exception_handler(HTTPException)  # unknown path, wrong method or malformed form
    async def _(_: Request, exception: HTTPException) -> Response:
        response = error_response(exception.status_code, str(exception.detail))
        response.headers.update(exception.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    async def _(_: Request, exception: RequestValidationError) -> Response:
        problems = (
            f"{'.'.join(str(part) for part in problem['loc'][1:])}: {problem['msg']}"
            for problem in exception.errors()
        )
        return error_response(422, "; ".join(problems))

    for kind, status in ((InputError, 422), (NotFoundError, 404), (UnavailableError, 503)):

        @app.exception_handler(kind)
        async def _(_: Request, exception: InputError, status: int = status) -> Response:
            return error_response(status, "; ".join(exception.lines))
