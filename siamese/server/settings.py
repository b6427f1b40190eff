"""Settings and limits of a server."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from siamese.errors import InputError

API_KEY = "SIAMESE_API_KEY"
"""Environment variable for an API key; not a flag, because all users of a machine can see flags."""

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF")
"""Default upload formats, by Pillow's names: those that cameras and browsers produce."""


@dataclass(frozen=True)
class Limits:
    """Limits on the cost of a request and on the number of concurrent requests."""

    upload_bytes: int = 20_000_000
    """Maximum total size of a request's pictures."""
    pixels: int = 50_000_000
    """Maximum number of pixels in a picture, checked before decoding."""
    pictures: int = 8
    """Maximum number of pictures in a query."""
    seconds: float = 30.0
    """Maximum duration of a request, including its upload."""
    in_flight: int = 64
    """Maximum number of concurrent requests; additional ones get a 503."""
    formats: tuple[str, ...] = FORMATS
    """Accepted upload formats, by Pillow's names."""


@dataclass(frozen=True)
class Settings:
    """Settings of a server."""

    image_dir: Path | None = None
    """Folder of the indexed pictures; if None, the server sends no pictures."""
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    """Accepted API keys; if empty, no key is needed."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose web pages may send requests, such as ``"https://shop.example"``."""
    limits: Limits = Limits()
    watch_seconds: float = 2.0
    """Interval at which to check whether the index has changed; 0 for never."""
    drain_seconds: float = 1.0
    """Time from SIGTERM until new connections are refused."""


def read_api_keys(file: Path | None) -> tuple[str, ...]:
    """Read API keys from a file, one per line; without a file, from `SIAMESE_API_KEY`, if set."""
    if file is None:
        where, lines = API_KEY, [os.environ.get(API_KEY, "")]
        if not lines[0]:
            return ()
    else:
        where = str(file)
        try:
            lines = file.read_text().splitlines()
        except (OSError, UnicodeError) as error:
            raise InputError(f"--api-key-file {file}: cannot be read ({error})") from None
    keys = tuple(line.strip() for line in lines if line.strip())
    if not keys:
        raise InputError(f"{where}: contains no key; write one per line")
    if not all(key.isascii() and key.isprintable() and " " not in key for key in keys):
        raise InputError(
            f"{where}: invalid key; use ASCII letters, digits and punctuation without spaces"
        )
    return keys
