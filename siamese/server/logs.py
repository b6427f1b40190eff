"""Logging to standard error, one line of JSON per event, without pictures' contents."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

from siamese.server.json_encoding import encode_json

LOGGER = logging.getLogger("siamese.server")


def log(event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event, with `fields` added to its line of JSON."""
    LOGGER.log(level, event, extra={"fields": fields})


class JsonLines(logging.Formatter):
    """Formatter of records as single lines of JSON: ``{"time": …, "level": …, "event": …, …}``."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC)
        document = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return encode_json(document).decode()


def log_to_stderr() -> None:
    """Log events of the server, and warnings of Uvicorn, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in (("siamese.server", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
