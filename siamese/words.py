"""Words for people."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """Say how many: "1 picture", "5,407 pictures"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
