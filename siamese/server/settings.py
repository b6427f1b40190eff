"""Settings and limits of a server."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from siamese.errors import InputError

API_KEY = "SIAMESE_API_KEY"
"""Environment variable with the API key. There is no flag, because other users can see flags."""

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF")
"""Formats of uploads by default, as Pillow names them: those of cameras and browsers."""


@dataclass(frozen=True)
class Limits:
    """What one request may cost, and how many are served at once."""

    upload_bytes: int = 20_000_000
    """Size of all pictures of a request."""
    pixels: int = 50_000_000
    """Size of a picture, checked before it is decoded."""
    pictures: int = 8
    """Number of pictures of a query."""
    seconds: float = 30.0
    """Time of a request, including its upload."""
    in_flight: int = 64
    """Requests at once; further ones get a 503."""
    formats: tuple[str, ...] = FORMATS
    """Formats of uploads, as Pillow names them."""


@dataclass(frozen=True)
class Settings:
    """Settings of a server."""

    image_dir: Path | None = None
    """Folder of the indexed pictures; without it, no pictures are sent."""
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    """Accepted API keys; if empty, no key is needed."""
    cors_origins: tuple[str, ...] = ()
    """Sites whose pages may send requests, such as ``"https://shop.example"``."""
    limits: Limits = Limits()
    watch_seconds: float = 2.0
    """How often to check whether the index has changed; 0 for never."""
    drain_seconds: float = 1.0
    """Time from SIGTERM until new connections are refused."""


def read_api_keys(file: Path | None) -> tuple[str, ...]:
    """Read the API keys, one per line of a file, or the one in the environment, if any."""
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
