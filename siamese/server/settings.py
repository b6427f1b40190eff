"""What a server is told when it starts."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from siamese.errors import InputError

API_KEY = "SIAMESE_API_KEY"
"""Environment variable with the key that clients must give. Never a flag: others see those."""

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF")
"""Formats of uploads, by Pillow's names: what cameras and browsers make."""


@dataclass(frozen=True)
class Limits:
    """What one request may cost, and how many there may be at once.

    Attributes
    ----------
    upload_bytes : of all pictures of a request together
    pixels : of a picture, before it is decoded
    pictures : of one query
    seconds : a request, its upload included
    in_flight : requests at once; what comes beyond is told to come again
    formats : of uploads, by Pillow's names
    """

    upload_bytes: int = 20_000_000
    pixels: int = 50_000_000
    pictures: int = 8
    seconds: float = 30.0
    in_flight: int = 64
    formats: tuple[str, ...] = FORMATS


@dataclass(frozen=True)
class Settings:
    """How a server behaves.

    Attributes
    ----------
    image_dir : folder of the indexed pictures; None serves none of them
    api_keys : any of them lets a client in; without any, everybody may search
    cors_origins : sites whose pages may ask, such as "https://shop.example"
    watch_seconds : how often to look whether the index has changed; 0 for never
    drain_seconds : from SIGTERM until nothing new is accepted
    """

    image_dir: Path | None = None
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    cors_origins: tuple[str, ...] = ()
    limits: Limits = Limits()
    watch_seconds: float = 2.0
    drain_seconds: float = 1.0


def read_api_keys(file: Path | None) -> tuple[str, ...]:
    """Read the keys that let a client in: a line each of a file, or one of the environment.

    Raises
    ------
    InputError
        If there is no such file, no key in it, or one that cannot be sent in a header.
    """
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
        raise InputError(f"{where}: no key in it; write one a line")
    if not all(key.isascii() and key.isprintable() and " " not in key for key in keys):
        raise InputError(f"{where}: a key may hold letters, digits and signs of ASCII, no space")
    return keys
