"""Words for people."""

from __future__ import annotations


def pluralize(count: int, noun: str, nouns: str | None = None) -> str:
    """Say how many: "1 picture", "5,407 pictures"; `nouns` where an s does not make them."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"
